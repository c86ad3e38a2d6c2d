"""Survival over time, medians, restricted means and risk groups against lifelines and by hand; net benefit by hand."""

import numpy as np
import pytest
from lifelines import CoxPHFitter, KaplanMeierFitter
from lifelines.datasets import load_rossi
from lifelines.utils import restricted_mean_survival_time
from pytest import approx

from mil.metrics.survival_curves import baseline_hazard, kaplan_meier
from mil.survival.decision_curve import net_benefit
from mil.survival.prognosis import Prognosis, median_survival, prognosis_of, restricted_mean


def test_curves_and_their_medians_equal_lifelines():
    table = load_rossi().astype(float)
    table["week"] += np.arange(len(table)) * 1e-4  # lifelines' baseline is Breslow's only without ties
    theirs = CoxPHFitter(baseline_estimation_method="breslow").fit(table, "week", "arrest")
    x = table.drop(columns=["week", "arrest"])
    eta = x.to_numpy() @ theirs.params_.to_numpy()
    baseline = baseline_hazard(eta, table["week"].to_numpy(), table["arrest"].to_numpy())
    own = Prognosis(baseline=baseline, shift=0.0, slope=1.0)
    moments = table.loc[table["arrest"] == 1, "week"].sort_values().to_numpy()[[5, 50, 100]]  # lifelines interpolates
    expected = theirs.predict_survival_function(x.iloc[:9], times=moments).to_numpy().T
    assert np.exp(-own.cumulative(eta[:9], moments)) == approx(expected, abs=1e-8)
    medians = theirs.predict_median(x).to_numpy(float)
    steps = np.unique(table.loc[table["arrest"] == 1, "week"])
    gap = float(np.diff(steps).max())
    for curve, expected_median in zip(np.exp(-own.cumulative(eta, steps)), medians, strict=True):
        found = median_survival(steps, curve)
        if np.isfinite(expected_median):
            assert 0 <= expected_median - found <= gap  # theirs is the step's end, ours lies on the line to it
        else:
            assert found is None


def test_a_median_lies_on_the_line_and_is_none_where_half_is_never_reached():
    times = np.array([2.0, 4.0, 8.0])
    assert median_survival(times, np.array([0.9, 0.7, 0.3])) == approx(6.0)
    assert median_survival(times, np.array([0.5, 0.4, 0.3])) == approx(2.0)
    assert median_survival(times, np.array([0.25, 0.2, 0.1])) == approx(2 * 0.5 / 0.75)
    assert median_survival(times, np.array([0.9, 0.8, 0.51])) is None
    assert median_survival(times, np.array([0.9, 0.8, 0.5])) == approx(8.0)  # just reached
    assert median_survival(times, np.array([0.5, 0.5, 0.3])) == approx(2.0)  # when it is reached first


def test_restricted_means_are_the_area_under_the_curve():
    rng = np.random.default_rng(1)
    time, event = rng.integers(1, 30, 90).astype(float), rng.integers(0, 2, 90)
    expected = restricted_mean_survival_time(KaplanMeierFitter().fit(time, event), t=20.0)
    steps, survival = kaplan_meier(time, event)
    fine = np.linspace(0, 20, 200_001)[1:]
    curve = survival[np.searchsorted(steps, fine, side="right") - 1]
    assert restricted_mean(fine, curve) == approx(expected, rel=1e-4)
    assert restricted_mean(np.array([2.0, 4.0]), np.array([0.5, 0.0])) == approx(2 * 0.75 + 2 * 0.25)


def test_net_benefit_without_censoring_counts_patients():
    rng = np.random.default_rng(2)
    risk, time = rng.uniform(size=500), rng.exponential(size=500)
    thresholds = np.array([0.0, 0.2, 0.5, 0.999])
    found = net_benefit(risk, time, np.ones(500), 1.0, thresholds)
    for threshold, own in zip(thresholds, found, strict=True):
        treated, had = risk >= threshold, time <= 1.0
        by_hand = (treated & had).mean() - (treated & ~had).mean() * threshold / (1 - threshold)
        assert own == approx(by_hand, abs=1e-12)
    assert net_benefit(np.zeros(5), np.ones(5), np.ones(5), 1.0, np.array([0.5])).tolist() == [0.0]


def cohort_of(slope, *, seed, n=400):
    """Log-hazards of which only a share is true, and follow-up."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(3, 1.5, n)
    to_event, to_end = rng.exponential(20 * np.exp(-slope * (risk - 3))), rng.uniform(5, 60, n)
    return risk, np.minimum(to_event, to_end), (to_event <= to_end).astype(int)


@pytest.mark.parametrize(("true_slope", "seed"), [(0.3, 1), (0.7, 2)])
def test_log_hazards_that_say_too_much_are_shrunk_to_what_follow_up_bears_out(true_slope, seed):
    risk, time, event = cohort_of(true_slope, seed=seed)
    found = prognosis_of(risk, time, event)
    import pandas as pd

    theirs = CoxPHFitter().fit(pd.DataFrame({"risk": risk, "time": time, "event": event}), "time", "event")
    assert found.slope == approx(float(theirs.params_["risk"]), abs=1e-4)  # to which lifelines converges
    assert found.slope == approx(true_slope, abs=0.12)
    assert found.shift == approx(risk.mean())
    baseline = baseline_hazard(found.slope * (risk - risk.mean()), time, event)
    moments = np.array([5.0, 20.0, 40.0])
    wanted = np.exp(found.slope * (risk[:4] - risk.mean()))[:, None] * baseline(moments)
    assert found.cumulative(risk[:4], moments) == approx(wanted)
    own = np.tile(moments, (4, 1))
    assert found.cumulative(risk[:4], own) == approx(wanted)


def test_log_hazards_are_never_stretched_nor_turned_round():
    risk, time, event = cohort_of(2.5, seed=3)
    assert prognosis_of(risk, time, event).slope == 1.0
    risk, time, event = cohort_of(-1.0, seed=4)
    turned = prognosis_of(risk, time, event)
    assert turned.slope == 0.0
    moments = np.array([10.0])
    assert np.ptp(turned.cumulative(risk, moments)) == 0
    alike = prognosis_of(np.full(5, 2.0), np.arange(1.0, 6.0), np.ones(5, int))
    assert (alike.slope, alike.shift) == (1.0, 2.0)
    assert prognosis_of(risk, time, 0 * event).slope == 1.0


def test_calibration_of_an_overfitted_risk_comes_right():
    """Out of fold a risk five times too large has a calibration slope of 1 once it is shrunk."""
    from mil.survival.calibration import calibration_at

    risk, time, event = cohort_of(0.2, seed=5, n=3000)
    found = prognosis_of(risk[:1500], time[:1500], event[:1500])
    new_risk, new_time, new_event = risk[1500:], time[1500:], event[1500:]
    moment = 20.0
    at, until = (
        found.cumulative(new_risk, np.asarray(when)) for when in ([moment], np.minimum(new_time, moment)[:, None])
    )
    shrunk = calibration_at(moment, np.exp(-at[:, 0]), until[:, 0], new_time, new_event)
    assert shrunk.slope == approx(1.0, abs=0.2)
