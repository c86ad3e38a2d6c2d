"""What one fold predicts: rows of the attention model and of its baselines, for test and inner validation patients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.files import write_table
from mil.runs.figure_names import CLINICAL, MEAN_POOL, PRIOR
from mil.training.baseline import fit_classifier, fit_cox
from mil.training.classification_task import subtype_rows
from mil.training.covariates import Covariates, fit_encoder
from mil.training.survival_task import scale_of, survival_rows
from mil.training.targets import Targets
from splits.fold_plan import FoldPlan


def baseline_rows(
    plan: FoldPlan,
    targets: Targets,
    classes: Sequence[str],
    means: dict[str, np.ndarray],
    covariates: Covariates,
) -> list[dict[str, Any]]:
    """Fit the baselines on the training patients and predict the test patients.

    Args:
        plan: the fold.
        targets: labels, or times and events.
        classes: subtype names; empty for survival.
        means: the mean tile of each training and test patient.
        covariates: the clinical covariates; without any there is no clinical baseline.
    """
    if not plan.test:
        return []
    inputs = {MEAN_POOL: tuple(np.stack([means[patient] for patient in part]) for part in (plan.train, plan.test))}
    if covariates.names:
        encode = fit_encoder(covariates, plan.train)
        inputs[CLINICAL] = (encode(covariates, plan.train), encode(covariates, plan.test))
    rows = []
    for model, (train, test) in inputs.items():
        if classes:
            labels = np.array([targets.labels[patient] for patient in plan.train])
            probabilities = fit_classifier(train, labels, len(classes)).probabilities(test)
            rows += subtype_rows(plan, plan.test, targets, probabilities, model=model, classes=classes)
        else:
            time = np.array([targets.times[patient] for patient in plan.train])
            event = np.array([targets.events[patient] for patient in plan.train])
            cox = fit_cox(train, time, event)
            scale = scale_of(cox.log_hazard(train))
            rows += survival_rows(plan, plan.test, targets, cox.log_hazard(test), model=model, scale=scale)
    if classes:
        share = np.bincount([targets.labels[patient] for patient in plan.train], minlength=len(classes)) / len(
            plan.train
        )
        prior = np.tile(share, (len(plan.test), 1))
        rows += subtype_rows(plan, plan.test, targets, prior, model=PRIOR, classes=classes)
    return rows


def write_predictions(path: Path, rows: Sequence[dict[str, Any]], task: str, classes: Sequence[str]) -> None:
    """Write predictions of all folds; only the header when there are none."""
    last = [f"p_{name}" for name in classes] if task == "subtype" else ["event", "log_hazard", "score", "high_risk"]
    names = ["repeat", "fold", "patient_id", "model", "truth" if task == "subtype" else "time", *last]
    ordered = sorted(rows, key=lambda row: (row["model"], row["repeat"], row["fold"], row["patient_id"]))
    write_table(path, names, [[row[name] for name in names] for row in ordered])
