"""Print the metrics of every run of a study, and where the reports are."""

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
    from mil.evaluation.metrics_record import read_metrics
    from mil.report.verdict import results_table, verdict
    from mil.runs.notices import SYNTHETIC
    from mil.runs.run_folder import evaluated_runs
    from mil.tasks.targets import task_of_run

    runs = evaluated_runs(study)
    if not runs:
        raise StudyError(
            f"no finished run in {study.root / 'runs'}; train one with: python mil/train.py --study {study.root}"
        )
    if study.truth.is_dir():
        print(SYNTHETIC)
    for task, folder in runs:
        metrics = read_metrics(folder, task_of_run(folder, task).evaluation.metrics_kind)
        print(f"\n{task}, run {folder.name}")
        print("\n".join(filter(None, [results_table(metrics), verdict(metrics)])))
        print(f"report: {folder.report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
