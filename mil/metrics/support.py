"""What a metric rests on: whether its patients are enough for a bootstrap, and exact limits where no resample differs.

A bootstrap of 60 patients who are all right is right in every resample: it says nothing of the next patient. Then

- a share has Clopper and Pearson's limits (1934, Biometrika 26:404): 60 of 60 is 0.940 to 1;
- an AUROC of 1 has the limit TAIL^(1/m) for m patients of the smaller group: pair each of them with another one of the
  larger, and m independent pairs are all in the right order, which has probability AUROC^m. A C-index has m pairs too, as
  many as can be compared when patients are paired at random;
- a mean over classes has the mean of their limits: were the true mean below it, one class would be below its own, and then
  such a sample has a probability under TAIL.

Everything else that no resample changes (F1, average precision, a difference) has no interval. And with too few patients a
bootstrap cannot see its own spread: of noise, the 95 % interval of the AUROC of 1 against 19 is on one side of 0.5 in 60 % of
samples, of 2 in 15 %, of 3 in 10 %, of 5 in 5 %. There is none under `MIN_PATIENTS` patients, or under `MIN_EVENTS` events or
patients of the smaller group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Num

from mil.metrics.classification import confusion_matrices, macro_classes, once, ranking_metrics, recalls
from mil.metrics.concordance import concordance_sums

LEVEL = 0.95
TAIL = (1 - LEVEL) / 2
MIN_PATIENTS, MIN_EVENTS = 10, 5
ALIKE = 1e-12  # resamples that differ by less are alike


@dataclass(frozen=True)
class Support:
    """Whether a bootstrap interval may be given, and the limits to give where it may not or where no resample differs."""

    is_enough: bool = True
    low: float | None = None
    high: float | None = None


def clopper_pearson(n_right: int, n: int) -> tuple[float, float]:
    """Return the exact 95 % limits of a share (Clopper and Pearson 1934)."""
    from scipy.special import betaincinv

    low = float(betaincinv(n_right, n - n_right + 1, TAIL)) if n_right else 0.0
    high = float(betaincinv(n_right + 1, n - n_right, 1 - TAIL)) if n_right < n else 1.0
    return low, high


def share_support(value: float, n: int, *, is_count: bool = True) -> Support:
    """Return the support of a share of n patients.

    Args:
        value: the share.
        n: independent patients.
        is_count: the share is a whole number of the patients; else (a mean over images or repeats) only 0 and 1 have limits.
    """
    is_enough = n >= MIN_PATIENTS
    if n == 0 or not np.isfinite(value) or not (is_count or value in (0, 1)):
        return Support(is_enough)
    return Support(is_enough, *clopper_pearson(round(value * n), n))


def ranking_support(value: float, n_pairs: float, *, is_enough: bool) -> Support:
    """Return the support of an AUROC or C-index in which this many independent pairs took part."""
    if not is_enough or n_pairs < 1 or value not in (0, 1):
        return Support(is_enough)
    limit = TAIL ** (1 / n_pairs)
    return Support(is_enough, limit, 1.0) if value == 1 else Support(is_enough, 0.0, 1 - limit)


def class_support(
    probabilities: Float[np.ndarray, "n k"],
    labels: Int[np.ndarray, " n"],
    patient_of: Int[np.ndarray, " n"] | None = None,
) -> dict[str, Support]:
    """Return the support of the metrics of a classification, by the names that `classification_metrics` uses.

    Args:
        probabilities: of each class, a row a patient (or an image).
        labels: the true class.
        patient_of: the patient of each row, when these are images or slides; only patients are independent.
    """
    n_classes, columns = probabilities.shape[1], once(len(labels))
    of_row = np.arange(len(labels)) if patient_of is None else patient_of
    n_of = np.array([len(np.unique(of_row[labels == index])) for index in range(n_classes)])
    n_rest = np.array([len(np.unique(of_row[labels != index])) for index in range(n_classes)])
    n, is_count = len(np.unique(of_row)), patient_of is None
    smaller = np.minimum(n_of, n_rest)
    is_large = (n >= MIN_PATIENTS) & (smaller >= MIN_EVENTS)
    aurocs = ranking_metrics(probabilities, labels, columns)[0][:, 0]
    confusion = confusion_matrices(probabilities.argmax(axis=1), labels, n_classes, columns)
    rankings = [
        ranking_support(float(value), int(size), is_enough=bool(large))
        for value, size, large in zip(aurocs, smaller, is_large, strict=True)
    ]
    shares = [
        share_support(float(value), int(size), is_count=is_count)
        for value, size in zip(recalls(confusion)[:, 0], n_of, strict=True)
    ]
    in_macro = (macro_classes(n_of, MIN_EVENTS) & (n_of > 0)).astype(np.int64)
    is_enough = bool(is_large.any())
    right = float(np.einsum("kk->", confusion[..., 0]) / len(labels))
    means = {
        "macro_auroc": _mean(rankings, in_macro, is_enough=is_enough),
        "weighted_auroc": _mean(rankings, n_of, is_enough=is_enough),
        "balanced_accuracy": _mean(shares, in_macro, is_enough=is_enough),
        "accuracy": share_support(right, n, is_count=is_count),
    }
    others: tuple[str, ...] = (
        "macro_average_precision",
        "weighted_average_precision",
        "macro_f1",
        "weighted_f1",
        "cohen_kappa",
    )
    others += ("brier", "log_loss", "ece", "calibration_slope")
    return {
        **{name: Support(is_enough) for name in others}, **means,
        **{f"auroc:{index}": own for index, own in enumerate(rankings)},
        **{f"average_precision:{index}": Support(bool(large)) for index, large in enumerate(is_large)},
    }  # fmt: skip


def _mean(parts: list[Support], weights: Int[np.ndarray, " k"], *, is_enough: bool) -> Support:
    used = [(part, float(weight)) for part, weight in zip(parts, weights, strict=True) if weight]
    if not is_enough or not used or any(part.low is None or part.high is None for part, _ in used):
        return Support(is_enough)
    share = np.array([weight for _, weight in used]) / sum(weight for _, weight in used)
    low, high = (float(share @ [getattr(part, end) for part, _ in used]) for end in ("low", "high"))
    return Support(is_enough, low, high)


def independent_pairs(time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"], tau: float = np.inf) -> float:
    """Return how many pairs can be compared, on average, when patients are paired at random.

    Args:
        time: follow-up.
        event: 1 event, 0 censored.
        tau: pairs count whose earlier event is before it.
    """
    n = len(time)
    if n < 2:
        return 0.0
    is_counted = (np.asarray(time) < tau).astype(np.float64)
    comparable = concordance_sums(np.zeros(n), time, event, once(n), is_counted)[0][0]
    return float(n // 2 * comparable / (n * (n - 1) / 2))


def survival_support(
    values: Mapping[str, float], pairs: Mapping[str, float], event: Num[np.ndarray, " n"]
) -> dict[str, Support]:
    """Return the support of C-indices.

    Args:
        values: each C-index of the cohort.
        pairs: how many independent pairs took part in it.
        event: 1 event, 0 censored, a patient each.
    """
    is_enough = has_enough_events(event)
    return {name: ranking_support(value, pairs[name], is_enough=is_enough) for name, value in values.items()}


def has_enough_events(event: Num[np.ndarray, " n"]) -> bool:
    """Return whether patients and events are enough for an interval."""
    return len(event) >= MIN_PATIENTS and int(np.asarray(event).sum()) >= MIN_EVENTS
