"""Evaluate a finished training run again from its saved predictions, without training; compare it with another run.

Writes metrics.json, figures/ and report.html of the run anew. With --against another run of the same task and patients it
also writes comparison.json: DeLong's test for one-vs-rest AUROCs, the paired patient bootstrap for every figure, and the
corrected resampled t over folds, each adjusted by Holm.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import command
from common.settings import option, parse_config
from common.study import open_study


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """The settings of evaluate.py."""

    study: Path = option(Path("study"), help="study folder", group="study")
    task: Literal["subtype", "survival"] = option("subtype", help="what was predicted", group="study")
    name: str = option("default", help="name of the run: runs/TASK/NAME/", group="study")
    against: str | None = option(None, help="name of another run of this task to compare with", group="evaluation")
    bootstrap: int = option(2000, help="patient bootstraps of the intervals", group="evaluation")
    seed: int | None = option(None, help="seed of the bootstrap; left out: the run's own", group="evaluation")

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.bootstrap < 100:
            raise ValueError(f"--bootstrap is a number from 100, got {self.bootstrap}")
        if self.seed is not None and self.seed < 0:
            raise ValueError(f"--seed is a number from 0, got {self.seed}")
        if self.against == self.name:
            raise ValueError(f"--against names another run, got {self.against!r} twice")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate, compare, report."""
    config = parse_config(EvaluateConfig, argv, section="evaluate", description=__doc__)
    study = open_study(config.study)
    from mil.evaluation.comparison import compare_runs
    from mil.evaluation.evaluation import metrics_of_run
    from mil.evaluation.metrics_record import write_metrics
    from mil.report.report import write_report
    from mil.report.verdict import comparison_table, results_table, verdict
    from mil.runs.comparison_record import write_comparison
    from mil.runs.run_folder import RunFolder
    from mil.runs.run_store import read_run
    from mil.tasks.registry import task_named

    task, folder = task_named(config.task), RunFolder(study.run(config.task, config.name))
    run = read_run(folder)
    seed = run.facts.seed if config.seed is None else config.seed
    compared = None
    if config.against is not None:
        other = read_run(folder.beside(config.against))
        compared = compare_runs(run, other, task.evaluation, n_bootstrap=config.bootstrap, seed=seed)
        write_comparison(folder, compared)
        run = replace(run, comparison=compared)
    metrics = metrics_of_run(run, task.evaluation, n_bootstrap=config.bootstrap, seed=seed)
    write_metrics(folder, metrics)
    write_report(run, metrics, task.report)
    print("\n".join(filter(None, [results_table(metrics), verdict(metrics)])))
    if compared is not None:
        print(comparison_table(compared))
    print(f"report: {folder.report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
