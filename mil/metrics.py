"""Metrics of a classification, by patient. Pure NumPy; each equals scikit-learn's where that has it."""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64


def auroc(scores: Float[np.ndarray, " n"], is_positive: Bool[np.ndarray, " n"]) -> float:
    """Return the area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    Raises:
        ValueError: there are no positives or no negatives.
    """
    n_positive, n_negative = int(is_positive.sum()), int((~is_positive).sum())
    if n_positive == 0 or n_negative == 0:
        raise ValueError(f"an AUROC needs both kinds, got {n_positive} positives and {n_negative} negatives")
    ordered = np.sort(scores)
    # mid-ranks: mean of the first and last place a tied value takes
    ranks = (np.searchsorted(ordered, scores, side="left") + np.searchsorted(ordered, scores, side="right") + 1) / 2
    return float((ranks[is_positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def class_aurocs(probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> Float64[np.ndarray, " k"]:
    """Return the one-vs-rest AUROC of each class; NaN for a class without patients or without others."""
    values = np.full(probabilities.shape[1], np.nan)
    for index in range(probabilities.shape[1]):
        is_class = labels == index
        if is_class.any() and not is_class.all():
            values[index] = auroc(probabilities[:, index], is_class)
    return values


def macro_auroc(probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> float:
    """Return the mean one-vs-rest AUROC over the classes that have patients; NaN when there are fewer than two."""
    values = class_aurocs(probabilities, labels)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def confusion_matrix(
    predicted: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"], n_classes: int
) -> Int64[np.ndarray, "k k"]:
    """Return counts, a row a true class, a column a predicted one."""
    return (
        np.bincount(labels * n_classes + predicted, minlength=n_classes**2)
        .reshape(n_classes, n_classes)
        .astype(np.int64)
    )


def accuracy(confusion: Int[np.ndarray, "k k"]) -> float:
    """Return the share of patients in their class."""
    return float(np.trace(confusion) / confusion.sum())


def balanced_accuracy(confusion: Int[np.ndarray, "k k"]) -> float:
    """Return the mean recall over the classes that have patients."""
    n_of_class = confusion.sum(axis=1)
    has_patients = n_of_class > 0
    return float((np.diag(confusion)[has_patients] / n_of_class[has_patients]).mean())


def macro_f1(confusion: Int[np.ndarray, "k k"]) -> float:
    """Return the mean F1 over the classes that occur as truth or prediction; one never hit counts 0."""
    found, right = confusion.sum(axis=0) + confusion.sum(axis=1), np.diag(confusion)
    occurs = found > 0
    return float((2 * right[occurs] / found[occurs]).mean())
