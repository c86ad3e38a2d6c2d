"""How far predicted survival probabilities can be taken at their word, censoring allowed for: at a time, and over all times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Num

from mil.metrics.survival_curves import kaplan_meier, kaplan_meier_limits
from mil.survival.cox_regression import cox_regression
from mil.survival.risk_sets import risk_sets

N_BINS, MIN_A_GROUP, MIN_EVENTS_A_BIN = 10, 10, 5
TINY = 1e-12  # of a probability, so that its logarithm is a number


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationGroup:
    """Patients of like predicted risk: the mean of it, and what was observed (1 less Kaplan-Meier) with 95 % limits."""

    n: int
    predicted: float
    observed: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationAt:
    """Calibration of the risk until one time.

    Attributes:
        time: the time.
        expected: mean predicted risk until then.
        observed: 1 less the Kaplan-Meier curve then.
        ratio: expected over observed; 1 is right, above 1 is too much risk; None where nothing was observed.
        intercept: logarithm of observed events over expected ones, by the hazard each patient was exposed to; 0 is right, below 0
            is too much risk; None without events.
        slope: of log(-log(survival)) in Cox regression; 1 is right, below 1 is predictions spread too far; None without events.
        slope_low: its 95 % limit.
        slope_high: its 95 % limit.
        groups: the calibration curve.
    """

    time: float
    expected: float
    observed: float
    ratio: float | None
    intercept: float | None
    slope: float | None
    slope_low: float | None
    slope_high: float | None
    groups: tuple[CalibrationGroup, ...]


def calibration_at(
    moment: float,
    survival: Float64[np.ndarray, " n"],
    hazard: Float64[np.ndarray, " n"],
    time: Num[np.ndarray, " n"],
    event: Num[np.ndarray, " n"],
    *,
    n_groups: int = 5,
) -> CalibrationAt:
    """Return the calibration of predicted risks until a time (Crowson et al. 2016, Stat Methods Med Res 25:1692).

    Args:
        moment: the time.
        survival: predicted chance of surviving beyond it.
        hazard: predicted cumulative hazard of each patient until the end of the own follow-up or the moment, if earlier.
        time: follow-up.
        event: 1 event, 0 censored.
        n_groups: of the curve, of equal size; fewer where one would have under 10 patients.
    """
    until = np.minimum(np.asarray(time, dtype=np.float64), moment)
    seen = (np.asarray(event).astype(bool) & (np.asarray(time) <= moment)).astype(np.int64)
    expected, observed, n_events = float(1 - survival.mean()), _observed(time, event, moment)[0], int(seen.sum())
    total = float(hazard.sum())
    slope = _slope(survival, until, seen)
    return CalibrationAt(
        time=float(moment), expected=expected, observed=observed, ratio=expected / observed if observed > 0 else None,
        intercept=float(np.log(n_events / total)) if n_events and total > 0 else None,
        slope=slope[0], slope_low=slope[1], slope_high=slope[2],
        groups=_groups(survival, time, event, moment, n_groups),
    )  # fmt: skip


def _slope(
    survival: Float64[np.ndarray, " n"], until: Float64[np.ndarray, " n"], seen: Num[np.ndarray, " n"]
) -> tuple[float | None, float | None, float | None]:
    if seen.sum() < 2:
        return None, None, None
    inputs = np.log(-np.log(np.clip(survival, TINY, 1 - TINY)))
    fitted = cox_regression(inputs[:, None], risk_sets(until, seen))
    if fitted.is_endless[0] or fitted.standard_errors[0] <= 0:
        return None, None, None
    value, half = float(fitted.coefficients[0]), 1.959964 * float(fitted.standard_errors[0])
    return value, value - half, value + half


def _observed(
    time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"], moment: float
) -> tuple[float, float | None, float | None]:
    """Return the share with an event until a time, with limits."""
    steps, survival = kaplan_meier(time, event)
    low, high = kaplan_meier_limits(time, event)
    at = int(np.searchsorted(steps, moment, side="right")) - 1
    # before the first event the curve has no variance, and so no limits
    limits = [None if np.isnan(limit) or at == 0 else float(1 - limit) for limit in (high[at], low[at])]
    return float(1 - survival[at]), limits[0], limits[1]


def _groups(
    survival: Float64[np.ndarray, " n"],
    time: Num[np.ndarray, " n"],
    event: Num[np.ndarray, " n"],
    moment: float,
    n_groups: int,
) -> tuple[CalibrationGroup, ...]:
    n_groups = max(1, min(n_groups, len(survival) // MIN_A_GROUP))
    order = np.argsort(-survival, kind="stable")
    found = []
    for own in np.array_split(order, n_groups):
        observed, low, high = _observed(time[own], event[own], moment)
        predicted = float(1 - survival[own].mean())
        found.append(CalibrationGroup(n=len(own), predicted=predicted, observed=observed, low=low, high=high))
    return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class DCalibration:
    """Whether events come at predicted survival probabilities that are spread evenly; shares of patients a bin, lowest first."""

    p: float | None
    shares: tuple[float, ...]


def d_calibration(
    survival_at_end: Float[np.ndarray, " n"], event: Num[np.ndarray, " n"], *, n_bins: int = N_BINS
) -> DCalibration:
    """Return the test of D-calibration (Haider et al. 2020, J Mach Learn Res 21:85, section 3.5).

    Of the model itself the predicted survival at the time of the event is uniform on 0 to 1. A censored patient is spread over the
    bins below the survival at the end of follow-up. Such parts vary less than whole patients, so the usual chi-square would
    find too little: the test takes the covariance of the patients' own parts.

    Args:
        survival_at_end: predicted survival of each patient at the end of the own follow-up.
        event: 1 event, 0 censored.
        n_bins: of equal width.
    """
    s = np.clip(np.asarray(survival_at_end, dtype=np.float64), TINY, 1.0)
    lower = np.arange(n_bins) / n_bins
    # a censored patient's event will come at a survival below s: evenly
    spread = np.clip(s[:, None] - lower, 0.0, 1 / n_bins) / s[:, None]
    own = np.minimum((s * n_bins).astype(np.int64), n_bins - 1)
    parts = np.where(np.asarray(event).astype(bool)[:, None], np.eye(n_bins)[own], spread)
    shares = tuple(map(float, parts.mean(axis=0)))
    return DCalibration(p=_p_of_parts(parts, np.bincount(own[np.asarray(event) == 1], minlength=n_bins)), shares=shares)


def _p_of_parts(parts: Float64[np.ndarray, "n b"], n_events: Num[np.ndarray, " b"]) -> float | None:
    """Return Hotelling's p that the mean part of each bin is its width; bins with few events are joined with the next."""
    joined: list[list[int]] = [[]]
    seen = 0
    for index in range(parts.shape[1]):
        joined[-1].append(index)
        seen += int(n_events[index])
        if seen >= MIN_EVENTS_A_BIN and index + 1 < parts.shape[1]:
            joined, seen = [*joined, []], 0
    if seen < MIN_EVENTS_A_BIN and len(joined) > 1:
        joined[-2:] = [joined[-2] + joined[-1]]
    n, k = len(parts), len(joined) - 1
    if k < 1 or n <= 2 * k:
        return None
    from scipy.special import fdtrc

    own = np.stack([parts[:, bins].sum(axis=1) for bins in joined[:-1]], axis=1)  # parts make 1: the last one follows
    gap = own.mean(axis=0) - np.array([len(bins) for bins in joined[:-1]]) / parts.shape[1]
    covariance = np.atleast_2d(np.cov(own.T))
    statistic = n * float(gap @ np.linalg.pinv(covariance, hermitian=True) @ gap)
    return float(fdtrc(k, n - k, statistic * (n - k) / (k * (n - 1))))
