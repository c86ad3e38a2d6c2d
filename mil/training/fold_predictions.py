"""What one fold predicts: rows of the attention model and of its baselines, for test and inner validation patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from common.files import write_table
from mil.runs.figure_names import CLINICAL, MEAN_POOL, PRIOR
from mil.training.baseline import fit_classifier, fit_cox
from mil.training.covariates import Covariates, fit_encoder
from mil.training.fitting import Targets


@dataclass(frozen=True, kw_only=True)
class FoldPlan:
    """Who trains, decides when to stop, and is tested in one fold."""

    repeat: int
    fold: int
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def stem(self) -> str:
        """The file name of the fold's model and record."""
        return f"repeat{self.repeat}_fold{self.fold}"


def softmax(outputs: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
    """Return probabilities of logits."""
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(axis=1, keepdims=True)


def scale_of(train_risk: Float64[np.ndarray, " n"]) -> dict[str, float]:
    """Return what puts a fold's risks on a common scale, and the cut-off: from its training patients alone."""
    return {
        "mean": float(train_risk.mean()),
        "sd": float(max(train_risk.std(), 1e-9)),
        "cutoff": float(np.median(train_risk)),
    }


def subtype_rows(
    plan: FoldPlan,
    patients: Sequence[str],
    targets: Targets,
    probabilities: Float64[np.ndarray, "n k"],
    *,
    model: str,
    classes: Sequence[str],
) -> list[dict[str, Any]]:
    """Return a row a patient: class probabilities beside the truth."""
    return [
        {
            "repeat": plan.repeat, "fold": plan.fold, "patient_id": patient, "model": model,
            "truth": classes[targets.labels[patient]],
            **{f"p_{name}": float(value) for name, value in zip(classes, row, strict=True)},
        }
        for patient, row in zip(patients, probabilities, strict=True)
    ]  # fmt: skip


def survival_rows(
    plan: FoldPlan,
    patients: Sequence[str],
    targets: Targets,
    risks: Float64[np.ndarray, " n"],
    *,
    model: str,
    scale: dict[str, float],
) -> list[dict[str, Any]]:
    """Return a row a patient: log-hazard, score on the scale of the training patients, and risk group."""
    return [
        {
            "repeat": plan.repeat, "fold": plan.fold, "patient_id": patient, "model": model,
            "time": targets.times[patient], "event": targets.events[patient], "log_hazard": float(risk),
            "score": float((risk - scale["mean"]) / scale["sd"]), "high_risk": int(risk > scale["cutoff"]),
        }
        for patient, risk in zip(patients, risks, strict=True)
    ]  # fmt: skip


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
