"""The baselines: fixed penalties, training patients alone, the optimum of the penalised likelihood."""

import numpy as np
import pytest
from pytest import approx
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from mil.training.baseline import baseline_inputs, fit_classifier, fit_cox, fit_scaler, ridge_cox
from mil.training.covariates import Covariates
from splits.fold_plan import FoldPlan
from tests.helpers.efron import efron_gradient, efron_loss

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)) * [1, 2, 3, 0] + [0, 5, -5, 7]


def test_inputs_are_of_training_and_test_patients_in_their_order():
    plan = FoldPlan(repeat=0, fold=0, train=("a", "b", "c"), val=(), test=("e", "d"))
    means = {patient: np.full(2, float(number)) for number, patient in enumerate("abcde")}
    found = baseline_inputs(plan, means, Covariates())
    assert list(found) == ["mean_pool"]
    assert found["mean_pool"][0].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert found["mean_pool"][1].tolist() == [[4, 4], [3, 3]]
    ages = Covariates(numeric={"age": {"a": 1.0, "b": 3.0, "c": 8.0, "d": None, "e": 5.0}})
    train, test = baseline_inputs(plan, means, ages)["clinical"]
    assert train.tolist() == [[1], [3], [8]]
    assert test.tolist() == [[5], [4]]  # a missing one is the training mean


def test_inputs_are_standardised_and_what_never_varies_stays_0():
    scaler = fit_scaler(X)
    assert scaler(X).mean(axis=0) == approx(np.zeros(4), abs=1e-12)
    assert scaler(X).std(axis=0) == approx([1, 1, 1, 0])
    assert scaler(np.full((1, 4), 8.0))[0, 3] == 1.0
    barely = np.array([[0.0], [1e-8]])
    assert fit_scaler(barely).std[0] == 1.0  # a spread of half of it is rounding


def test_the_classifier_is_scikit_learns_with_a_penalty_by_the_number_of_inputs():
    labels = (X[:, 0] + RNG.normal(size=60) > 0).astype(np.int64) * 2  # class 1 has nobody
    found = fit_classifier(X, labels, 4).probabilities(X)
    scaled = fit_scaler(X)(X)
    wanted = LogisticRegression(C=9 / 4, class_weight="balanced", max_iter=5000, tol=1e-6).fit(scaled, labels)
    assert found[:, [0, 2]] == approx(wanted.predict_proba(scaled))
    assert (found[:, [1, 3]] == 0).all()


@pytest.mark.parametrize("n_features", [3, 50])
def test_the_cox_model_is_the_optimum_of_the_penalised_likelihood(n_features):
    rng = np.random.default_rng(n_features)
    inputs = rng.normal(size=(30, n_features))
    time, event = np.ceil(10 * rng.exponential(size=30)), rng.integers(0, 2, 30)
    penalty = 2.0

    def objective(weights):
        return efron_loss(inputs @ weights, time, event) * event.sum() + penalty / 2 * weights @ weights

    found = ridge_cox(inputs, time, event, penalty)
    gradient = inputs.T @ efron_gradient(inputs @ found, time, event) * event.sum() + penalty * found
    assert gradient == approx(np.zeros(n_features), abs=1e-3)
    slow = minimize(objective, np.zeros(n_features), method="BFGS", options={"gtol": 1e-6})
    assert objective(found) <= slow.fun + 1e-6
    whole = fit_cox(inputs, time, event)
    scaled = fit_scaler(inputs)(inputs)
    assert whole.log_hazard(inputs) == approx(scaled @ ridge_cox(scaled, time, event, float(n_features)))


def test_inputs_without_any_spread_give_no_risk():
    assert ridge_cox(np.zeros((5, 2)), np.arange(5.0), np.ones(5), 1.0).tolist() == [0, 0]
