"""Train an attention-MIL head on patient bags in cross-validation, and report what it is worth out of fold.

--task subtype predicts the subtype (class-balanced cross-entropy), --task survival the hazard (Cox, Efron ties). The inner
validation part of each fold decides when to stop; the test part is only predicted. A mean-pool baseline runs beside it.
Before it trains it looks for leaks between the parts, and stops at one (--audit only prints what it found).
Leaves runs/<task>/<name>/: report.html, metrics.json, audit.json, predictions.csv, settings.yaml, run.json, figures/, models/.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import command
from common.settings import parse_config
from common.study import open_study
from mil.training.training_settings import TrainConfig


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Look for leaks, train, evaluate, report."""
    config = parse_config(TrainConfig, argv, section="train", description=__doc__)
    study = open_study(config.study)
    from mil.report.font_list import keep_home_clean

    keep_home_clean()
    from common.files import write_json
    from common.own_files import own_folder
    from features.exchange.folder import origin
    from mil.audit.audit import AUDIT_FILE, audit_run, audit_text, stop_at_leaks
    from mil.report.image_section import image_line
    from mil.report.verdict import results_table, verdict
    from mil.training.preparation import prepare
    from mil.training_run import train_run

    run_dir = study.run(config.task, config.name)
    run = prepare(study, config)
    print(origin(run.bags.made_by), flush=True)
    audit = audit_run(
        study, run.cohort, bags=run.bags, plans=run.plans, splits_file=study.splits_file(config.splits), task=config.task,
        seed=config.seed, covariates=run.covariates,
    )  # fmt: skip
    print(audit_text(audit, in_full=config.audit))
    stop_at_leaks(audit)
    if config.audit:
        return 0
    write_json(own_folder(run_dir, below=study.root / "runs") / AUDIT_FILE, audit)
    metrics = train_run(run, run_dir)
    for patient, reason in sorted(run.excluded.items()):
        print(f"left out: {patient}: {reason}")
    if run.is_evaluated:
        print("\n".join(filter(None, [results_table(metrics), image_line(metrics), verdict(metrics)])))
    else:
        print(
            f"trained on {len(run.usable)} patients; no patient is in a test set, so NOTHING WAS EVALUATED. "
            f"Models: {run_dir / 'models'}"
        )
    print(f"report: {run_dir / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
