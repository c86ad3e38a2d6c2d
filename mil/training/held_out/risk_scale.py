"""What puts the log-hazards of folds on one scale, and parts high from low: from risks of training patients alone.

A model spreads the risks of its own training patients too far, so that a scale made of them makes test patients look alike;
risks of training patients by inner models that never saw them spread like those of test patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from mil.runs.facts import ScaleFacts
from mil.training.task import FoldRows, Row


def scale_of(train_risk: Float64[np.ndarray, " n"]) -> dict[str, float]:
    """Return what puts a fold's risks on a common scale, and the cut-off: from risks of its training patients alone."""
    return {
        "mean": float(train_risk.mean()),
        "sd": float(max(train_risk.std(), 1e-9)),
        "cutoff": float(np.median(train_risk)),
    }


def placed(risk: float, scale: Mapping[str, float]) -> Row:
    """Return score and risk group of a log-hazard."""
    return {"score": (risk - scale["mean"]) / scale["sd"], "high_risk": int(risk > scale["cutoff"])}


def scaled_by_held_out(rows: FoldRows, parts: Sequence[FoldRows]) -> FoldRows:
    """Return the rows of a fold with scale, cut-off and training risks of its held-out training patients.

    Cox's likelihood leaves the level of a model open, so risks of inner models are taken from the mean of their own training
    patients to that of the fold's model.

    Args:
        rows: of the fold's own model, with its training patients and its scale.
        parts: of each inner model the patients it never saw (`validation`), and its scale.
    """
    assert rows.training is not None and rows.scale is not None, "a survival task gives both"
    held: dict[str, float] = {}
    for part in parts:
        assert part.scale is not None, "a survival task gives a scale"
        held |= {row["patient_id"]: row["log_hazard"] - part.scale.mean + rows.scale.mean for row in part.validation}
    trained = [{**row, "log_hazard": held.get(row["patient_id"], row["log_hazard"])} for row in rows.training]
    validated = [{**row, "log_hazard": held[row["patient_id"]]} for row in rows.validation]
    scale = scale_of(np.array([held[patient] for patient in sorted(held)]))
    predictions, validation, training = (
        [{**row, **placed(row["log_hazard"], scale)} for row in each] for each in (rows.predictions, validated, trained)
    )
    return replace(
        rows, predictions=predictions, validation=validation, training=training, scale=ScaleFacts(**scale)
    )  # fmt: skip
