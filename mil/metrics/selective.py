"""Selective prediction: how right the model is on the patients it is most certain of (El-Yaniv and Wiener 2010)."""

import numpy as np
from jaxtyping import Bool, Float, Float64

COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def selective_curve(
    confidence: Float[np.ndarray, " n"], is_right: Bool[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Return coverage and accuracy for every threshold of confidence, the strictest first; equal confidences together."""
    levels, place = np.unique(-confidence, return_inverse=True)
    n_kept = np.cumsum(np.bincount(place, minlength=len(levels)))
    n_right = np.cumsum(np.bincount(place, is_right.astype(np.float64), minlength=len(levels)))
    return n_kept / len(confidence), n_right / n_kept


def accuracy_at(coverage: Float64[np.ndarray, " m"], accuracy: Float64[np.ndarray, " m"], wanted: float) -> float:
    """Return the accuracy at the strictest threshold that keeps at least the wanted share of patients."""
    return float(accuracy[np.searchsorted(coverage, wanted - 1e-12)])


def area_under_risk(confidence: Float[np.ndarray, " n"], is_right: Bool[np.ndarray, " n"]) -> float:
    """Return the mean error over coverages, a step a patient (Geifman and El-Yaniv 2017, NeurIPS): 0 is perfect."""
    coverage, accuracy = selective_curve(confidence, is_right)
    share = np.diff(np.concatenate([[0.0], coverage]))
    return float((share * (1 - accuracy)).sum())
