"""DeLong's comparison of two AUROCs on the same patients (DeLong et al. 1988, Biometrics 44:837), by ranks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64


@dataclass(frozen=True)
class AurocTest:
    """Two AUROCs, the standard error of their difference, and the two-sided p; None where it is not defined."""

    first: float
    second: float
    standard_error: float
    z: float | None
    p: float | None


def midranks(values: Float[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Return ranks from 1; equal values share the mean of theirs."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right") + 1) / 2


def auroc_covariance(
    scores: Float[np.ndarray, "m n"], is_positive: Bool[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, "m m"]]:
    """Return the AUROCs of m models and their covariance, in O(n log n) (Sun and Xu 2014, IEEE Signal Process Lett 21:1389).

    The rank of a patient among all, less its rank among its own kind, counts the other kind below it.

    Raises:
        ValueError: fewer than two patients of a kind.
    """
    n_positive, n_negative = int(is_positive.sum()), int((~is_positive).sum())
    if min(n_positive, n_negative) < 2:
        raise ValueError(f"DeLong's test needs two of each kind, got {n_positive} positives and {n_negative} negatives")
    above = np.empty((len(scores), n_positive))  # of each positive: the share of negatives below it
    below = np.empty((len(scores), n_negative))  # of each negative: the share of positives above it
    for row, own in enumerate(scores):
        ranks = midranks(own)
        above[row] = (ranks[is_positive] - midranks(own[is_positive])) / n_negative
        below[row] = 1 - (ranks[~is_positive] - midranks(own[~is_positive])) / n_positive
    covariance = np.atleast_2d(np.cov(above)) / n_positive + np.atleast_2d(np.cov(below)) / n_negative
    return above.mean(axis=1), covariance


def compare_aurocs(
    first: Float[np.ndarray, " n"],
    second: Float[np.ndarray, " n"],
    is_positive: Bool[np.ndarray, " n"],
    widening: float = 1.0,
) -> AurocTest:
    """Test whether two models have the same AUROC on these patients; the standard error is multiplied by `widening`."""
    from scipy.special import ndtr

    aurocs, covariance = auroc_covariance(np.stack([first, second]), is_positive)
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    error, difference = widening * float(np.sqrt(max(variance, 0.0))), float(aurocs[0] - aurocs[1])
    if error < 1e-12:  # the models rank alike: no difference, or one without any spread
        return AurocTest(float(aurocs[0]), float(aurocs[1]), error, None, 1.0 if difference == 0 else None)
    z = difference / error
    return AurocTest(float(aurocs[0]), float(aurocs[1]), error, z, float(2 * ndtr(-abs(z))))
