"""The whole pipeline on a synthetic study: slides painted by the physics of staining, invented patients, known truth.

Paints what is missing, then does as run does. Its folder is marked as synthetic, and so is every report, page and model.
"""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Sequence

from common.calling.calls import command_here
from common.failures import EXIT_DONE, EXIT_INTERRUPTED, command
from common.files import read_named_rows, write_text
from common.settings import SETTINGS_FILE, parse_config
from common.study import Study
from sarcoma_mil.beginning.demo_settings import DemonstrationConfig
from splits.split_settings import SplitConfig

MIN_FOLDS = 2


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Paint, run, and say what to type next."""
    flags = list(sys.argv[1:] if argv is None else argv)
    if flags and not flags[0].startswith("-"):
        flags = ["--study", *flags]  # demo FOLDER
    config = parse_config(DemonstrationConfig, flags, section="demo", description=__doc__)
    from sarcoma_mil.whole.run_settings import RunConfig
    from sarcoma_mil.whole.step_calls import call_step
    from sarcoma_mil.whole.whole_run import run_study

    study = str(config.study)
    painting = ["--study", study, "--patients", str(config.patients), "--seed", str(config.seed)]
    painting += ["--timeout_s", str(config.timeout_s)]
    painting += [] if config.workers is None else ["--workers", str(config.workers)]
    code = call_step("paint", painting)
    if code == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if code != EXIT_DONE:
        return code
    fit_folds(Study(config.study))
    code = run_study(RunConfig(study=config.study), say=lambda text: print(text, flush=True))
    own, place = command_here(), shlex.quote(study)
    print(f"\nSYNTHETIC: painted slides and invented patients, in {study}. Next, as they are typed here:")
    print(f"  {own} serve --study {place}          look at slides, maps and predictions in a browser")
    print(f"  {own} init --slides FOLDER          begin a study of your own slides, in study/")
    print(f"  {own} run --dry_run                 what that will take; without --dry_run it does all")
    return code


def fit_folds(study: Study) -> None:
    """Set the number of folds of a small demonstration: the rarest subtype must fill them. A study.yaml that is there stays."""
    path = study.root / SETTINGS_FILE
    rows = read_named_rows(study.cohort_table)
    rarest = min(Counter(subtype for _, subtype in {(row["patient_id"], row["subtype"]) for row in rows}).values())
    if MIN_FOLDS <= rarest < SplitConfig().folds and not path.exists():
        write_text(path, f"make_splits:\n  folds: {rarest}    # the rarest subtype has {rarest} patients\n")


if __name__ == "__main__":
    sys.exit(main())
