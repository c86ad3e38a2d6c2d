"""Cox regression on any number of inputs with a ridge penalty: coefficients alone."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

from mil.survival.cox_regression import cox_regression
from mil.survival.partial_likelihood import loss_and_gradient
from mil.survival.risk_sets import RiskSets

NEWTON_RANK = 40  # up to it Newton's method is the faster one, and exact


def ridge_coefficients(inputs: Float[np.ndarray, "n d"], sets: RiskSets, penalty: float) -> Float64[np.ndarray, " d"]:
    """Return the coefficients that minimise the negative log partial likelihood + penalty / 2 * |b|^2.

    The optimum lies in the row space of the inputs, so with more features than patients the search has one number a
    patient (van Wieringen 2015, arXiv 1509.09169, section 1.7).
    """
    left, sizes, right = np.linalg.svd(inputs, full_matrices=False)
    kept = sizes > sizes.max(initial=0) * 1e-10
    scores, right = left[:, kept] * sizes[kept], right[kept]
    if scores.shape[1] <= NEWTON_RANK:
        own = cox_regression(scores, sets, penalty=penalty).coefficients
    else:
        own = _descended(scores, sets, penalty)
    coefficients: Float64[np.ndarray, " d"] = right.T @ own
    return coefficients


def _descended(scores: Float64[np.ndarray, "n r"], sets: RiskSets, penalty: float) -> Float64[np.ndarray, " r"]:
    from scipy.optimize import minimize

    total = sets.total_weight

    def objective(weights: Float64[np.ndarray, " r"]) -> tuple[float, Float64[np.ndarray, " r"]]:
        loss, gradient = loss_and_gradient(scores @ weights, sets)
        value = loss * total + penalty / 2 * float(weights @ weights)
        return value, scores.T @ gradient * total + penalty * weights

    optimum = minimize(
        objective, np.zeros(scores.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 2000, "gtol": 1e-7}
    )
    return optimum.x  # type: ignore[no-any-return]
