"""Rows of the tables of predictions of a survival run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from mil.training.held_out.risk_scale import Scale, placed
from mil.training.task import Row
from mil.training.time_to_event.survival_targets import SurvivalTargets
from splits.fold_plan import FoldPlan


def survival_rows(
    plan: FoldPlan,
    patients: Sequence[str],
    targets: SurvivalTargets,
    risks: Float64[np.ndarray, " n"],
    *,
    model: str,
    scale: Scale,
) -> list[Row]:
    """Return a row a patient: log-hazard, score on the scale of the training patients, and risk group."""
    return [
        {
            "repeat": plan.repeat, "fold": plan.fold, "patient_id": patient, "model": model,
            "time": targets.times[patient], "event": targets.events[patient], "log_hazard": float(risk),
            **placed(float(risk), scale),
        }
        for patient, risk in zip(patients, risks, strict=True)
    ]  # fmt: skip
