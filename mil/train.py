"""Train an attention-MIL head on patient bags in cross-validation, and report what it is worth out of fold.

--task subtype predicts the subtype (class-balanced cross-entropy), --task survival the hazard (Cox with Efron ties, or
--loss logistic_hazard: a hazard for each interval of time), --target COLUMN
any column of the clinical table: classes, ordered classes, numbers, or several at once. Every head is
trained on all training patients of its fold over a fixed schedule; the test part is only predicted. A mean-pool baseline runs
beside it.
Before it trains it looks for leaks between the parts, and stops at one (--audit only prints what it found).
Leaves runs/<task>/<name>/: report.html, metrics.json, audit.json, predictions.csv, settings.yaml, run.json, figures/, models/.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import command
from common.machine import wait_passively
from common.settings import parse_config
from mil.training.training_settings import TrainConfig


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Look for leaks, train, evaluate, report."""
    config = parse_config(TrainConfig, argv, section="train", description=__doc__)
    wait_passively()
    from mil.report.drawing import keep_home_clean

    keep_home_clean()
    from mil.audit.audit import stop_at_leaks
    from mil.heads_run import other_heads, train_heads
    from mil.report.image_section import image_line
    from mil.report.verdict import heads_table, results_table, verdict
    from mil.training_run import audit_study

    say = partial(print, flush=True)
    if config.audit:
        stop_at_leaks(audit_study(config.study, config, say=say))
        return 0
    trained, heads = train_heads(config.study, config, say=say)
    for patient, reason in sorted(trained.excluded.items()):
        print(f"left out: {patient}: {reason}")
    if trained.is_evaluated:
        metrics = trained.metrics
        print("\n".join(filter(None, [results_table(metrics), image_line(metrics), verdict(metrics)])))
        if heads is not None:
            print(heads_table(heads))
    else:
        print(
            f"trained on {len(trained.usable)} patients; no patient is in a test set, so NOTHING WAS EVALUATED. "
            f"Models: {trained.folder.models}"
        )
    print(f"report: {trained.report}")
    n_compared = 1 if heads is None else len(heads.heads)
    return (
        1 if trained.is_evaluated and n_compared <= len(other_heads(config)) else 0
    )  # 1: a head failed, as was said above


if __name__ == "__main__":
    sys.exit(main())
