"""Limits of the Kaplan-Meier curve against a slow twin and lifelines."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from pytest import approx

from mil.metrics.survival_curves import kaplan_meier, kaplan_meier_limits, log_rank_p, median_time
from tests.reference.slow_censoring import slow_survival_limits

FOLLOWED = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 1)), min_size=1, max_size=30)


@given(FOLLOWED)
@settings(max_examples=80, deadline=None)
def test_u5_limits_equal_the_slow_twin(patients):
    time, event = np.array(patients).T
    steps, survival = kaplan_meier(time, event)
    low, high = kaplan_meier_limits(time, event)
    assert len(low) == len(high) == len(steps)
    expected = np.array([slow_survival_limits(time.tolist(), event.tolist(), moment) for moment in steps])
    assert low == approx(expected[:, 0], abs=1e-12, nan_ok=True)
    assert high == approx(expected[:, 1], abs=1e-12, nan_ok=True)
    known = ~np.isnan(low)
    assert (known == (survival > 0)).all()
    assert (low[known] <= survival[known]).all() and (survival[known] <= high[known]).all()


def test_u5_limits_equal_lifelines():
    rng = np.random.default_rng(3)
    time, event = np.ceil(rng.exponential(20, 60)), (rng.random(60) < 0.6).astype(int)
    event[time == time.max()] = 0
    steps, _ = kaplan_meier(time, event)
    low, high = kaplan_meier_limits(time, event)
    theirs = KaplanMeierFitter(alpha=0.05).fit(time, event).confidence_interval_.loc[steps].to_numpy()
    assert low == approx(theirs[:, 0], abs=1e-9)
    assert high == approx(theirs[:, 1], abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_median_and_its_limits_equal_lifelines(seed):
    from lifelines.utils import median_survival_times

    rng = np.random.default_rng(seed)
    time, event = rng.integers(1, 60, 50), (rng.random(50) < 0.7).astype(int)
    theirs = KaplanMeierFitter().fit(time, event)
    ours = median_time(time, event)
    expected = median_survival_times(theirs.confidence_interval_).to_numpy()[0]
    found = [np.inf if value is None else value for value in (ours.value, ours.low, ours.high)]
    assert found == approx([theirs.median_survival_time_, *expected])


def test_a_curve_that_stays_above_half_has_no_median():
    own = median_time(np.arange(1, 11), np.array([1, *[0] * 9]))
    assert (own.value, own.high) == (None, None)


def test_the_log_rank_test_is_scipys_of_two_groups_and_none_of_one():
    from scipy.stats import CensoredData, chi2, logrank

    rng = np.random.default_rng(3)
    time, event, group = np.ceil(20 * rng.exponential(size=60)), rng.integers(0, 2, 60), np.arange(60) % 2
    time[group == 1] *= 2
    x, y = (
        CensoredData(uncensored=time[(group == at) & (event == 1)], right=time[(group == at) & (event == 0)])
        for at in (0, 1)
    )
    assert log_rank_p(time, event, group) == pytest.approx(logrank(x, y).pvalue, rel=1e-6)
    assert log_rank_p(time, event, group, 1.5) == pytest.approx(
        chi2.sf(chi2.isf(logrank(x, y).pvalue, 1) / 2.25, 1), rel=1e-6
    )
    three = np.arange(60) % 3
    plain = log_rank_p(time, event, three)
    assert log_rank_p(time, event, three, 2.0) == pytest.approx(chi2.sf(chi2.isf(plain, 2) / 4, 2), rel=1e-6)
    assert log_rank_p(time, event, group * 0) is None
    assert log_rank_p(time, event * 0, group) is None
    assert 0 < log_rank_p(time, event, np.arange(60) % 3) < 1
