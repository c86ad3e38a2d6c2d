"""The cumulative hazards that a fold predicts for its test patients: straight from the head, or from log-hazard and baseline.

A head with a log-odds for each interval of time says them itself (mil/survival/discrete_hazard.py). The log-hazard of Cox's model
is put on the baseline of the training patients' follow-up, shrunk as that asks for (mil/survival/prognosis.py).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64

from common.failures import StudyError
from mil.runs.facts import IntervalFacts
from mil.runs.figure_names import log_odds_columns
from mil.runs.run_store import FinishedRun
from mil.survival.discrete_hazard import cumulative_hazard
from mil.survival.prognosis import prognosis_of


def fold_intervals(run: FinishedRun, key: tuple[int, int]) -> IntervalFacts | None:
    """Return the intervals of a fold's head; None where it has one log-hazard."""
    found = [fold.scale for fold in run.facts.folds if (fold.repeat, fold.fold) == key]
    return found[0].intervals if found and found[0] is not None else None


def numbers_of_intervals(run: FinishedRun) -> tuple[int, ...] | None:
    """Return how many intervals the head of each fold has; None where heads have one log-hazard."""
    found = [fold.scale.intervals for fold in run.facts.folds if fold.scale is not None]
    return tuple(len(own.ends) for own in found if own is not None) or None


def cumulative_hazards(
    run: FinishedRun, key: tuple[int, int], known: pd.DataFrame, rows: pd.DataFrame, moments: Float[np.ndarray, "... t"]
) -> Float64[np.ndarray, "n t"]:
    """Return the cumulative hazard of test patients of a fold at times.

    Args:
        run: the run.
        key: repeat and fold.
        known: follow-up of the fold's training patients.
        rows: predictions of the fold, or some of them.
        moments: times, the same for all or a row a patient.

    Raises:
        StudyError: a log-odds is missing.
    """
    intervals = fold_intervals(run, key)
    if intervals is None:
        prognosis = prognosis_of(
            known["log_hazard"].to_numpy(float), known["time"].to_numpy(float), known["event"].to_numpy(int)
        )
        return prognosis.cumulative(rows["log_hazard"].to_numpy(float), moments)
    names = log_odds_columns(len(intervals.ends))
    values = [pd.to_numeric(rows[name], errors="coerce") for name in names if name in rows]
    log_odds = np.stack(values, axis=1).astype(np.float64) if values else np.empty((len(rows), 0))
    if log_odds.shape[1] != len(names) or not np.isfinite(log_odds).all():
        raise StudyError(
            f"{run.folder.predictions}: repeat {key[0]}, fold {key[1]} has {len(names)} intervals of time, and a prediction lacks "
            f"one of {names[0]} to {names[-1]}; train again with the same python mil/train.py (folds that are whole are kept)"
        )
    return cumulative_hazard(log_odds, np.array(intervals.ends), moments)
