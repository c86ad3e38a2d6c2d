"""The patient bootstrap: counts are resamples, BCa equals its slow twin and SciPy's, noise is found to be noise."""

import numpy as np
import pytest
from pytest import approx
from scipy.special import ndtr, ndtri
from scipy.stats import bootstrap as scipy_bootstrap

from mil.metrics import bootstrap
from mil.metrics import classification as metrics
from mil.metrics.bootstrap import acceleration, interval, intervals, plan_resampling, resample, resamples
from mil.metrics.calibration import calibration_metrics
from mil.metrics.concordance import c_index, concordances
from tests.reference.slow_metrics import slow_bca


def cohort(n=40, k=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.sort(np.arange(n) % k)
    probabilities = rng.dirichlet(np.ones(k), n) * 0.7 + 0.3 * np.eye(k)[labels]
    return probabilities, labels


def test_resamples_keep_the_size_of_every_stratum():
    strata = np.repeat([0, 1, 2], [10, 5, 2])
    for drawn in resamples(strata, 20, np.random.default_rng(0)):
        assert np.array_equal(np.bincount(strata[drawn]), [10, 5, 2])


def test_a_patient_alone_in_a_stratum_is_in_every_resample():
    drawn = resamples(np.array([0, 1, 1, 1, 2]), 50, np.random.default_rng(0))
    assert drawn.shape == (50, 5)
    assert (drawn[:, 0] == 0).all()
    assert (drawn[:, 4] == 4).all()


def test_the_spread_of_a_small_stratum_is_not_too_small():
    """Of the mean of five values: the variance of the mean, s^2 / 5, where a plain bootstrap shows 4 / 5 of it."""
    values = np.array([1.0, 4.0, 2.0, 9.0, 3.0])
    drawn = resamples(np.zeros(5, int), 60_000, np.random.default_rng(0))
    assert values[drawn].mean(axis=1).var() == approx(values.var(ddof=1) / 5, rel=0.02)
    assert np.bincount(drawn.ravel()) / drawn.size == approx(np.full(5, 0.2), abs=0.005)


def test_all_metrics_on_counts_equal_those_of_the_resampled_patients():
    probabilities, labels = cohort()

    def figures(weights):
        return {
            **metrics.classification_metrics(probabilities, labels, weights),
            **calibration_metrics(probabilities, labels, weights),
        }

    plan = plan_resampling(labels, 25, np.random.default_rng(3))
    draws = resample(figures, plan)
    for column, drawn in enumerate(resamples(labels, 25, np.random.default_rng(3))):
        assert np.array_equal(np.bincount(drawn, minlength=40), plan.counts[:, column])
        p, y, ones = probabilities[drawn], labels[drawn], np.ones((40, 1))
        plain = {**metrics.classification_metrics(p, y, ones), **calibration_metrics(p, y, ones)}
        for name, value in plain.items():
            assert draws.bootstrap[name][column] == approx(value[0], abs=1e-8), name


def test_blocks_of_columns_change_nothing(monkeypatch):
    probabilities, labels = cohort()
    plan = plan_resampling(labels, 30, np.random.default_rng(1))
    whole = resample(lambda w: metrics.classification_metrics(probabilities, labels, w), plan)
    monkeypatch.setattr(bootstrap, "CELLS", 7 * 40)
    parts = resample(lambda w: metrics.classification_metrics(probabilities, labels, w), plan)
    for name, values in whole.bootstrap.items():
        assert np.array_equal(values, parts.bootstrap[name])
        assert np.array_equal(whole.jackknife[name], parts.jackknife[name])


def test_bca_equals_its_slow_twin():
    probabilities, labels = cohort()

    def plain(drawn):
        return metrics.classification_metrics(probabilities[drawn], labels[drawn], np.ones((len(drawn), 1)))[
            "macro_auroc"
        ][0]

    draws = resample(
        lambda w: metrics.classification_metrics(probabilities, labels, w),
        plan_resampling(labels, 300, np.random.default_rng(5)),
    )
    found = intervals(draws)["macro_auroc"]
    expected = slow_bca(plain, labels, list(resamples(labels, 300, np.random.default_rng(5))))
    assert found.method == "BCa"
    assert [found.low, found.high] == approx(expected, abs=1e-10)


def test_bca_comes_to_scipys_ends():
    rng = np.random.default_rng(2)
    values = rng.exponential(size=30)
    drawn = resample(lambda w: {"mean": values @ w / w.sum(axis=0)}, plan_resampling(np.zeros(30, int), 20_000, rng))
    ours = intervals(drawn)["mean"]
    theirs = scipy_bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(4))
    assert ours.method == "BCa"
    assert [ours.low, ours.high] == approx(list(theirs.confidence_interval), abs=0.015)
    ends = scipy_bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(4))
    assert abs(ours.high - ends.confidence_interval.high) > 0.015  # the correction is seen


def test_patients_are_left_out_in_groups_inside_their_stratum_when_there_are_many():
    strata = np.repeat([0, 1], [1800, 200])
    plan = plan_resampling(strata, 1, np.random.default_rng(0))
    assert len(plan.stratum_of_group) == bootstrap.MAX_JACKKNIFE
    assert np.array_equal(plan.stratum_of_group[plan.group_of], strata)
    sizes = np.bincount(plan.group_of)
    assert (sizes.min(), sizes.max()) == (4, 4)


def test_grouped_acceleration_is_near_the_ungrouped(monkeypatch):
    """Over many cohorts, groups of four give the acceleration of single patients on average."""
    single, grouped = [], []
    for seed in range(60):
        values = np.random.default_rng(seed).exponential(size=400)
        for limit, kept in ((1000, single), (100, grouped)):
            monkeypatch.setattr(bootstrap, "MAX_JACKKNIFE", limit)
            plan = plan_resampling(np.zeros(400, int), 2, np.random.default_rng(seed))
            draws = resample(lambda w, v=values: {"mean": v @ w / w.sum(axis=0)}, plan)
            kept.append(acceleration(draws.jackknife["mean"], draws.stratum_of_group))
    assert np.mean(grouped) == approx(np.mean(single), rel=0.25)
    assert np.mean(single) > 0.01


def test_differences_are_of_the_same_resamples():
    probabilities, labels = cohort()
    plan = plan_resampling(labels, 50, np.random.default_rng(0))
    own = resample(lambda w: metrics.classification_metrics(probabilities, labels, w), plan)
    same = intervals(own.minus(own))["accuracy"]
    assert (same.value, same.low, same.high, same.method) == (
        0,
        None,
        None,
        "none",
    )  # alike here says nothing of others


@pytest.mark.parametrize("value", [-1.0, 2.0])
def test_a_value_outside_all_draws_has_percentiles(value):
    """BCa's shift, the quantile of a share of 0 or 1, is not defined there."""
    draws = np.linspace(0, 1, 101)
    found = interval(value, draws, accelerated=0.1 if value < 0 else -0.1)
    assert found.method == "percentile"
    assert [found.low, found.high] == approx([0.025, 0.975])


@pytest.mark.parametrize(
    ("value", "accelerated", "method"),
    [
        (0.0, 0.4, "BCa"), (0.0, 0.6, "percentile"), (0.0, -0.4, "BCa"), (0.0, -0.6, "percentile"),
        (0.68, 0.4, "percentile"), (0.68, -0.4, "BCa"), (-0.68, 0.4, "BCa"), (-0.68, -0.4, "percentile"),
    ],
)  # fmt: skip
def test_an_acceleration_that_turns_an_end_round_leaves_percentiles(value, accelerated, method):
    """1 - a (z0 + z) must stay above 0 at both ends: at z0 = 0 |a| below 0.51, at z0 = 1 a between -1.04 and 0.34."""
    draws = np.linspace(-1, 1, 201)
    found = interval(value, draws, accelerated=accelerated)
    assert found.method == method
    z0 = ndtri(((draws < value).mean() + (draws <= value).mean()) / 2)
    shifted = z0 + ndtri(np.array([0.025, 0.975]))
    ends = ndtr(z0 + shifted / (1 - accelerated * shifted)) if method == "BCa" else [0.025, 0.975]
    assert [found.low, found.high] == approx(list(np.quantile(draws, ends)))


def test_undefined_figures_have_no_interval():
    assert interval(float("nan"), np.zeros(10)).value is None
    assert interval(0.5, np.full(10, np.nan)).low is None
    at_the_edge = interval(1.0, np.ones(10), float("nan"))
    assert (at_the_edge.low, at_the_edge.high, at_the_edge.method) == (None, None, "none")
    assert (
        interval(2.0, np.linspace(0, 1, 10), 0.1).method == "percentile"
    )  # every draw below the value: no bias correction


@pytest.mark.parametrize("kind", ["auroc", "c"])
def test_intervals_of_noise_contain_chance_about_as_often_as_they_say(kind):
    hits, n_studies = 0, 120
    for seed in range(n_studies):
        rng = np.random.default_rng(seed)
        if kind == "auroc":
            strata, probabilities = rng.permutation(np.repeat([0, 1, 2], 20)), rng.dirichlet(np.ones(3), 60)
            draws = resample(
                lambda w, p=probabilities, y=strata: {"f": metrics.classification_metrics(p, y, w)["macro_auroc"]},
                plan_resampling(strata, 200, rng),
            )
        else:
            risk, time, event = rng.normal(size=60), rng.integers(1, 40, 60), rng.permutation(np.repeat([0, 1], 30))
            draws = resample(
                lambda w, r=risk, t=time, e=event: {"f": concordances(r, t, e, w)}, plan_resampling(event, 200, rng)
            )
            assert draws.value["f"] == c_index(risk, time, event)
        found = intervals(draws)["f"]
        hits += found.low <= 0.5 <= found.high
    assert hits >= 0.88 * n_studies
