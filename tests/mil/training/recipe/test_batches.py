"""Everybody once an epoch, every stratum spread evenly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mil.training.recipe.batches import risk_set_size, stratified_batches


@given(st.lists(st.integers(0, 4), min_size=1, max_size=90), st.integers(1, 40), st.integers(0, 9))
def test_everybody_is_in_one_batch_and_strata_are_even(labels, size, seed):
    strata = {f"p{index}": label for index, label in enumerate(labels)}
    batches = stratified_batches(list(strata), strata, size, np.random.default_rng(seed))
    assert sorted(patient for batch in batches for patient in batch) == sorted(strata)
    assert len(batches) == max(1, round(len(labels) / size))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) - min(sizes) <= 1
    for label in set(labels):
        counts = [sum(strata[patient] == label for patient in batch) for batch in batches]
        assert max(counts) - min(counts) <= 1


def test_epochs_differ_and_a_seed_repeats_them():
    strata = {f"p{index}": index % 2 for index in range(20)}
    rng = np.random.default_rng(0)
    first, second = (stratified_batches(list(strata), strata, 5, rng) for _ in range(2))
    assert first != second
    assert stratified_batches(list(strata), strata, 5, np.random.default_rng(0)) == first


@pytest.mark.parametrize(
    ("most", "n_patients", "n_events", "wanted"),
    [
        (32, 150, 80, 32),
        (32, 56, 30, 14),
        (32, 20, 11, 8),
        (32, 100, 2, 50),
        (16, 300, 90, 16),
        (32, 40, 0, 40),
        (4, 100, 50, 4),
    ],
)
def test_risk_sets_are_a_quarter_of_a_small_cohort_and_have_an_event(most, n_patients, n_events, wanted):
    assert risk_set_size(most, n_patients, n_events) == wanted
