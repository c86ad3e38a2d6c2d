"""Survival probabilities of a run, out of fold: Brier score and AUC over time, with censoring allowed for.

A fold's probabilities are exp(-H(t)): by the head itself, where it has a log-odds for each interval of time; else
exp(-H0(t) exp(b log-hazard)), with Breslow's baseline hazard H0 of its training patients and the shrinkage b that their log-hazards
out of fold ask for (survival_parts/predicted_hazards.py). The reference is the Kaplan-Meier curve of the
same training patients: it knows nothing of the patient.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64

from mil.evaluation.survival_metrics import OverTimeMetrics, TimeAuc
from mil.evaluation.survival_parts.predicted_hazards import cumulative_hazards
from mil.metrics.bootstrap import Resampling, intervals, resample, supported
from mil.metrics.censoring import brier_losses, dynamic_auc, integrate
from mil.metrics.classification import Weights
from mil.metrics.support import MIN_EVENTS, Support, has_enough_events, ranking_support
from mil.metrics.survival_curves import censoring_steps, survival_steps
from mil.runs.figure_names import ATTENTION
from mil.runs.run_store import FinishedRun, by_fold, by_patient

GRID_QUANTILES, N_TIMES = (0.1, 0.8), 20
AUC_QUANTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class OverTime:
    """What the folds say of each test patient, averaged over repeats, in the order of patient ids."""

    moments: Float64[np.ndarray, " t"]
    uncensored: Float64[np.ndarray, " n"]
    uncensored_at: Float64[np.ndarray, "n t"]
    survival: Float64[np.ndarray, "n t"]
    reference: Float64[np.ndarray, "n t"]


def horizon(run: FinishedRun) -> float:
    """Return the time up to which pairs count in Uno's C: the 80th percentile of training patients' follow-up."""
    return float(np.quantile(run.follow_up["time"].to_numpy(float), GRID_QUANTILES[1]))


def over_time(run: FinishedRun) -> OverTime | None:
    """Return predicted survival and censoring of each test patient; None for a run that kept no training follow-up."""
    trained = dict(by_fold(run.follow_up, ATTENTION))
    if not trained:
        return None
    patients = by_patient(run.predictions, ATTENTION, [], ["time"]).index
    times = run.follow_up["time"].to_numpy(float)
    first, last = np.quantile(times, GRID_QUANTILES)
    moments = np.linspace(float(first), min(float(last), _end_of_follow_up(trained.values())), N_TIMES)
    sums = [np.zeros(len(patients)), *(np.zeros((len(patients), N_TIMES)) for _ in range(3))]
    n_of = np.zeros(len(patients))
    for key, rows in by_fold(run.predictions, ATTENTION):
        known = trained[key]
        time, event = known["time"].to_numpy(float), known["event"].to_numpy(int)
        censoring, curve = censoring_steps(time, event), survival_steps(time, event)
        place = patients.get_indexer(pd.Index(rows["patient_id"]))
        parts = (
            censoring.until(rows["time"].to_numpy(float)),
            np.tile(censoring(moments), (len(rows), 1)),
            np.exp(-cumulative_hazards(run, key, known, rows, moments)),
            np.tile(curve(moments), (len(rows), 1)),
        )
        for total, part in zip(sums, parts, strict=True):
            total[place] += part
        n_of[place] += 1
    per_patient = [total / (n_of if total.ndim == 1 else n_of[:, None]) for total in sums]
    return OverTime(moments, *per_patient)


def _end_of_follow_up(trained: Iterable[pd.DataFrame]) -> float:
    """Return the last time at which somebody is still followed in every fold: from the next on, nobody can weigh for those lost."""
    ends = []
    for known in trained:
        censoring = censoring_steps(known["time"].to_numpy(float), known["event"].to_numpy(int))
        over = censoring.times[censoring.values <= 0]
        ends.append(float(np.nextafter(over[0], -np.inf)) if len(over) else np.inf)
    return min(ends)


def evaluate_over_time(run: FinishedRun, plan: Resampling) -> OverTimeMetrics | None:
    """Return Brier score and AUC over time with intervals; None for a run that kept no training follow-up."""
    known = over_time(run)
    if known is None or known.moments[0] >= known.moments[-1]:
        return None
    table = by_patient(run.predictions, ATTENTION, ["score"], ["time", "event"])
    score, time, event = table["score"].to_numpy(float), table["time"].to_numpy(float), table["event"].to_numpy(int)
    own, reference = (
        brier_losses(survival, time, event, known.uncensored, known.uncensored_at, known.moments)
        for survival in (known.survival, known.reference)
    )
    died = run.follow_up["time"].to_numpy(float)[run.follow_up["event"].to_numpy(int) == 1]
    at = [float(moment) for moment in np.quantile(died, AUC_QUANTILES)]

    def metrics(weights: Weights) -> dict[str, Float64[np.ndarray, " b"]]:
        n_patients = weights.sum(axis=0)
        mine = integrate(own.T @ weights / n_patients, known.moments)
        theirs = integrate(reference.T @ weights / n_patients, known.moments)
        aucs = {
            f"auc:{index}": dynamic_auc(score, time, event, known.uncensored, t, weights) for index, t in enumerate(at)
        }
        return {"integrated_brier": mine, "reference": theirs, "difference": mine - theirs, **aucs}

    samples = resample(metrics, plan)
    support = dict.fromkeys(samples.value, Support(has_enough_events(event)))
    for index, t in enumerate(at):
        smaller = int(min(((time <= t) & (event == 1)).sum(), (time > t).sum()))
        is_enough = has_enough_events(event) and smaller >= MIN_EVENTS
        support[f"auc:{index}"] = ranking_support(samples.value[f"auc:{index}"], smaller, is_enough=is_enough)
    values = intervals(supported(samples, support))
    return OverTimeMetrics(
        integrated_brier=values["integrated_brier"],
        reference=values["reference"],
        difference=values["difference"],
        auc=tuple(TimeAuc(time=moment, **asdict(values[f"auc:{index}"])) for index, moment in enumerate(at)),
        brier=tuple(
            (float(moment), float(mine), float(theirs))
            for moment, mine, theirs in zip(known.moments, own.mean(axis=0), reference.mean(axis=0), strict=True)
        ),
        horizon=horizon(run),
        time_unit=run.facts.time_unit,
    )
