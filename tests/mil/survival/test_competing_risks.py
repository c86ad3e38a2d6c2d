"""Aalen-Johansen against lifelines, the closed form without censoring, and a slow twin on tied times."""

import numpy as np
import pytest
from lifelines import AalenJohansenFitter
from pytest import approx

from mil.metrics.survival_curves import kaplan_meier
from mil.survival.competing_risks import aalen_johansen, cause_specific


@pytest.mark.parametrize("seed", range(4))
def test_incidence_variance_and_limits_equal_lifelines(seed):
    rng = np.random.default_rng(seed)
    time, kind = rng.permutation(80) + 1.0, rng.integers(0, 3, 80)
    for of in (1, 2):
        theirs = AalenJohansenFitter().fit(time, kind, event_of_interest=of)
        ours = aalen_johansen(time, kind, of)
        column = theirs.cumulative_density_.iloc[:, 0]
        assert ours.share == approx(column.loc[ours.times].to_numpy(), abs=1e-8)
        variance = theirs.variance_.loc[ours.times].to_numpy()
        is_known = np.isfinite(variance)  # once nobody is left, lifelines divides by 0
        assert ours.variance[is_known] == approx(variance[is_known], abs=1e-8)
        limits = theirs.confidence_interval_.loc[ours.times]
        low, high = ours.limits()
        known = ~np.isnan(low) & is_known
        found = np.sort(limits.to_numpy()[known], axis=1)
        assert low[known] == approx(found[:, 0], abs=1e-8)
        assert high[known] == approx(found[:, 1], abs=1e-8)


def test_without_censoring_it_is_the_share_of_patients():
    rng = np.random.default_rng(9)
    time, kind = rng.integers(1, 12, 300), rng.integers(1, 4, 300)
    for of in (1, 2, 3):
        own = aalen_johansen(time, kind, of)
        assert own.share[1:] == approx([((time <= t) & (kind == of)).mean() for t in own.times[1:]], abs=1e-12)
        share = own.share[1:]
        assert own.variance[1:] == approx(share * (1 - share) / 300, rel=1e-9)  # of a binomial share


def test_on_tied_times_it_equals_the_loop_and_all_kinds_make_one():
    rng = np.random.default_rng(10)
    time, kind = rng.integers(1, 9, 120), rng.integers(0, 3, 120)
    total, survival = {1: 0.0, 2: 0.0}, 1.0
    expected = {1: [0.0], 2: [0.0]}
    for t in sorted(set(time[kind > 0])):
        n = (time >= t).sum()
        for of in (1, 2):
            total[of] += survival * ((time == t) & (kind == of)).sum() / n
            expected[of].append(total[of])
        survival *= 1 - ((time == t) & (kind > 0)).sum() / n
    for of in (1, 2):
        assert aalen_johansen(time, kind, of).share == approx(expected[of], abs=1e-12)
    any_event = kaplan_meier(time, (kind > 0).astype(int))[1]
    assert aalen_johansen(time, kind, 1).share + aalen_johansen(time, kind, 2).share + any_event == approx(1, abs=1e-12)


def test_nobody_with_an_event_has_an_incidence_of_0():
    assert aalen_johansen(np.arange(1, 4), np.zeros(3, int), 1).share.tolist() == [0.0]
    assert cause_specific(np.array([0, 1, 2]), 2).tolist() == [0, 0, 1]
