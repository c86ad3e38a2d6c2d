"""What puts the log-hazards of folds on one scale, and parts them into risk groups: from risks of training patients alone.

A model spreads the risks of its own training patients too far, so that a scale made of them makes test patients look alike;
risks of training patients by inner models that never saw them spread like those of test patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypedDict

import numpy as np
from jaxtyping import Float64

from mil.survival.risk_groups import cut_offs, group_of
from mil.training.task import FoldRows, Row


class Scale(TypedDict):
    """What puts a fold's risks on a common scale, and parts its patients."""

    mean: float
    sd: float
    cutoffs: tuple[float, ...]


def scale_of(train_risk: Float64[np.ndarray, " n"], risk_groups: str) -> Scale:
    """Return a fold's scale and cut-offs, from risks of its training patients alone (`risk_groups`: see mil/survival)."""
    return {
        "mean": float(train_risk.mean()),
        "sd": float(max(train_risk.std(), 1e-9)),
        "cutoffs": cut_offs(train_risk, risk_groups),
    }


def placed(risk: float, scale: Scale) -> Row:
    """Return score and risk group of a log-hazard."""
    return {"score": (risk - scale["mean"]) / scale["sd"], "risk_group": group_of(risk, scale["cutoffs"])}


def scaled_by_held_out(rows: FoldRows, parts: Sequence[FoldRows], risk_groups: str) -> FoldRows:
    """Return the rows of a fold with scale, cut-offs and training risks of its held-out training patients.

    Cox's likelihood leaves the level of a model open, and intervals of time are each model's own, so risks of inner models are
    taken from the mean of their own training patients to that of the fold's model.

    Args:
        rows: of the fold's own model, with its training patients and its scale.
        parts: of each inner model the patients it never saw (`validation`), and its scale.
        risk_groups: how patients are parted.
    """
    assert rows.training is not None and rows.scale is not None, "a survival task gives both"
    held: dict[str, float] = {}
    for part in parts:
        assert part.scale is not None, "a survival task gives a scale"
        held |= {row["patient_id"]: row["log_hazard"] - part.scale.mean + rows.scale.mean for row in part.validation}
    trained = [{**row, "log_hazard": held.get(row["patient_id"], row["log_hazard"])} for row in rows.training]
    validated = [{**row, "log_hazard": held[row["patient_id"]]} for row in rows.validation]
    scale = scale_of(np.array([held[patient] for patient in sorted(held)]), risk_groups)
    predictions, validation, training = (
        [{**row, **placed(row["log_hazard"], scale)} for row in each] for each in (rows.predictions, validated, trained)
    )
    return replace(
        rows, predictions=predictions, validation=validation, training=training, scale=replace(rows.scale, **scale)
    )  # fmt: skip
