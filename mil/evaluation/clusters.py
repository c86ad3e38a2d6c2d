"""Bags that are slides: a patient is drawn with all slides, since these are not independent."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, Int64

from mil.metrics.bootstrap import Resampling, plan_resampling


def plan_of_bags(
    labels: Int[np.ndarray, " n"], patient_of: Int[np.ndarray, " n"] | None, n_bootstrap: int, rng: np.random.Generator
) -> Resampling:
    """Return how often each bag is drawn: as often as its patient, and patients are drawn inside classes.

    A patient whose bags have several labels stands in the stratum of the one that the fewest patients have.

    Args:
        labels: the class of each bag.
        patient_of: the patient of each bag, 0 to the number of patients less 1; None where each is a patient's own.
        n_bootstrap: number of bootstraps.
        rng: draws.
    """
    if patient_of is None:
        return plan_resampling(labels, n_bootstrap, rng)
    plan = plan_resampling(patient_strata(labels, patient_of), n_bootstrap, rng)
    return Resampling(plan.counts[patient_of], plan.group_of[patient_of], plan.stratum_of_group)


def patient_strata(labels: Int[np.ndarray, " n"], patient_of: Int[np.ndarray, " n"]) -> Int64[np.ndarray, " m"]:
    """Return the label of each patient, of several the one that the fewest patients have (then the first)."""
    pairs = np.unique(np.stack([patient_of, labels], axis=1), axis=0)
    n_patients = np.bincount(pairs[:, 1])
    order = np.lexsort((pairs[:, 1], n_patients[pairs[:, 1]], pairs[:, 0]))
    _, first = np.unique(pairs[order, 0], return_index=True)
    return pairs[order][first, 1].astype(np.int64)
