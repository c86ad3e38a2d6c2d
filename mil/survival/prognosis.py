"""What a log-hazard means for a patient: survival over time, median and restricted mean, and the risk group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int, Num

from mil.metrics.survival_curves import Steps, baseline_hazard
from mil.survival.cox_regression import cox_regression
from mil.survival.risk_sets import risk_sets

MAX_LOG_RATIO = 50.0  # to the baseline: e**50 is certain death


def relative_hazard(
    log_hazard: Float[np.ndarray, " n"], *, shift: float = 0.0, slope: float = 1.0
) -> Float64[np.ndarray, " n"]:
    """Return the hazards beside that of a patient with log-hazard `shift`: exp(slope (log-hazard - shift)), always finite."""
    excess = slope * (np.asarray(log_hazard, dtype=np.float64) - shift)
    return np.exp(np.minimum(excess, MAX_LOG_RATIO))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Prognosis:
    """What the log-hazards of a model mean over time: H(t) = H0(t) exp(slope (log-hazard - shift)).

    Attributes:
        baseline: H0, the cumulative hazard of a patient with log-hazard `shift`.
        shift: the mean log-hazard of the patients it was learnt from, which keeps exp within range.
        slope: what a model's log-hazards are shrunk by, 0 to 1: a model that fits its patients too closely says too much of others.
    """

    baseline: Steps
    shift: float
    slope: float

    def cumulative(
        self, log_hazard: Float[np.ndarray, " n"], moments: Float[np.ndarray, "... t"]
    ) -> Float64[np.ndarray, "n t"]:
        """Return each patient's cumulative hazard at times, the same for all or a row a patient."""
        ratio = relative_hazard(log_hazard, shift=self.shift, slope=self.slope)
        hazards: Float64[np.ndarray, "n t"] = ratio[:, None] * self.baseline(moments)
        return hazards


def prognosis_of(
    log_hazard: Float[np.ndarray, " n"], time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"]
) -> Prognosis:
    """Return what log-hazards mean, learnt from training patients.

    The slope is the coefficient of the log-hazard in a Cox regression (van Houwelingen 2000, Stat Med 19:3401), within 0 and 1; the
    baseline is Breslow's for log-hazards shrunk by it. Log-hazards of patients whom the model never saw shrink as they should;
    those of its own training patients hardly shrink at all.

    Args:
        log_hazard: of training patients, out of fold where that is known.
        time: their follow-up.
        event: 1 event, 0 censored.
    """
    risk = np.asarray(log_hazard, dtype=np.float64)
    shift = float(risk.mean())
    spread = float(risk.std())
    slope = 1.0
    if spread > 0 and np.asarray(event).any():
        fitted = cox_regression((risk - shift)[:, None] / spread, risk_sets(time, event))
        slope = float(np.clip(fitted.coefficients[0] / spread, 0.0, 1.0))
    return Prognosis(baseline=baseline_hazard(slope * (risk - shift), time, event), shift=shift, slope=slope)


def survival_over_time(
    log_hazard: Float[np.ndarray, " n"], baseline: Steps, moments: Float[np.ndarray, " t"]
) -> Float64[np.ndarray, "n t"]:
    """Return the chance of surviving beyond each time: exp(-H0(t) exp(log-hazard)).

    Args:
        log_hazard: on the scale of the baseline.
        baseline: the cumulative hazard of a patient with log-hazard 0 (Breslow's, of training patients).
        moments: the times.
    """
    survival: Float64[np.ndarray, "n t"] = np.exp(-relative_hazard(log_hazard)[:, None] * baseline(moments))
    return survival


def median_survival(log_hazard: Float[np.ndarray, " n"], baseline: Steps) -> Float64[np.ndarray, " n"]:
    """Return the first time at which the predicted survival is half or less; NaN where it never is while anybody was followed."""
    survival = survival_over_time(log_hazard, baseline, baseline.times)
    is_half = survival <= 0.5
    first = is_half.argmax(axis=1)
    return np.where(is_half.any(axis=1), baseline.times[first], np.nan)


def restricted_mean(log_hazard: Float[np.ndarray, " n"], baseline: Steps, horizon: float) -> Float64[np.ndarray, " n"]:
    """Return the mean survival time up to a horizon: the area under each predicted curve (Royston and Parmar 2013).

    Args:
        log_hazard: on the scale of the baseline.
        baseline: the cumulative hazard of a patient with log-hazard 0.
        horizon: above 0; beyond the last follow-up of training patients nothing is known, and the curve stays where it was.
    """
    inside = baseline.times[(baseline.times > 0) & (baseline.times < horizon)]
    edges = np.concatenate([[0.0], inside, [horizon]])
    area: Float64[np.ndarray, " n"] = survival_over_time(log_hazard, baseline, edges[:-1]) @ np.diff(edges)
    return area


def cut_offs(train_risk: Float[np.ndarray, " n"], wanted: str) -> tuple[float, ...]:
    """Return the cut-offs of risk groups from training patients alone.

    Args:
        train_risk: log-hazards of training patients by models that never saw them.
        wanted: "median", "tertiles", "quartiles", or numbers with commas, which are taken as they are.

    Raises:
        ValueError: it is none of these, or the numbers do not rise.
    """
    parts = {"median": 2, "tertiles": 3, "quartiles": 4}.get(wanted)
    if parts:
        shares = np.arange(1, parts) / parts
        return tuple(map(float, np.quantile(train_risk, shares)))
    try:
        given = tuple(float(part) for part in wanted.split(","))
    except ValueError:
        given = ()
    if not given or not np.isfinite(given).all() or any(np.diff(given) <= 0):
        raise ValueError(
            f"risk groups are median, tertiles, quartiles or rising log-hazards with commas, got {wanted!r}"
        )
    return given


def group_of(log_hazard: Float[np.ndarray, " n"], cuts: Sequence[float]) -> Int[np.ndarray, " n"]:
    """Return the risk group of each patient, 0 the lowest; who is at a cut-off is in the lower group."""
    return np.searchsorted(np.asarray(cuts, dtype=np.float64), log_hazard, side="left")  # type: ignore[no-any-return]
