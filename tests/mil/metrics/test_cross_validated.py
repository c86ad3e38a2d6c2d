"""Intervals of cross-validated figures: wider than the bootstrap's as shared training patients ask for, inside a metric's range."""

import numpy as np
import pytest
from pytest import approx

from mil.metrics.bootstrap import intervals, plan_resampling, resample
from mil.metrics.cross_validated import range_of, widening
from mil.metrics.delong import compare_aurocs
from mil.metrics.paired_tests import bootstrap_p
from mil.runs import figure_names


def drawn(factor, name="slope", shift=0.0, n=60):
    rng = np.random.default_rng(3)
    values, groups = rng.exponential(size=n) + shift, np.arange(n) % 2
    plan = plan_resampling(groups, 400, np.random.default_rng(1), factor)
    return resample(lambda w: {name: values @ w / w.sum(axis=0)}, plan)


def test_the_factor_is_that_of_nadeau_and_bengio():
    """J parts of n_test patients: (1 / J + n_test / n_train) s^2 instead of s^2 / J."""
    for n_parts, n_test, n_train in ((5, 16, 64), (10, 8, 72), (3, 20, 35)):
        assert widening(n_parts * n_test, n_train) ** 2 == approx((1 / n_parts + n_test / n_train) * n_parts)
    assert widening(80, 64) == 1.5
    assert widening(20, 10**9) == approx(1)  # so many trained that their draw tells nothing


@pytest.mark.parametrize("factor", [1.2, 1.5])
def test_both_ends_differences_and_p_values_move_away_by_the_factor(factor):
    plain, wide = intervals(drawn(1.0))["slope"], intervals(drawn(factor))["slope"]
    assert (wide.value, wide.method) == (plain.value, plain.method) == (plain.value, "BCa")
    for end in ("low", "high"):
        assert getattr(wide, end) - wide.value == approx(factor * (getattr(plain, end) - plain.value))
    first, second = drawn(factor), drawn(factor, shift=0.2)
    ours = intervals(second.minus(first))["slope"]
    apart = intervals(drawn(1.0, shift=0.2).minus(drawn(1.0)))["slope"]
    assert ours.value == approx(apart.value) == approx(0.2)
    centred = drawn(1.0).bootstrap["slope"] - drawn(1.0).value["slope"]
    assert drawn(factor).bootstrap["slope"] - first.value["slope"] == approx(factor * centred)
    assert bootstrap_p(0.25 + factor * centred) > bootstrap_p(0.25 + centred)


def test_an_interval_ends_where_the_metric_does_and_a_difference_at_the_whole_range():
    values = np.r_[np.ones(57), np.zeros(3)]
    plan = plan_resampling(np.zeros(60, int), 400, np.random.default_rng(1), 3.0)
    names = ("accuracy", "covered", "auroc:2", "grade: auroc 1", "log_loss", "r2", "slope", "cohen_kappa")
    of = resample(lambda w: {name: values @ w / w.sum(axis=0) for name in names}, plan)
    found = intervals(of)
    for name in ("accuracy", "covered", "auroc:2", "grade: auroc 1", "r2", "cohen_kappa"):
        assert found[name].high == 1, name
    for name in ("log_loss", "slope"):
        assert found[name].high > 1, name
    lower = resample(lambda w: {"accuracy": 1 - values @ w / w.sum(axis=0)}, plan)
    assert intervals(lower)["accuracy"].low == 0
    assert -1 <= intervals(lower.minus(of))["accuracy"].low < -0.9


def test_every_named_metric_has_its_range_on_record():
    bounded = {
        "brier": (0, np.inf), "log_loss": (0, np.inf), "r2": (-np.inf, 1), "mae": (0, np.inf), "rmse": (0, np.inf),
        "cohen_kappa": (-1, 1), "quadratic_kappa": (-1, 1), "pearson": (-1, 1), "spearman": (-1, 1), "rps": (0, np.inf),
        "step_error": (0, np.inf), "skill": (-np.inf, 1), "slope": (-np.inf, np.inf), "calibration_slope": (-np.inf, np.inf),
    }  # fmt: skip
    for name in figure_names.NAMES:
        assert range_of(name) == bounded.get(name, (0, 1)), name


def test_delongs_error_is_widened_too():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3 == 0
    first, second = rng.normal(size=60) + y, rng.normal(size=60)
    plain, wide = compare_aurocs(first, second, y), compare_aurocs(first, second, y, 1.5)
    assert wide.standard_error == approx(1.5 * plain.standard_error)
    assert wide.z == approx(plain.z / 1.5)
    assert wide.p > plain.p
