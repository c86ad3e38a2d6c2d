"""Calibration of a run's survival probabilities out of fold, each fold's by its head or the baseline of its training patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64

from mil.evaluation.survival_parts.predicted_hazards import cumulative_hazards
from mil.evaluation.survival_parts.records import DecisionPoint, RunCalibration
from mil.metrics.survival_curves import MedianTime, median_time
from mil.runs.figure_names import ATTENTION
from mil.runs.run_store import FinishedRun, by_fold, by_patient
from mil.survival.calibration import calibration_at, d_calibration
from mil.survival.decision_curve import net_benefit

MIN_PATIENTS, BINS_FROM = 20, 100  # for a calibration; for ten bins instead of five
QUANTILES = (0.25, 0.5, 0.75)
THRESHOLDS = np.arange(5, 100, 5) / 100


@dataclass(frozen=True)
class _Predicted:
    """Predicted cumulative hazards of each tested patient, averaged over repeats."""

    at_moments: Float64[np.ndarray, "n t"]
    until_moments: Float64[np.ndarray, "n t"]  # of the own follow-up, or the moment if earlier
    until_end: Float64[np.ndarray, " n"]


def calibration_of(run: FinishedRun) -> RunCalibration:
    """Return the calibration at the quartiles of training events' times and over all times, and the decision curve.

    Nothing for a run that kept no training follow-up, or of under 20 tested patients.
    """
    trained = dict(by_fold(run.follow_up, ATTENTION))
    table = by_patient(run.predictions, ATTENTION, [], ["time", "event"])
    if not trained or len(table) < MIN_PATIENTS:
        return RunCalibration(at=(), over_all=None, decision=())
    died = run.follow_up["time"].to_numpy(float)[run.follow_up["event"].to_numpy(int) == 1]
    moments = np.unique(np.quantile(died, QUANTILES))
    time, event = table["time"].to_numpy(float), table["event"].to_numpy(int)
    own = _predicted(run, trained, table.index, moments)
    at = tuple(
        calibration_at(float(moment), np.exp(-own.at_moments[:, k]), own.until_moments[:, k], time, event)
        for k, moment in enumerate(moments)
    )
    middle = len(moments) // 2
    risk, everybody = 1 - np.exp(-own.at_moments[:, middle]), np.ones(len(table))
    treated, all_treated = (
        net_benefit(each, time, event, float(moments[middle]), THRESHOLDS) for each in (risk, everybody)
    )
    return RunCalibration(
        at=at,
        over_all=d_calibration(np.exp(-own.until_end), event, n_bins=10 if len(table) >= BINS_FROM else 5),
        decision=tuple(
            DecisionPoint(threshold=float(threshold), model=float(model), everybody=float(rest))
            for threshold, model, rest in zip(THRESHOLDS, treated, all_treated, strict=True)
        ),
    )


def _predicted(
    run: FinishedRun,
    trained: dict[tuple[int, int], pd.DataFrame],
    patients: pd.Index,
    moments: Float[np.ndarray, " t"],
) -> _Predicted:
    n, t = len(patients), len(moments)
    sums, n_of = [np.zeros((n, t)), np.zeros((n, t)), np.zeros((n, 1))], np.zeros((n, 1))
    for key, rows in by_fold(run.predictions, ATTENTION):
        own = rows["time"].to_numpy(float)[:, None]
        place = patients.get_indexer(pd.Index(rows["patient_id"]))
        for total, times in zip(sums, (moments, np.minimum(own, moments), own), strict=True):
            total[place] += cumulative_hazards(run, key, trained[key], rows, times)
        n_of[place] += 1
    return _Predicted(sums[0] / n_of, sums[1] / n_of, (sums[2] / n_of)[:, 0])


def follow_up_of(run: FinishedRun) -> MedianTime:
    """Return the median follow-up of the tested patients by reverse Kaplan-Meier."""
    table = by_patient(run.predictions, ATTENTION, [], ["time", "event"])
    return median_time(table["time"].to_numpy(float), 1 - table["event"].to_numpy(int))
