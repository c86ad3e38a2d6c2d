"""Metrics of ordered classes, by patient. Pure NumPy.

Every metric takes `weights`, one column a cohort (see `classification`). The class that is predicted is the median of the
probabilities, the one that makes the expected error in steps least.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float64, Int64

from mil.metrics.classification import (
    Confusion,
    Weights,
    accuracy,
    auroc_of_counts,
    class_mean,
    confusion_matrices,
    ranked_counts,
)

ROUNDING = 1e-9


def median_class(probabilities: Float[np.ndarray, "n k"]) -> Int64[np.ndarray, " n"]:
    """Return the lowest class up to which half of the probability lies."""
    below = np.cumsum(probabilities, axis=1)
    return (below < 0.5 - ROUNDING).sum(axis=1).clip(max=probabilities.shape[1] - 1).astype(np.int64)


def beyond(probabilities: Float[np.ndarray, "n k"]) -> Float64[np.ndarray, "n t"]:
    """Return the probability of a class above each threshold: above the first class, above the second, and so on."""
    return 1 - np.cumsum(probabilities[:, :-1].astype(np.float64), axis=1)


def quadratic_kappa(confusion: Confusion) -> Float64[np.ndarray, " b"]:
    """Return the quadratic-weighted kappa (Cohen 1968, Psychol Bull 70:213); NaN where chance never disagrees."""
    k = len(confusion)
    cost = np.square(np.arange(k)[:, None] - np.arange(k)).astype(np.float64)
    total = np.maximum(confusion.sum(axis=(0, 1)), 1)
    expected = np.einsum("ib,jb->ijb", confusion.sum(axis=1), confusion.sum(axis=0)) / total
    found, by_chance = (np.einsum("ij,ijb->b", cost, each) for each in (confusion, expected))
    return np.where(by_chance > 0, 1 - found / np.where(by_chance > 0, by_chance, 1.0), np.nan)


def ordinal_metrics(
    probabilities: Float[np.ndarray, "n k"], labels: Int64[np.ndarray, " n"], weights: Weights
) -> Mapping[str, Float64[np.ndarray, " b"]]:
    """Return the metrics of ordered classes by name.

    - quadratic_kappa: agreement beyond chance, an error of two steps counting four times one of one;
    - step_error: mean distance of the predicted class from the true one, in steps;
    - threshold_auroc: mean over thresholds of the AUROC of "above it" (each also as `above:<number>`);
    - accuracy: share of patients in their class;
    - rps: ranked probability score, the mean over thresholds of (probability above it - truth)^2 (Epstein 1969, J Appl Meteorol
      8:985, divided by the number of thresholds): lower is better.
    """
    n_classes = probabilities.shape[1]
    confusion = confusion_matrices(median_class(probabilities), labels, n_classes, weights)
    above, drawn = beyond(probabilities), weights.sum(axis=0)
    total = np.where(drawn > 0, drawn, np.nan)
    is_above = labels[:, None] > np.arange(n_classes - 1)
    aurocs = np.stack(
        [auroc_of_counts(*ranked_counts(above[:, step], is_above[:, step], weights)) for step in range(n_classes - 1)]
    )
    steps = abs(np.arange(n_classes)[:, None] - np.arange(n_classes)).astype(np.float64)
    return {
        "quadratic_kappa": quadratic_kappa(confusion),
        "step_error": np.einsum("ij,ijb->b", steps, confusion) / total,
        "threshold_auroc": class_mean(aurocs), "accuracy": accuracy(confusion),
        "rps": np.square(above - is_above).mean(axis=1) @ weights / total,
        **{f"above:{step}": values for step, values in enumerate(aurocs)},
    }  # fmt: skip
