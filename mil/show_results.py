"""Print the metrics of every run of a study, and set all beside each other in runs/index.html and runs/results.csv."""

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
    from mil.results_page import known_runs, write_results
    from mil.runs.notices import SYNTHETIC

    runs = known_runs(study)
    if not runs:
        raise StudyError(
            f"no finished run in {study.root / 'runs'}; train one with: python mil/train.py --study {study.root}"
        )
    if study.truth.is_dir():
        print(SYNTHETIC)
    for run in runs:
        print(f"\n{run.task}, run {run.folder.name}")
        print("\n".join(filter(None, [results_table(run.metrics), verdict(run.metrics)])))
        print(f"report: {run.folder.report}")
    write_results(study, runs)
    print(f"\nall runs beside each other: {study.root / 'runs' / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
