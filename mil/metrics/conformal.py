"""Split-conformal prediction sets: the subtypes that cannot be ruled out for a patient, with a promised coverage.

Papadopoulos et al. 2002 (ECML) and Lei et al. 2018 (J Am Stat Assoc 113:1094); class-conditional as in Vovk 2012
(Mach Learn 92:349). The score of a class is 1 - its probability; its threshold is the ceil((m + 1)(1 - alpha))-th smallest
score of the m calibration patients of that class. With too few of them no threshold keeps the promise, and the class stands
in every set: coverage first.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

COVERAGE = 0.9
Thresholds = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def threshold(scores: Float[np.ndarray, " m"], coverage: float) -> float:
    """Return the finite-sample quantile of calibration scores; infinite when there are too few.

    Raises:
        ValueError: the coverage is not between 0 and 1.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"the coverage of prediction sets lies between 0 and 1, got {coverage}")
    rank = int(np.ceil((len(scores) + 1) * coverage - 1e-9))  # (m + 1) * 0.9 may end a hair above a whole number
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else float("inf")


def least_patients(coverage: float) -> int:
    """Return how many calibration patients a class needs before it can be left out of any set."""
    count = 1
    while not np.isfinite(threshold(np.zeros(count), coverage)):
        count += 1
    return count


def class_thresholds(
    probabilities: Float[np.ndarray, "m k"], labels: Int[np.ndarray, " m"], coverage: float
) -> Float64[np.ndarray, " k"]:
    """Return each class's threshold from the calibration patients of that class."""
    n_classes = probabilities.shape[1]
    return np.array([threshold(1 - probabilities[labels == index, index], coverage) for index in range(n_classes)])


def common_thresholds(
    probabilities: Float[np.ndarray, "m k"], labels: Int[np.ndarray, " m"], coverage: float
) -> Float64[np.ndarray, " k"]:
    """Return one threshold for all classes from all calibration patients: coverage on average, not in each class."""
    own = probabilities[np.arange(len(labels)), labels]
    return np.full(probabilities.shape[1], threshold(1 - own, coverage))


def prediction_sets(
    probabilities: Float[np.ndarray, "n k"], thresholds: Float64[np.ndarray, " k"]
) -> Bool[np.ndarray, "n k"]:
    """Return which classes stand in each patient's set."""
    return 1 - probabilities <= thresholds
