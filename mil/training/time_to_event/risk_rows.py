"""Rows of the tables of predictions of a survival run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from mil.runs.facts import IntervalFacts
from mil.runs.figure_names import log_odds_columns
from mil.survival.discrete_hazard import Intervals
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
    log_odds: Float64[np.ndarray, "n k"] | None = None,
) -> list[Row]:
    """Return a row a patient: log-hazard, score on the scale of the training patients, risk group, and log-odds of intervals."""
    said = np.empty((len(patients), 0)) if log_odds is None else log_odds
    names = log_odds_columns(said.shape[1])
    return [
        {
            "repeat": plan.repeat, "fold": plan.fold, "patient_id": patient, "model": model,
            "time": targets.times[patient], "event": targets.events[patient], "log_hazard": float(risk),
            **placed(float(risk), scale), **dict(zip(names, map(float, own), strict=True)),
        }
        for patient, risk, own in zip(patients, risks, said, strict=True)
    ]  # fmt: skip


def interval_facts(intervals: Intervals | None) -> IntervalFacts | None:
    """Return intervals as a fold's record has them."""
    if intervals is None:
        return None
    return IntervalFacts(ends=tuple(map(float, intervals.ends)), base=tuple(map(float, intervals.base)))
