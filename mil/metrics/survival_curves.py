"""Survival and censoring curves: Kaplan-Meier and its limits, log-rank, Breslow's baseline hazard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Num

NORMAL_975 = 1.959963984540054  # 97.5 % of a standard normal distribution lie below


def kaplan_meier(
    time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Return the steps of the survival curve: times (from 0) and the share surviving from each on."""
    is_event = np.asarray(event).astype(bool)
    moments = np.unique(np.asarray(time, dtype=np.float64)[is_event])
    at_risk = np.array([(time >= moment).sum() for moment in moments])
    died = np.array([((time == moment) & is_event).sum() for moment in moments])
    survival = np.cumprod(1 - died / at_risk) if len(moments) else np.empty(0)
    return np.concatenate([[0.0], moments]), np.concatenate([[1.0], survival])


def kaplan_meier_limits(
    time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Return the 95 % limits of the curve at each of its steps; NaN once nobody survives, where they are not defined.

    Greenwood's variance on the scale of log(-log survival), so that limits stay between 0 and 1 (Kalbfleisch and Prentice
    1980, The Statistical Analysis of Failure Time Data, section 1.3).
    """
    steps, survival = kaplan_meier(time, event)
    at_risk = np.array([(time >= step).sum() for step in steps], dtype=np.float64)
    died = np.array([((time == step) & np.asarray(event).astype(bool)).sum() for step in steps], dtype=np.float64)
    died[0] = 0.0  # the curve's start is no event
    low = np.full(len(steps), np.nan)
    high = low.copy()
    is_defined = survival > 0
    n, d = at_risk[is_defined], died[is_defined]
    greenwood = np.cumsum(d / (n * (n - d)))
    low[0] = high[0] = 1.0
    later = np.flatnonzero(is_defined)[1:]
    log_survival = np.log(survival[later])
    half = NORMAL_975 * np.sqrt(greenwood[later]) / -log_survival
    low[later], high[later] = np.exp(log_survival * np.exp(half)), np.exp(log_survival * np.exp(-half))
    return low, high


@dataclass(frozen=True, kw_only=True, slots=True)
class MedianTime:
    """The time at which a curve falls to half, with 95 % limits; None where it does not get there."""

    value: float | None
    low: float | None
    high: float | None


def median_time(time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"]) -> MedianTime:
    """Return the median of the Kaplan-Meier curve, with the times at which its limits fall to half (Brookmeyer and Crowley 1982).

    With censored and event exchanged (reverse Kaplan-Meier) it is the median follow-up (Schemper and Smith 1996, Control Clin
    Trials 17:343).
    """
    steps, survival = kaplan_meier(time, event)
    low, high = kaplan_meier_limits(time, event)
    found = []
    for curve in (survival, low, high):
        below = np.flatnonzero(np.where(np.isnan(curve), 0.0, curve) <= 0.5)
        is_known = len(below) and not (curve is not survival and np.isnan(curve[below[0]]))
        found.append(float(steps[below[0]]) if is_known else None)
    return MedianTime(value=found[0], low=found[1], high=found[2])


def log_rank_p(
    time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"], group: Int[np.ndarray, " n"], widening: float = 1.0
) -> float | None:
    """Return the log-rank test's p between groups; None when all are in one or nobody had the event.

    Args:
        time: follow-up.
        event: 1 event, 0 censored.
        group: of each patient.
        widening: the statistic is divided by its square where models of folds that share training patients made the groups
            (`cross_validated`): of noise, p would be below 0.05 in one cohort of eight (benchmarks/README.md).
    """
    n_groups = len(np.unique(group))
    if n_groups < 2 or not np.asarray(event).any():
        return None
    from lifelines.statistics import multivariate_logrank_test
    from scipy.special import chdtrc

    found = multivariate_logrank_test(time, group, event)
    return float(found.p_value if widening == 1 else chdtrc(n_groups - 1, found.test_statistic / widening**2))


@dataclass(frozen=True)
class Steps:
    """A function of time that is constant between its steps: `before` until the first, then `values` from each time on."""

    times: Float64[np.ndarray, " m"]
    values: Float64[np.ndarray, " m"]
    before: float

    def __call__(self, time: Num[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:  # noqa: UP037
        """Return the value at each time."""
        return np.concatenate([[self.before], self.values])[np.searchsorted(self.times, time, side="right")]

    def until(self, time: Num[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:  # noqa: UP037
        """Return the value just before each time: the left limit, which a step at that very time does not touch."""
        return np.concatenate([[self.before], self.values])[np.searchsorted(self.times, time, side="left")]


def _counts(
    time: Num[np.ndarray, " n"], is_counted: Bool[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Return the distinct times, how many are counted at each, and how many are still followed."""
    moments, place = np.unique(np.asarray(time, dtype=np.float64), return_inverse=True)
    n_at = np.bincount(place, minlength=len(moments)).astype(np.float64)
    counted = np.bincount(place, is_counted.astype(np.float64), minlength=len(moments))
    return moments, counted, np.cumsum(n_at[::-1])[::-1]


def survival_steps(time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"]) -> Steps:
    """Return the Kaplan-Meier curve."""
    moments, died, followed = _counts(time, np.asarray(event).astype(bool))
    return Steps(moments, np.cumprod(1 - died / followed), 1.0)


def censoring_steps(time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"]) -> Steps:
    """Return the Kaplan-Meier curve of being censored: those with an event at a time leave before the censored do."""
    is_event = np.asarray(event).astype(bool)
    moments, died, followed = _counts(time, is_event)
    censored = _counts(time, ~is_event)[1]
    at_risk = followed - died
    share = np.divide(censored, at_risk, out=np.zeros(len(moments)), where=at_risk > 0)
    return Steps(moments, np.cumprod(1 - share), 1.0)


def baseline_hazard(
    log_hazard: Float[np.ndarray, " n"], time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"]
) -> Steps:
    """Return Breslow's cumulative baseline hazard (1972, J R Stat Soc B 34:216), of a patient with log-hazard 0."""
    moments, place = np.unique(np.asarray(time, dtype=np.float64), return_inverse=True)
    died = np.bincount(place, np.asarray(event, dtype=np.float64), minlength=len(moments))
    risk = np.bincount(place, np.exp(log_hazard), minlength=len(moments))
    return Steps(moments, np.cumsum(died / np.cumsum(risk[::-1])[::-1]), 0.0)
