"""Metrics, concordance, bootstrap and baselines against scikit-learn, lifelines, scikit-survival and published numbers."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import CoxPHFitter, KaplanMeierFitter
from lifelines.utils import concordance_index
from pytest import approx
from sklearn import metrics as theirs
from sklearn.linear_model import LogisticRegression
from sksurv.metrics import concordance_index_censored

from mil.metrics import classification as metrics
from mil.metrics.concordance import c_index, concordances, concordances_within
from mil.metrics.survival_curves import kaplan_meier, log_rank_p
from mil.training.baseline import fit_classifier, fit_cox, ridge_cox
from tests.reference.slow_metrics import slow_concordance


@st.composite
def classified(draw_):
    n, k = draw_(st.integers(12, 60)), draw_(st.integers(2, 5))
    rng = np.random.default_rng(draw_(st.integers(0, 10_000)))
    labels = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
    probabilities = rng.dirichlet(np.ones(k), n).round(1) + 1e-3  # many ties
    return probabilities / probabilities.sum(axis=1, keepdims=True), labels


def ones(n):
    return np.ones((n, 1))


@pytest.mark.slow
@given(classified())
@settings(max_examples=60, deadline=None)
def test_classification_metrics_equal_scikit_learn(case):
    probabilities, labels = case
    k = probabilities.shape[1]
    found = {
        name: own[0] for name, own in metrics.classification_metrics(probabilities, labels, ones(len(labels))).items()
    }
    predicted, truth = probabilities.argmax(axis=1), np.eye(k)[labels]
    expected = {
        "weighted_auroc": theirs.roc_auc_score(truth, probabilities, average="weighted"),
        "macro_auroc": theirs.roc_auc_score(truth, probabilities, average="macro"),
        "macro_average_precision": theirs.average_precision_score(truth, probabilities, average="macro"),
        "weighted_average_precision": theirs.average_precision_score(truth, probabilities, average="weighted"),
        "accuracy": theirs.accuracy_score(labels, predicted),
        "balanced_accuracy": theirs.balanced_accuracy_score(labels, predicted),
        "macro_f1": theirs.f1_score(labels, predicted, average="macro"),
        "weighted_f1": theirs.f1_score(labels, predicted, average="weighted"),
        "cohen_kappa": theirs.cohen_kappa_score(labels, predicted),
    }
    for index in range(k):
        own = labels == index
        expected[f"auroc:{index}"] = theirs.roc_auc_score(own, probabilities[:, index])
        expected[f"average_precision:{index}"] = theirs.average_precision_score(own, probabilities[:, index])
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == approx(value, abs=1e-12), name
    confusion = metrics.confusion_matrices(predicted, labels, k, ones(len(labels)))[..., 0]
    assert np.array_equal(confusion, theirs.confusion_matrix(labels, predicted, labels=range(k)))


@given(classified(), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_weights_give_every_metric_of_the_resampled_patients(case, seed):
    """A column of counts and the patients themselves, drawn twice where they count twice: the same to the last bit."""
    probabilities, labels = case
    drawn = np.random.default_rng(seed).integers(0, len(labels), (2, len(labels)))
    counts = np.stack([np.bincount(own, minlength=len(labels)) for own in drawn], axis=1).astype(float)
    weighted = metrics.classification_metrics(probabilities, labels, counts)
    for column, own in enumerate(drawn):
        plain = metrics.classification_metrics(probabilities[own], labels[own], ones(len(own)))
        for name, value in plain.items():
            assert weighted[name][column] == approx(value[0], abs=1e-12, nan_ok=True), name


def test_auroc_is_the_share_of_ordered_pairs():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 5, 40).astype(float), rng.random(40) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[positive] for b in scores[~positive]]
    assert metrics.auroc(scores, positive) == approx(np.mean(pairs), abs=1e-12)
    with pytest.raises(ValueError, match="0 negatives"):
        metrics.auroc(scores, np.ones(40, bool))


def test_a_class_without_patients_is_left_out_of_the_macro_average():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    found = metrics.classification_metrics(probabilities, np.array([0, 1, 0]), ones(3))
    assert np.isnan(found["auroc:2"][0])
    assert found["macro_auroc"][0] == 1.0
    nobody = metrics.classification_metrics(probabilities, np.array([0, 0, 0]), ones(3))
    assert np.isnan(nobody["macro_auroc"][0])


@st.composite
def followed(draw_):
    n = draw_(st.integers(4, 40))
    rng = np.random.default_rng(draw_(st.integers(0, 10_000)))
    event = rng.integers(0, 2, n)
    event[0] = 1
    time = rng.integers(2, 9, n)
    time[0] = 1
    return rng.integers(0, 6, n).astype(float), time, event


@given(followed())
@settings(max_examples=80, deadline=None)
def test_c_index_equals_lifelines_and_scikit_survival(case):
    risk, time, event = case
    assert c_index(risk, time, event) == approx(concordance_index(time, -risk, event), abs=1e-12)
    assert c_index(risk, time, event) == approx(concordance_index_censored(event == 1, time, risk)[0], abs=1e-12)


def test_published_c_indices_are_reproduced(shared_data):
    predictions = pd.read_csv(shared_data / "tables" / "mcat_val_predictions.csv.gz")
    published = pd.read_csv(shared_data / "tables" / "mcat_cindex_recomputed_lifelines.csv")
    keys = ["model", "cohort", "fold"]
    groups = predictions.groupby(keys, sort=False)
    assert len(published) == len(groups) == 275
    for _, row in published.iterrows():
        own = groups.get_group(tuple(row[name] for name in keys))
        event = 1 - own["censorship"].to_numpy(int)
        found = c_index(own["risk"].to_numpy(float), own["survival_months"].to_numpy(float), event)
        assert found == approx(row["pub"], abs=1e-12)


@given(followed(), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_concordance_equals_the_loop_over_pairs_for_resamples_and_strata(case, seed):
    risk, time, event = case
    rng = np.random.default_rng(seed)
    drawn, stratum = rng.integers(0, len(risk), len(risk)), rng.integers(0, 2, len(risk))
    counts = np.bincount(drawn, minlength=len(risk)).astype(float)[:, None]
    for weights, own in ((ones(len(risk)), np.arange(len(risk))), (counts, drawn)):
        found = concordances(risk, time, event, weights)[0]
        assert found == approx(slow_concordance(risk[own], time[own], event[own]), abs=1e-12, nan_ok=True)
        found = concordances_within(risk, time, event, stratum, weights)[0]
        expected = slow_concordance(risk[own], time[own], event[own], stratum[own])
        assert found == approx(expected, abs=1e-12, nan_ok=True)


def test_nobody_comparable_has_no_concordance():
    assert np.isnan(c_index(np.zeros(3), np.ones(3), np.zeros(3)))


def test_kaplan_meier_equals_lifelines():
    rng = np.random.default_rng(2)
    time, event = rng.integers(1, 20, 60), rng.integers(0, 2, 60)
    steps, survival = kaplan_meier(time, event)
    fitted = KaplanMeierFitter().fit(time, event)
    assert survival == approx(fitted.survival_function_at_times(steps).to_numpy(), abs=1e-12)
    assert log_rank_p(time, event, np.ones(60, int)) is None
    assert log_rank_p(np.concatenate([time, time + 40]), np.ones(120), (np.arange(120) < 60).astype(int)) < 1e-6


def test_ridge_cox_equals_lifelines():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(80, 4))
    time = rng.permutation(80) + np.ceil(5 * np.exp(-x[:, 0]))
    event = rng.integers(0, 2, 80)
    table = pd.DataFrame(x).rename(columns=str).assign(t=time, e=event)
    fitted = CoxPHFitter(penalizer=0.3).fit(
        table, "t", "e"
    )  # its penalty is n * penalizer / 2 * |b|^2 on scaled inputs
    scaled = x / x.std(axis=0, ddof=1)
    ours = ridge_cox(scaled, time, event, 0.3 * 80) / x.std(axis=0, ddof=1)
    assert ours == approx(fitted.params_.to_numpy(), abs=2e-4)


def test_ridge_cox_with_more_features_than_patients_meets_its_optimum():
    from tests.helpers.efron import efron_gradient

    rng = np.random.default_rng(4)
    x, time, event = rng.normal(size=(30, 200)), rng.integers(1, 30, 30), rng.integers(0, 2, 30)
    b = ridge_cox(x, time, event, 50.0)
    slope = x.T @ efron_gradient(x @ b, time, event) * event.sum() + 50.0 * b
    assert np.abs(slope).max() < 1e-3


def test_baselines_learn_and_keep_absent_classes_at_zero():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(60, 20))
    labels = (x[:, 0] > 0).astype(int) * 2  # classes 0 and 2 of 3
    model = fit_classifier(x, labels, 3)
    found = model.probabilities(x)
    assert found.shape == (60, 3)
    assert (found[:, 1] == 0).all()
    assert metrics.auroc(found[:, 2], labels == 2) > 0.9
    own = LogisticRegression(C=9 / 20, class_weight="balanced", max_iter=5000, tol=1e-6)
    own.fit((x - x.mean(axis=0)) / x.std(axis=0), labels)
    assert found[:, [0, 2]] == approx(own.predict_proba((x - x.mean(axis=0)) / x.std(axis=0)), abs=1e-9)
    cox = fit_cox(x, np.exp(-x[:, 0]) * 10, np.ones(60))
    assert c_index(cox.log_hazard(x), np.exp(-x[:, 0]) * 10, np.ones(60)) > 0.9
