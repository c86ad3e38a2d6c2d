"""Evaluate a finished training run again from its saved predictions, without training; compare it with another run.

Writes metrics.json, figures/ and report.html of the run anew. With --against another run of the same task and patients it
also writes comparison.json: DeLong's test for one-vs-rest AUROCs, the paired patient bootstrap for every figure, and the
corrected resampled t over folds, each adjusted by Holm.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
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
    from mil.report.font_list import keep_home_clean

    keep_home_clean()
    from common.files import write_json
    from mil.evaluation.comparison import compare_runs
    from mil.evaluation.evaluation import evaluate_run
    from mil.report.report import write_report
    from mil.report.verdict import comparison_table, results_table, verdict
    from mil.runs.run_store import COMPARISON, predictions_sha256, read_run

    folder = study.run(config.task, config.name)
    run = read_run(folder)
    seed = int(run.facts["seed"]) if config.seed is None else config.seed
    compared = None
    if config.against is not None:
        against = study.run(config.task, config.against)
        other = read_run(against)
        compared = compare_runs(run, other, n_bootstrap=config.bootstrap, seed=seed)
        compared |= {"against": config.against, "predictions_sha256": predictions_sha256(folder)}
        compared["second_predictions_sha256"] = predictions_sha256(against)
        write_json(folder / COMPARISON, compared)
    found = evaluate_run(folder, n_bootstrap=config.bootstrap, seed=seed)
    write_report(folder)
    print(results_table(found))
    if found["evaluated"]:
        print(verdict(found))
    if compared is not None:
        print(comparison_table(compared))
    print(f"report: {folder / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
