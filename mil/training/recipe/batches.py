"""Patients dealt to the steps of an epoch: everybody once, every stratum (class, or event and censored) spread evenly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

LEAST_STEPS, SMALLEST_RISK_SET = 4, 8  # steps an epoch, and patients at risk in a step, in small cohorts


def stratified_batches(
    patients: Sequence[str], strata: Mapping[str, int], size: int, rng: np.random.Generator
) -> list[list[str]]:
    """Return the patients in random order, in batches of about `size` whose shares of each stratum differ by one patient.

    Batches differ by one patient in size, so no step rests on a patient or two left over.
    """
    n_batches = max(1, round(len(patients) / size))
    shuffled = [patients[index] for index in rng.permutation(len(patients))]
    dealt = sorted(shuffled, key=lambda patient: strata[patient])  # stable: random inside a stratum
    batches = [dealt[start::n_batches] for start in range(n_batches)]
    order = rng.permutation(n_batches)
    return [batches[index] for index in order]


def risk_set_size(most: int, n_patients: int, n_events: int) -> int:
    """Return how many patients are at risk together in a step: a quarter of them, so that small cohorts have steps enough.

    Not more than `most`, nor fewer than 8 (or `most`); in any case so many that every step can have an event.
    """
    quarter = max(n_patients // LEAST_STEPS, SMALLEST_RISK_SET)
    return max(min(most, quarter), -(-n_patients // max(n_events, 1)))
