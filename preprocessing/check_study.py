"""Look over a study before hours of compute; reads only. Without a study: look over the installation.

Opens every slide, tries to read it, and compares scales, contents, clinical table, folds, disk and time; prints a table
and a list of findings, each with what to do. Exit code 0: nothing found; 1: findings; 2: the clinical table is wrong.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import EXIT_DONE, EXIT_SOME_FAILED, command, wrapped_lines
from common.settings import parse_config
from preprocessing.checks.check_settings import CheckConfig


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Check the study, or the installation where there is none."""
    flags = list(sys.argv[1:] if argv is None else argv)
    config = parse_config(CheckConfig, flags, section="check_study", description=__doc__)
    is_asked = any(flag.split("=")[0] == "--study" for flag in flags)
    if not is_asked and not config.study.is_dir():
        return _report_installation()
    from preprocessing.checks.study_check import check_text, examine_study

    check = examine_study(config.study, config)
    print(check_text(check))
    return EXIT_SOME_FAILED if check.findings else EXIT_DONE


def _report_installation() -> int:
    from preprocessing.checks.installation import check_installation

    n_faults = 0
    for what, found, remedy in check_installation(Path.cwd()):
        print("\n".join(wrapped_lines(f"{what}: {found}")))
        if remedy:
            n_faults += 1
            print("\n".join(wrapped_lines(f"  -> {remedy}")))
    print(f"installation: {n_faults} finding(s)" if n_faults else "installation: all well")
    print("no study folder here; check one with --study DIR, or make one: python preprocessing/make_demo_study.py")
    return EXIT_SOME_FAILED if n_faults else EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
