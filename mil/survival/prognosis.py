"""What a log-hazard means for a patient: survival over time, median and restricted mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Num

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


def _curve(times: Float[np.ndarray, " t"], survival: Float[np.ndarray, " t"]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([[0.0], times]), np.concatenate([[1.0], survival])


def median_survival(times: Float[np.ndarray, " t"], survival: Float[np.ndarray, " t"]) -> float | None:
    """Return when a predicted curve falls to half, on the line between its points; None where it does not get there.

    Args:
        times: rising, above 0; the curve starts at 1 at time 0.
        survival: at each time, falling.
    """
    moments, curve = _curve(times, survival)
    below = np.flatnonzero(curve <= 0.5)
    if not len(below):
        return None
    end = int(below[0])
    return float(np.interp(-0.5, -curve[end - 1 : end + 1], moments[end - 1 : end + 1]))


def restricted_mean(times: Float[np.ndarray, " t"], survival: Float[np.ndarray, " t"]) -> float:
    """Return the mean survival time up to the last time of a predicted curve: the area under it (Royston and Parmar 2013).

    Args:
        times: rising, above 0; the curve starts at 1 at time 0, and is a line between its points.
        survival: at each time.
    """
    moments, curve = _curve(times, survival)
    return float(np.trapezoid(curve, moments))
