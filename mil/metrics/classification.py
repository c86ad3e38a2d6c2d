"""Metrics of a classification, by patient. Pure NumPy; each equals scikit-learn's where that has it.

Every metric takes `weights`, one column a cohort: how often each patient occurs in it. A column of ones is the cohort as
it is, the other columns are bootstrap or jackknife cohorts, so a thousand resamples cost a few passes over one matrix.
All counts are whole numbers in float64, so a column's result is that of the resampled patients, exactly.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

Weights = Float64[np.ndarray, "n b"]
Confusion = Float64[np.ndarray, "k k b"]


def _over(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide; NaN where there is nothing to divide by."""
    return np.divide(above, below, out=np.full(np.broadcast_shapes(above.shape, below.shape), np.nan), where=below > 0)


def ranked_counts(
    scores: Float[np.ndarray, " n"], is_positive: Bool[np.ndarray, " n"], weights: Weights
) -> tuple[Float64[np.ndarray, "m b"], Float64[np.ndarray, "m b"]]:
    """Return how many positives, and how many patients, have each distinct score, lowest first: ties stay together."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    everyone = weights[order]
    positive = everyone * is_positive[order, None]
    if len(starts) < len(scores):
        everyone, positive = np.add.reduceat(everyone, starts), np.add.reduceat(positive, starts)
    return positive, everyone


def auroc_of_counts(
    positive: Float64[np.ndarray, "m b"], everyone: Float64[np.ndarray, "m b"]
) -> Float64[np.ndarray, " b"]:
    """Return the area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    Mann-Whitney's U over the number of pairs (Hanley and McNeil 1982, Radiology 143:29); NaN without both kinds.
    """
    negative = everyone - positive
    below = np.cumsum(negative, axis=0) - negative / 2
    return _over(np.einsum("mb,mb->b", positive, below), positive.sum(axis=0) * negative.sum(axis=0))


def average_precision_of_counts(
    positive: Float64[np.ndarray, "m b"], everyone: Float64[np.ndarray, "m b"]
) -> Float64[np.ndarray, " b"]:
    """Return the sum over thresholds of precision times the gain in recall, as scikit-learn; NaN without positives."""
    hits = np.cumsum(positive[::-1], axis=0)
    called = np.cumsum(everyone[::-1], axis=0)
    precision = hits / np.maximum(called, 1)  # nobody called: no positive there either
    return _over(np.einsum("mb,mb->b", positive[::-1], precision), positive.sum(axis=0))


def ranking_metrics(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], weights: Weights
) -> tuple[Float64[np.ndarray, "k b"], Float64[np.ndarray, "k b"]]:
    """Return one-vs-rest AUROC and average precision of each class; NaN for a class without patients or others."""
    aurocs, precisions = [], []
    for index in range(probabilities.shape[1]):
        counts = ranked_counts(probabilities[:, index], labels == index, weights)
        aurocs.append(auroc_of_counts(*counts))
        precisions.append(average_precision_of_counts(*counts))
    return np.stack(aurocs), np.stack(precisions)


def class_mean(
    values: Float64[np.ndarray, "k b"], class_weights: Float64[np.ndarray, "k #b"] | None = None
) -> Float64[np.ndarray, " b"]:
    """Average a figure over the classes that have it, each class alike or by its weight; NaN when none has."""
    known = np.isfinite(values)
    weight = known.astype(np.float64) if class_weights is None else np.where(known, class_weights, 0.0)
    return _over((np.where(known, values, 0.0) * weight).sum(axis=0), weight.sum(axis=0))


def class_counts(labels: Int[np.ndarray, " n"], n_classes: int, weights: Weights) -> Float64[np.ndarray, "k b"]:
    """Return how many patients each class has."""
    return np.stack([weights[labels == index].sum(axis=0) for index in range(n_classes)])


def confusion_matrices(
    predicted: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"], n_classes: int, weights: Weights
) -> Confusion:
    """Return counts: a row a true class, a column a predicted one."""
    counts = np.zeros((n_classes**2, weights.shape[1]))
    codes = labels * n_classes + predicted
    for code in np.unique(codes):
        counts[code] = weights[codes == code].sum(axis=0)
    return counts.reshape(n_classes, n_classes, -1)


def accuracy(confusion: Confusion) -> Float64[np.ndarray, " b"]:
    """Return the share of patients in their class."""
    return _over(np.einsum("kkb->b", confusion), confusion.sum(axis=(0, 1)))


def recalls(confusion: Confusion) -> Float64[np.ndarray, "k b"]:
    """Return the share of each class's patients that are named so; NaN for a class without patients."""
    return _over(np.einsum("kkb->kb", confusion), confusion.sum(axis=1))


def macro_classes(n_of: Int[np.ndarray, " k"], least: int) -> Bool[np.ndarray, " k"]:
    """Return which classes enter macro averages: all but those with fewer patients, or others, than `least`.

    The figure of a class with one or two patients is noise that would move a macro average as much as any other class. A
    class without patients has no figure and stays out by itself. Where no class is large enough, all enter.
    """
    smaller = np.minimum(n_of, n_of.sum() - n_of)
    is_large = smaller >= least
    return is_large | (n_of == 0) if is_large.any() else np.ones(len(n_of), dtype=bool)


def balanced_accuracy(confusion: Confusion) -> Float64[np.ndarray, " b"]:
    """Return the mean recall over the classes that have patients."""
    return class_mean(recalls(confusion))


def f1_scores(confusion: Confusion) -> Float64[np.ndarray, "k b"]:
    """Return each class's F1; 0 for one never hit, NaN for one that is neither truth nor prediction."""
    return _over(2 * np.einsum("kkb->kb", confusion), confusion.sum(axis=0) + confusion.sum(axis=1))


def cohen_kappa(confusion: Confusion) -> Float64[np.ndarray, " b"]:
    """Return Cohen's kappa (1960, Educ Psychol Meas 20:37): agreement beyond chance; NaN when chance agrees always."""
    total = confusion.sum(axis=(0, 1))
    expected = (confusion.sum(axis=0) * confusion.sum(axis=1)).sum(axis=0) / np.maximum(total, 1)
    return _over(np.einsum("kkb->b", confusion) - expected, total - expected)


def classification_metrics(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], weights: Weights, *, least: int = 1
) -> Mapping[str, Float64[np.ndarray, " b"]]:
    """Return the figures that rank and decide: AUROC, average precision, accuracy, F1 and kappa, by name.

    Args:
        probabilities: of each class.
        labels: the true class.
        weights: how often each patient occurs in each cohort.
        least: patients of a class, and others, from which on it enters macro averages.
    """
    n_classes = probabilities.shape[1]
    macro = macro_classes(np.bincount(labels, minlength=n_classes), least).astype(np.float64)[:, None]
    aurocs, precisions = ranking_metrics(probabilities, labels, weights)
    counts = class_counts(labels, n_classes, weights)
    confusion = confusion_matrices(probabilities.argmax(axis=1), labels, n_classes, weights)
    f1 = f1_scores(confusion)
    return {
        "macro_auroc": class_mean(aurocs, macro),
        "weighted_auroc": class_mean(aurocs, counts),
        "macro_average_precision": class_mean(precisions, macro),
        "weighted_average_precision": class_mean(precisions, counts),
        "balanced_accuracy": class_mean(recalls(confusion), macro),
        "accuracy": accuracy(confusion),
        "macro_f1": class_mean(f1, macro),
        "weighted_f1": class_mean(f1, counts),
        "cohen_kappa": cohen_kappa(confusion),
        **{f"auroc:{index}": values for index, values in enumerate(aurocs)},
        **{f"average_precision:{index}": values for index, values in enumerate(precisions)},
    }


def once(n_patients: int) -> Weights:
    """Return the weights of the cohort as it is: every patient once."""
    return np.ones((n_patients, 1))


def auroc(scores: Float[np.ndarray, " n"], is_positive: Bool[np.ndarray, " n"]) -> float:
    """Return the AUROC of the cohort as it is.

    Raises:
        ValueError: there are no positives or no negatives.
    """
    n_positive, n_negative = int(is_positive.sum()), int((~is_positive).sum())
    if n_positive == 0 or n_negative == 0:
        raise ValueError(f"an AUROC needs both kinds, got {n_positive} positives and {n_negative} negatives")
    return float(auroc_of_counts(*ranked_counts(scores, is_positive, once(len(scores))))[0])
