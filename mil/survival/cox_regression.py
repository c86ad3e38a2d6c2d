"""Cox regression on a few inputs by Newton's method: coefficients with their covariance, tests, scaled Schoenfeld residuals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from mil.survival.partial_likelihood import hessian_product, loss, loss_and_gradient, means_at_events
from mil.survival.risk_sets import RiskSets

MAX_STEPS, MAX_HALVINGS = 60, 30
SMALLEST = 1e-10  # smallest over largest eigenvalue of an information matrix that tells inputs apart
ENDLESS = 12.0  # a coefficient a standard deviation beyond which the likelihood is taken to rise without end


@dataclass(frozen=True)
class CoxRegression:
    """A fitted Cox regression.

    Attributes:
        coefficients: log hazard ratio for one more of each input; 0 where an input never varies.
        covariance: of the coefficients: the inverse of the (penalised) information.
        log_likelihood: at the optimum, without the penalty.
        null_log_likelihood: with all coefficients 0.
        n_events: events that took part.
        is_endless: whether the likelihood rises without end in a coefficient (nobody of a level had the event, say).
        residuals: Schoenfeld residuals, a row an event in the order of `sets.events`.
    """

    coefficients: Float64[np.ndarray, " d"]
    covariance: Float64[np.ndarray, "d d"]
    log_likelihood: float
    null_log_likelihood: float
    n_events: int
    is_endless: Bool[np.ndarray, " d"]
    residuals: Float64[np.ndarray, "e d"]

    @property
    def standard_errors(self) -> Float64[np.ndarray, " d"]:
        """The standard error of each coefficient."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))

    def wald_p(self) -> Float64[np.ndarray, " d"]:
        """Return Wald's p of each coefficient; NaN where there is none."""
        from scipy.special import ndtr

        errors = self.standard_errors
        z = np.divide(self.coefficients, errors, out=np.full(len(errors), np.nan), where=errors > 0)
        return 2 * ndtr(-np.abs(z))  # type: ignore[no-any-return]


def cox_regression(inputs: Float[np.ndarray, "n d"], sets: RiskSets, *, penalty: float = 0.0) -> CoxRegression:
    """Fit by Newton's method with halved steps: the largest log partial likelihood less penalty / 2 * |b|^2.

    Args:
        inputs: a row a patient, as `sets` were made of; any scale.
        sets: their follow-up.
        penalty: on the coefficients of the inputs as they are; 0 for plain regression.

    Raises:
        ValueError: inputs that are not finite.
    """
    x = np.asarray(inputs, dtype=np.float64)
    if not np.isfinite(x).all():
        raise ValueError("the inputs of a Cox regression must be finite")
    used = x[sets.order]
    mean, spread = (used.mean(axis=0), used.std(axis=0)) if used.size else (np.zeros(x.shape[1]),) * 2
    is_free = spread > 1e-12 * np.maximum(1.0, np.abs(mean))
    z = (x[:, is_free] - mean[is_free]) / spread[is_free]
    ridge = penalty / spread[is_free] ** 2
    weights = _newton(z, sets, ridge)
    eta = z @ weights
    hessian = _information(z, eta, sets) + np.diag(ridge)
    scale = np.zeros(x.shape[1])
    scale[is_free] = 1 / spread[is_free]
    coefficients, covariance = np.zeros(x.shape[1]), np.zeros((x.shape[1], x.shape[1]))
    coefficients[is_free] = weights * scale[is_free]
    covariance[np.ix_(is_free, is_free)] = np.linalg.pinv(hessian, rcond=SMALLEST, hermitian=True)
    is_endless = np.zeros(x.shape[1], dtype=bool)
    is_endless[is_free] = np.abs(weights) > ENDLESS
    total = sets.total_weight
    return CoxRegression(
        coefficients=coefficients, covariance=covariance * np.outer(scale, scale), log_likelihood=-loss(eta, sets) * total,
        null_log_likelihood=-loss(np.zeros(len(x)), sets) * total, n_events=len(sets.events), is_endless=is_endless,
        residuals=x[sets.order[sets.events]] - means_at_events(eta, sets, x),
    )  # fmt: skip


def _information(
    z: Float64[np.ndarray, "n d"], eta: Float64[np.ndarray, " n"], sets: RiskSets
) -> Float64[np.ndarray, "d d"]:
    rows = [z.T @ hessian_product(eta, sets, column) for column in z.T]
    own = np.stack(rows) if rows else np.empty((0, 0))
    return (own + own.T) / 2 * sets.total_weight


def _newton(
    z: Float64[np.ndarray, "n d"], sets: RiskSets, ridge: Float64[np.ndarray, " d"]
) -> Float64[np.ndarray, " d"]:
    total, weights = sets.total_weight, np.zeros(z.shape[1])

    def objective(at: Float64[np.ndarray, " d"]) -> float:
        return loss(z @ at, sets) * total + float(ridge @ at**2) / 2

    now = objective(weights)
    for _ in range(MAX_STEPS if z.shape[1] else 0):
        slope = z.T @ loss_and_gradient(z @ weights, sets)[1] * total + ridge * weights
        hessian = _information(z, z @ weights, sets) + np.diag(ridge)
        step = -np.linalg.pinv(hessian, rcond=SMALLEST, hermitian=True) @ slope
        for _ in range(MAX_HALVINGS):
            after = objective(weights + step)
            if after <= now + 1e-12 * abs(now):
                break
            step = step / 2
        weights, fall, now = weights + step, now - after, after
        is_still = np.abs(step).max() < 1e-9
        if is_still or (abs(fall) < 1e-9 and np.abs(weights).max() > ENDLESS):
            break
    return weights


def likelihood_ratio_p(small: CoxRegression, large: CoxRegression, n_more: int) -> tuple[float, float]:
    """Return the likelihood-ratio statistic of two nested regressions without penalty, and its p.

    Args:
        small: the regression without some inputs.
        large: with them, on the same patients.
        n_more: how many inputs it has more.
    """
    from scipy.special import gammaincc

    statistic = max(0.0, 2 * (large.log_likelihood - small.log_likelihood))
    return statistic, float(gammaincc(n_more / 2, statistic / 2))


def scaled_schoenfeld(fitted: CoxRegression) -> Float64[np.ndarray, "e d"]:
    """Return the scaled Schoenfeld residuals (Grambsch and Therneau 1994, Biometrika 81:515), around 0.

    Added to the coefficients and smoothed over time they show how each coefficient changes.
    """
    scaled: Float64[np.ndarray, "e d"] = len(fitted.residuals) * fitted.residuals @ fitted.covariance
    return scaled


def proportionality_p(fitted: CoxRegression, at: Float[np.ndarray, " e"]) -> tuple[Float64[np.ndarray, " d"], float]:
    """Return p of the test that each coefficient does not change with time, and of all together (Grambsch and Therneau 1994).

    Args:
        fitted: a regression without penalty.
        at: time of each event in the order of the residuals, or a transformation of it, such as its rank.
    """
    from scipy.special import gammaincc

    centred = np.asarray(at, dtype=np.float64) - np.mean(at)
    spread = float((centred**2).sum())
    errors, n_events = np.diag(fitted.covariance), len(fitted.residuals)
    if spread <= 0:
        return np.full(len(errors), np.nan), float("nan")
    sums = centred @ fitted.residuals
    along = n_events * sums @ fitted.covariance
    with np.errstate(divide="ignore", invalid="ignore"):
        each = along**2 / (n_events * errors * spread)
    together = n_events * sums @ fitted.covariance @ sums / spread
    known = np.where(errors > 0, each, np.nan)
    return gammaincc(0.5, known / 2), float(gammaincc((errors > 0).sum() / 2, together / 2))
