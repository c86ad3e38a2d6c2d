"""Metrics of ordered classes and of numbers equal scikit-learn's and SciPy's, on the cohort and on every resample of it."""

import numpy as np
import pytest
from pytest import approx
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import cohen_kappa_score, mean_absolute_error, r2_score, roc_auc_score

from mil.metrics.classification import once
from mil.metrics.ordinal import beyond, median_class, ordinal_metrics
from mil.metrics.regression import regression_metrics, weighted_midranks


def columns(n, seed, b=6):
    rng = np.random.default_rng(seed)
    return np.stack([np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(b)], axis=1).astype(float)


@pytest.mark.parametrize("seed", range(4))
def test_numbers_are_judged_as_by_scikit_learn_and_scipy_in_every_resample(seed):
    rng = np.random.default_rng(seed)
    observed = np.round(rng.normal(30, 8, size=40), seed % 2)  # with ties, and without
    predicted = 0.5 * observed + rng.normal(size=40) * 4
    weights = columns(40, seed)
    found = regression_metrics(predicted, observed, weights)
    for b in range(weights.shape[1]):
        drawn = np.repeat(np.arange(40), weights[:, b].astype(int))
        p, o = predicted[drawn], observed[drawn]
        assert found["mae"][b] == approx(mean_absolute_error(o, p))
        assert found["rmse"][b] == approx(np.sqrt(np.mean((o - p) ** 2)))
        assert found["r2"][b] == approx(r2_score(o, p))
        assert found["pearson"][b] == approx(pearsonr(p, o)[0])
        assert found["spearman"][b] == approx(spearmanr(p, o)[0])
        assert found["slope"][b] == approx(np.polyfit(p, o, 1)[0])


@pytest.mark.parametrize("shift", [0.0, 1e6, -3e-7])
def test_predictions_that_do_not_vary_have_errors_and_no_correlation(shift):
    found = regression_metrics(np.full(12, shift + 0.1), np.arange(12.0) + shift, once(12))
    assert np.isfinite(found["mae"][0])
    assert all(np.isnan(found[name][0]) for name in ("pearson", "spearman", "slope"))
    assert found["r2"][0] <= 0
    assert np.isnan(regression_metrics(np.arange(12.0), np.full(12, shift + 0.1), once(12))["r2"][0])


def test_midranks_share_ties_and_count_a_patient_as_often_as_it_is_drawn():
    weights = np.array([[1.0, 2.0], [1.0, 1.0], [1.0, 0.0]])
    assert weighted_midranks(np.array([5.0, 5.0, 7.0]), weights).tolist() == [[1.5, 2.0], [1.5, 2.0], [3.0, 3.5]]


@pytest.mark.parametrize("seed", range(4))
def test_ordered_classes_are_judged_as_by_scikit_learn_in_every_resample(seed):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(4), rng.integers(4, size=46)])
    logits = rng.normal(size=(50, 4)) + np.eye(4)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    weights = columns(50, seed)
    found = ordinal_metrics(probabilities, labels, weights)
    named = median_class(probabilities)
    for b in range(weights.shape[1]):
        drawn = np.repeat(np.arange(50), weights[:, b].astype(int))
        assert found["quadratic_kappa"][b] == approx(
            cohen_kappa_score(labels[drawn], named[drawn], weights="quadratic")
        )
        assert found["step_error"][b] == approx(np.abs(labels - named)[drawn].mean())
        assert found["accuracy"][b] == approx((labels == named)[drawn].mean())
        aurocs = [roc_auc_score(labels[drawn] > t, probabilities[drawn][:, t + 1 :].sum(axis=1)) for t in range(3)]
        assert found["threshold_auroc"][b] == approx(np.mean(aurocs))
        assert [found[f"above:{t}"][b] for t in range(3)] == approx(aurocs)
        truth = labels[drawn][:, None] > np.arange(3)
        assert found["rps"][b] == approx(np.mean((beyond(probabilities)[drawn] - truth) ** 2))


def test_the_median_class_has_the_least_expected_error_in_steps():
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet(np.ones(5) / 2, size=300)
    steps = abs(np.arange(5)[:, None] - np.arange(5))
    cost = probabilities @ steps
    assert cost[np.arange(300), median_class(probabilities)] == approx(cost.min(axis=1))
    assert median_class(np.array([[0.5, 0.5], [0.4999, 0.5001], [1.0, 0.0]])).tolist() == [0, 1, 0]
