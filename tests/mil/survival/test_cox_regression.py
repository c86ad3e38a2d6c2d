"""Cox regression against lifelines on known tables: coefficients, errors, tests, residuals, and what has no estimate."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from lifelines.datasets import load_gbsg2, load_rossi
from lifelines.statistics import proportional_hazard_test
from pytest import approx

from mil.survival.cox_regression import cox_regression, likelihood_ratio_p, proportionality_p, scaled_schoenfeld
from mil.survival.partial_likelihood import loss_and_gradient
from mil.survival.risk_sets import risk_sets

PRECISE = {"precision": 1e-12, "r_precision": 1e-14}


def known_tables():
    gbsg2 = pd.get_dummies(load_gbsg2(), drop_first=True, dtype=float)
    return [("rossi", load_rossi().astype(float), "week", "arrest"), ("gbsg2", gbsg2, "time", "cens")]


def parts(table, time, event):
    return (
        table.drop(columns=[time, event]).to_numpy(), risk_sets(table[time].to_numpy(), table[event].to_numpy(int)),
    )  # fmt: skip


@pytest.mark.parametrize(("name", "table", "time", "event"), known_tables())
def test_regression_equals_lifelines(name, table, time, event):
    theirs = CoxPHFitter().fit(table, time, event, fit_options=PRECISE)
    x, sets = parts(table, time, event)
    ours = cox_regression(x, sets)
    assert ours.coefficients == approx(theirs.params_.to_numpy(), rel=1e-6)
    assert ours.standard_errors == approx(theirs.standard_errors_.to_numpy(), rel=1e-6)
    assert ours.wald_p() == approx(theirs.summary["p"].to_numpy(), rel=1e-4, abs=1e-12)
    assert ours.log_likelihood == approx(theirs.log_likelihood_, rel=1e-10)
    assert not ours.is_endless.any()
    null = cox_regression(x[:, :0], sets)
    assert null.log_likelihood == approx(ours.null_log_likelihood, rel=1e-12)
    test = theirs.log_likelihood_ratio_test()
    assert likelihood_ratio_p(null, ours, x.shape[1]) == approx((test.test_statistic, test.p_value), rel=1e-7)


@pytest.mark.parametrize(("name", "table", "time", "event"), known_tables())
@pytest.mark.parametrize("transform", ["identity", "rank"])
def test_check_of_proportional_hazards_equals_lifelines(name, table, time, event, transform):
    table = table.sort_values(time, kind="stable").reset_index(drop=True)
    table[time] += np.arange(len(table)) * 1e-5  # of tied events lifelines takes means of its own
    theirs = CoxPHFitter().fit(table, time, event, fit_options=PRECISE)
    x, sets = parts(table, time, event)
    ours = cox_regression(x, sets)
    place = sets.order[sets.events]
    expected = theirs.compute_residuals(table, "scaled_schoenfeld").sort_index().to_numpy()
    found = pd.DataFrame(scaled_schoenfeld(ours), index=place).sort_index().to_numpy()
    assert found == approx(expected, rel=1e-6, abs=1e-7), name
    at = table[time].to_numpy()[place] if transform == "identity" else pd.Series(place).rank().to_numpy()
    each, together = proportionality_p(ours, at)
    their_p = proportional_hazard_test(theirs, table, time_transform=transform).summary.loc[theirs.params_.index, "p"]
    assert each == approx(their_p.to_numpy(), rel=1e-6)
    assert 0 <= together <= 1


def test_a_planted_change_of_a_coefficient_is_found_and_none_is_not():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(800, 2))
    early = rng.exponential(np.exp(-1.2 * x[:, 0]), 800)
    time = np.where(early < 0.5, early, 0.5 + rng.exponential(np.exp(1.2 * x[:, 0]), 800))  # the effect turns at 0.5
    sets = risk_sets(time, np.ones(800))
    fitted = cox_regression(x, sets)
    each, together = proportionality_p(fitted, time[sets.order[sets.events]].argsort().argsort().astype(float))
    assert each[0] < 1e-6
    assert each[1] > 0.01
    assert together < 1e-6


def test_a_penalised_fit_meets_its_optimum():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(60, 5)) * [1, 10, 0.1, 1, 1] + 3
    sets = risk_sets(rng.integers(1, 30, 60), rng.integers(0, 2, 60))
    fitted = cox_regression(x, sets, penalty=4.0)
    slope = x.T @ loss_and_gradient(x @ fitted.coefficients, sets)[1] * sets.total_weight + 4.0 * fitted.coefficients
    assert np.abs(slope).max() < 1e-7


def test_a_level_without_events_is_said_to_have_no_estimate():
    rng = np.random.default_rng(3)
    level, age = rng.integers(0, 2, 80), rng.normal(size=80)
    event = np.where(level == 1, 0, rng.integers(0, 2, 80))
    fitted = cox_regression(np.stack([level, age], axis=1), risk_sets(rng.exponential(size=80), event))
    assert fitted.is_endless.tolist() == [True, False]
    assert np.isfinite(fitted.log_likelihood)


def test_an_input_that_never_varies_has_coefficient_0_and_twins_share_theirs():
    rng = np.random.default_rng(4)
    age = rng.normal(size=80)
    sets = risk_sets(rng.exponential(np.exp(-age)), np.ones(80))
    alone = cox_regression(age[:, None], sets)
    fitted = cox_regression(np.stack([age, np.full(80, 7.0), age], axis=1), sets)
    assert fitted.coefficients == approx([alone.coefficients[0] / 2, 0, alone.coefficients[0] / 2], rel=1e-6)
    assert np.isnan(fitted.wald_p()[1])
    with pytest.raises(ValueError, match="finite"):
        cox_regression(np.full((80, 1), np.nan), sets)


def test_inputs_that_only_rounding_makes_worse_add_nothing():
    rng = np.random.default_rng(0)
    fitted = cox_regression(rng.normal(size=(30, 1)), risk_sets(rng.exponential(size=30), np.ones(30, int)))
    worse = replace(fitted, log_likelihood=fitted.log_likelihood - 1e-9)
    assert likelihood_ratio_p(fitted, worse, 2) == (0.0, 1.0)
    assert likelihood_ratio_p(worse, fitted, 2) == (approx(2e-9, rel=1e-3), approx(1.0))
