"""Metrics of predicted numbers, by patient. Pure NumPy; each equals scikit-learn's or SciPy's where these have it.

Every metric takes `weights`, one column a cohort (see `classification`): how often each patient occurs in it.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float64

from mil.metrics.classification import Weights

LEAST_VARIANCE = 1e-12  # of the cohort's: below it there is none


def regression_metrics(
    predicted: Float[np.ndarray, " n"], observed: Float[np.ndarray, " n"], weights: Weights
) -> Mapping[str, Float64[np.ndarray, " b"]]:
    """Return errors, explained variance, correlations and calibration slope, by name; NaN where one is not defined.

    - mae, rmse: mean absolute error and root of the mean squared error, in the unit of the number;
    - r2: 1 less the squared error over that of the cohort's own mean;
    - pearson, spearman: of values and of midranks (ties share the mean of theirs);
    - slope: of the least-squares line of the observed on the predicted (Miller, Hui and Tierney 1991, Stat Med 10:1213): 1 is
      right, below 1 the predictions are spread too far.
    """
    error = (predicted - observed)[:, None]
    total = weights.sum(axis=0)
    squared = _mean(error**2, weights, total)
    spread = _covariance(observed[:, None], observed[:, None], weights, total)
    own_spread = _covariance(predicted[:, None], predicted[:, None], weights, total)
    shared = _covariance(predicted[:, None], observed[:, None], weights, total)
    return {
        "mae": _mean(abs(error), weights, total), "rmse": np.sqrt(squared), "r2": 1 - _over(squared, spread, observed),
        "pearson": _correlation(shared, own_spread, spread, predicted, observed),
        "spearman": _rank_correlation(
            weighted_midranks(predicted, weights), weighted_midranks(observed, weights), weights, total
        ),
        "slope": _over(shared, own_spread, predicted),
    }  # fmt: skip


def weighted_midranks(values: Float[np.ndarray, " n"], weights: Weights) -> Float64[np.ndarray, "n b"]:
    """Return the midrank of each patient's value in each cohort, from 1; those of patients who are not in it mean nothing."""
    distinct, place = np.unique(values, return_inverse=True)
    counts = np.zeros((len(distinct), weights.shape[1]))
    np.add.at(counts, place, weights)
    return (np.cumsum(counts, axis=0) - counts / 2 + 0.5)[place]


def _mean(values: np.ndarray, weights: Weights, total: np.ndarray) -> Float64[np.ndarray, " b"]:
    return np.divide((values * weights).sum(axis=0), total, out=np.full(len(total), np.nan), where=total > 0)


def _covariance(one: np.ndarray, other: np.ndarray, weights: Weights, total: np.ndarray) -> Float64[np.ndarray, " b"]:
    centred = [values - _mean(values, weights, total) for values in (one, other)]
    return _mean(centred[0] * centred[1], weights, total)


def _least(values: np.ndarray) -> float:
    return LEAST_VARIANCE * max(float(np.square(values).mean()), 1e-300)


def _over(above: np.ndarray, variance: np.ndarray, values: np.ndarray) -> Float64[np.ndarray, " b"]:
    """Divide by a variance of these values; NaN where they do not vary."""
    return np.divide(above, variance, out=np.full(len(above), np.nan), where=variance > _least(values))


def _correlation(
    shared: np.ndarray, first: np.ndarray, second: np.ndarray, one: np.ndarray, other: np.ndarray
) -> Float64[np.ndarray, " b"]:
    varies = (first > _least(one)) & (second > _least(other))
    below = np.sqrt(np.where(varies, first * second, 1.0))
    return np.where(varies, np.clip(shared / below, -1, 1), np.nan)


def _rank_correlation(
    one: np.ndarray, other: np.ndarray, weights: Weights, total: np.ndarray
) -> Float64[np.ndarray, " b"]:
    shared, first, second = (_covariance(a, b, weights, total) for a, b in ((one, other), (one, one), (other, other)))
    return _correlation(shared, first, second, np.ones(1), np.ones(1))
