"""Calibration of survival probabilities: the model's own data are found right, a risk times 3 is found wrong."""

import numpy as np
import pytest
from pytest import approx
from scipy.stats import kstest

from mil.survival.calibration import calibration_at, d_calibration


def own_data(seed, n=400, end=3.0, times=1.0, spread=1.0):
    """Follow-up from exponential times; what is predicted has its risk times `times`, its log-hazards times `spread`."""
    rng = np.random.default_rng(seed)
    eta = rng.normal(size=n)
    to_event, to_end = rng.exponential(np.exp(-eta)), rng.uniform(0.2, end, n)
    time, event = np.minimum(to_event, to_end), (to_event <= to_end).astype(int)
    return times * np.exp(spread * eta), time, event


def calibrated(rate, time, event, moment=1.0):
    return calibration_at(moment, np.exp(-rate * moment), rate * np.minimum(time, moment), time, event)


def test_data_from_the_model_itself_are_found_calibrated():
    found = [calibrated(*own_data(seed)) for seed in range(20)]
    assert np.mean([each.slope for each in found]) == approx(1, abs=0.05)
    assert all(0.7 < each.slope < 1.35 for each in found)
    assert np.mean([each.slope_low <= 1 <= each.slope_high for each in found]) >= 0.85
    assert np.mean([each.intercept for each in found]) == approx(0, abs=0.05)
    assert np.mean([each.ratio for each in found]) == approx(1, abs=0.03)
    large = calibrated(*own_data(99, n=5000))
    assert large.slope == approx(1, abs=0.1)
    assert all(abs(group.predicted - group.observed) < 0.06 for group in large.groups)
    assert sum(group.n for group in large.groups) == 5000


def test_a_risk_times_3_is_found():
    found = calibrated(*own_data(1, n=2000, times=3.0))
    assert found.intercept == approx(-np.log(3), abs=0.1)
    assert found.slope == approx(1, abs=0.1)
    assert found.ratio > 1.3
    assert all(group.predicted > group.observed for group in found.groups[:4])
    assert d_calibration(np.exp(-found_hazard(1, times=3.0)[0]), found_hazard(1, times=3.0)[1]).p < 1e-6


def test_log_hazards_times_3_are_found():
    found = calibrated(*own_data(2, n=2000, spread=3.0))
    assert found.slope == approx(1 / 3, abs=0.05)
    assert found.slope_high < 0.5


def found_hazard(seed, **options):
    rate, time, event = own_data(seed, **options)
    return rate * time, event


@pytest.mark.slow
@pytest.mark.parametrize("end", [0.8, 50.0])
def test_p_of_d_calibration_is_uniform_for_the_model_itself(end):
    """With half of the patients censored, too, where the usual chi-square finds far too little."""
    p = []
    for seed in range(300):
        hazard, event = found_hazard(seed, end=end)
        p.append(d_calibration(np.exp(-hazard), event).p)
    assert kstest(p, "uniform").pvalue > 0.01


def test_d_calibration_of_the_uncensored_is_the_chi_square():
    from scipy.stats import chisquare

    rng = np.random.default_rng(5)
    s = rng.uniform(size=2000)
    found = d_calibration(s, np.ones(2000))
    counts = np.bincount((s * 10).astype(int), minlength=10)
    assert np.array(found.shares) * 2000 == approx(counts)
    assert found.p == approx(chisquare(counts).pvalue, abs=0.05)


def test_a_censored_patient_is_spread_over_the_bins_below():
    found = d_calibration(np.array([0.25, 1.0]), np.array([0, 0]), n_bins=4)
    assert found.shares == approx([(1 + 0.25) / 2, 0.125, 0.125, 0.125])
    assert found.p is None


def test_without_events_there_is_no_slope():
    found = calibration_at(1.0, np.full(20, 0.9), np.full(20, 0.1), np.full(20, 2.0), np.zeros(20))
    assert (found.slope, found.intercept, found.ratio, found.observed) == (None, None, None, 0.0)
    assert {(group.low, group.high) for group in found.groups} == {(None, None)}
