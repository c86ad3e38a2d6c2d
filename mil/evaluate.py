"""Evaluate a finished training run again from its saved predictions, without training; compare it with another run.

Writes metrics.json, figures/ and report.html of the run anew. With --against another run of the same task and patients it
also writes comparison.json: DeLong's test for one-vs-rest AUROCs, the paired patient bootstrap for every figure, and the
corrected resampled t over folds, each adjusted by Holm.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import command
from common.settings import parse_config
from mil.evaluation_run import EvaluateConfig, evaluate_study


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate, compare, report."""
    config = parse_config(EvaluateConfig, argv, section="evaluate", description=__doc__)
    from mil.report.drawing import keep_home_clean

    keep_home_clean()
    from mil.report.verdict import comparison_table, results_table, verdict

    run = evaluate_study(config.study, config)
    print("\n".join(filter(None, [results_table(run.metrics), verdict(run.metrics)])))
    if run.comparison is not None:
        print(comparison_table(run.comparison))
    print(f"report: {run.folder.report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
