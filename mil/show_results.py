"""Print the figures of every run of a study, and where the reports are."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import StudyError, command
from common.settings import option, parse_config
from common.study import open_study


@dataclass(frozen=True, kw_only=True)
class ShowConfig:
    """The settings of show_results.py."""

    study: Path = option(Path("study"), help="study folder", group="study")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print a table for each run."""
    config = parse_config(ShowConfig, argv, section="show_results", description=__doc__)
    study = open_study(config.study)
    from mil.report.verdict import results_table, verdict

    found_files = sorted((study.root / "runs").glob("*/*/metrics.json"))
    if not found_files:
        raise StudyError(
            f"no finished run in {study.root / 'runs'}; train one with: python mil/train.py --study {study.root}"
        )
    for path in found_files:
        found = json.loads(path.read_text(encoding="utf-8"))
        print(f"\n{path.parent.parent.name}, run {path.parent.name}")
        print(results_table(found))
        if found["evaluated"]:
            print(verdict(found))
        print(f"report: {path.parent / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
