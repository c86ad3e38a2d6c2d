"""Calibration figures against scikit-learn and slow twins, temperature scaling, prediction sets, selective prediction."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx
from sklearn import metrics as theirs
from sklearn.linear_model import LogisticRegression

from mil.metrics import calibration, conformal, selective
from tests.reference.slow_metrics import slow_calibration_error, slow_recalibration


def ones(n):
    return np.ones((n, 1))


def predicted(n=200, k=4, seed=0, sharpness=1.0):
    """Probabilities that are calibrated when sharpness is 1, over-confident above."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, k)) * 1.5
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(k, p=row) for row in p])
    sharp = np.exp(logits * sharpness)
    return sharp / sharp.sum(axis=1, keepdims=True), labels


@given(st.integers(0, 1000), st.integers(2, 5))
@settings(max_examples=40, deadline=None)
def test_brier_and_log_loss_equal_scikit_learn(seed, k):
    p, y = predicted(50, k, seed)
    found = calibration.calibration_metrics(p, y, ones(50))
    assert found["log_loss"][0] == approx(theirs.log_loss(y, p, labels=range(k)), abs=1e-12)
    expected = theirs.brier_score_loss(y, p, labels=range(k), scale_by_half=False)
    assert found["brier"][0] == approx(expected, abs=1e-12)
    certain = np.eye(k)[y]
    assert calibration.log_losses(certain, y) == approx(0, abs=1e-15)
    assert calibration.log_losses(np.roll(certain, 1, axis=1), y)[0] == approx(
        theirs.log_loss(y[:1], np.roll(certain, 1, axis=1)[:1], labels=range(k)), abs=1e-12
    )


@given(st.integers(0, 1000), st.integers(1, 10))
@settings(max_examples=40, deadline=None)
def test_calibration_error_equals_its_slow_twin_and_minds_no_row_order(seed, n_bins):
    p, y = predicted(60, 3, seed)
    p = p.round(1) + 0.01
    p /= p.sum(axis=1, keepdims=True)  # ties
    p = p.round(9)
    found = calibration.calibration_error(p, y, ones(60), n_bins)[0]
    assert found == approx(slow_calibration_error(p, y, n_bins), abs=1e-12)
    order = np.random.default_rng(seed).permutation(60)
    assert calibration.calibration_error(p[order], y[order], ones(60), n_bins)[0] == approx(found, abs=1e-12)
    bins = calibration.reliability(p, y, n_bins)
    assert sum(each.n for each in bins) == 60
    assert sum(each.n * abs(each.accuracy - each.confidence) for each in bins) / 60 == approx(found, abs=1e-9)


def test_bins_have_equal_mass():
    p, y = predicted(200, 4)
    assert [each.n for each in calibration.reliability(p, y, 10)] == [20] * 10
    assert (calibration.n_bins_for(5), calibration.n_bins_for(60), calibration.n_bins_for(1000)) == (1, 6, 10)


@pytest.mark.parametrize("is_slope_free", [True, False])
def test_recalibration_equals_a_general_optimiser(is_slope_free):
    p, y = predicted(120, 3, 1, sharpness=1.7)
    found = calibration.recalibrate(p, y, ones(120), is_slope_free=is_slope_free)
    intercept, slope = slow_recalibration(p, y, is_slope_free=is_slope_free)
    assert found.slope[0] == approx(slope, abs=2e-4)
    assert found.intercept[0] == approx(intercept, abs=2e-4)


def test_two_classes_give_logistic_recalibration():
    p, y = predicted(150, 2, 2, sharpness=2.0)
    found = calibration.recalibrate(p, y, ones(150), is_slope_free=True)
    logit = np.log(p[:, 1] / p[:, 0])
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit[:, None], y)
    assert found.slope[0] == approx(model.coef_[0, 0], abs=1e-6)
    assert found.intercept[0, 1] - found.intercept[0, 0] == approx(model.intercept_[0], abs=1e-6)


def test_slope_tells_over_confidence_and_intercept_a_class_predicted_too_rarely():
    p, y = predicted(4000, 3, 3, sharpness=2.0)
    assert calibration.recalibrate(p, y, ones(4000), is_slope_free=True).slope[0] == approx(0.5, abs=0.03)
    p, y = predicted(4000, 3, 3)
    tilted = p * [0.3, 1, 1]
    tilted /= tilted.sum(axis=1, keepdims=True)
    assert calibration.recalibrate(tilted, y, ones(4000), is_slope_free=False).intercept[0].argmax() == 0


def test_recalibration_that_has_no_maximum_is_not_defined():
    y = np.repeat([0, 1], 20)
    apart = np.where(np.eye(2)[y] == 1, 0.9, 0.1) + np.random.default_rng(0).uniform(-0.01, 0.01, (40, 1)) * [1, -1]
    assert np.isnan(calibration.recalibrate(apart, y, ones(40), is_slope_free=True).slope[0])
    assert np.isnan(calibration.recalibrate(np.full((40, 2), 0.5), y, ones(40), is_slope_free=True).slope[0])
    assert np.isnan(calibration.recalibrate(apart[:20], y[:20], ones(20), is_slope_free=True).slope[0])


@pytest.mark.parametrize("certainty", [0.99, 0.9999, 1 - 1e-9])
@pytest.mark.parametrize("n_classes", [2, 5, 9])
def test_e4_right_and_certain_predictions_have_a_calibration_intercept(certainty, n_classes):
    y = np.repeat(np.arange(n_classes), 20)
    p = np.full((len(y), n_classes), (1 - certainty) / (n_classes - 1))
    p[np.arange(len(y)), y] = certainty
    found = calibration.recalibrate(p, y, ones(len(y)), is_slope_free=False)
    assert found.intercept[0] == approx(np.zeros(n_classes), abs=1e-3)  # every class is predicted as often as it occurs
    assert np.isnan(calibration.recalibrate(p, y, ones(len(y)), is_slope_free=True).slope[0])  # separated: no maximum


def test_e4_the_intercept_of_certain_predictions_equals_a_general_optimisers():
    y = np.repeat(np.arange(5), 20)
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1.5, (100, 5)) * 3e-5
    p[np.arange(100), y] = 1
    p[3] = [0.4, 0.3, 0.1, 0.1, 0.1]  # one patient that is not certain
    p /= p.sum(axis=1, keepdims=True)
    found = calibration.recalibrate(p, y, ones(100), is_slope_free=False).intercept[0]
    assert found == approx(slow_recalibration(p, y, is_slope_free=False)[0], abs=2e-3)


def test_the_intercept_of_many_certain_predictions_is_that_of_their_small_chances():
    """Where all are right, exp(-a) sum q = exp(a) sum r of the small chances q in one class and r in the other."""
    y = np.repeat([0, 1], 2000)
    small = np.random.default_rng(0).uniform(0.5, 1.5, 4000) * 1e-11
    p = np.where(np.eye(2)[y] == 1, 1 - small[:, None], small[:, None])
    found = calibration.recalibrate(p, y, ones(4000), is_slope_free=False).intercept[0]
    a = np.log(small[:2000].sum() / small[2000:].sum()) / 2
    assert abs(a) > 1e-3
    assert found == approx([a / 2, -a / 2], abs=1e-5)


def test_temperature_undoes_over_confidence_and_keeps_every_decision():
    p, y = predicted(3000, 4, 5, sharpness=2.5)
    temperature = calibration.fit_temperature(p, y)
    assert temperature == approx(2.5, rel=0.06)
    scaled = calibration.scale_temperature(p, temperature)
    assert np.array_equal(scaled.argmax(axis=1), p.argmax(axis=1))
    assert scaled.sum(axis=1) == approx(1)

    def objective(t):
        return calibration.log_losses(calibration.scale_temperature(p, t), y).sum() + (np.log(t) / 0.5) ** 2 / 2

    assert objective(temperature) <= min(objective(t) for t in np.geomspace(0.5, 10, 200)) + 1e-6
    assert calibration.scale_temperature(p, 1.0) == approx(p, abs=1e-12)
    assert calibration.fit_temperature(p[:0], y[:0]) is None
    few = np.full((10, 4), 0.1) + 0.6 * np.eye(4)[y[:10]]  # ten patients, all right: no reason to become certain
    assert 0.3 < calibration.fit_temperature(few, y[:10]) < 0.7


def test_thresholds_are_the_finite_sample_quantile_and_too_few_patients_rule_nothing_out():
    scores = np.arange(1, 20) / 20
    assert conformal.threshold(scores, 0.9) == 0.9  # the 18th of 19
    assert conformal.threshold(scores[:9], 0.9) == 0.45  # the 9th of 9
    assert conformal.threshold(scores[:8], 0.9) == np.inf
    assert conformal.least_patients(0.9) == 9
    assert conformal.least_patients(0.95) == 19
    with pytest.raises(ValueError, match="between 0 and 1"):
        conformal.threshold(scores, 1.0)
    p, y = predicted(40, 3, 0)
    y[:] = np.where(y == 2, 0, y)
    limits = conformal.class_thresholds(p, y, 0.9)
    assert np.isinf(limits[2])
    assert conformal.prediction_sets(p, limits)[:, 2].all()


def test_v1_a_class_whose_score_equals_its_threshold_stands_in_the_set():
    """Ties and saturated probabilities: the threshold is the score of a calibration patient, who must be covered himself."""
    saturated, y = np.eye(3)[np.repeat([0, 1, 2], 12)], np.repeat([0, 1, 2], 12)
    limits = conformal.class_thresholds(saturated, y, 0.9)
    assert limits.tolist() == [0, 0, 0]
    assert np.array_equal(conformal.prediction_sets(saturated, limits), saturated == 1)
    p, y = predicted(60, 3, 1)
    p = p.round(1)
    for thresholds in (conformal.class_thresholds, conformal.common_thresholds):
        sets = conformal.prediction_sets(p, thresholds(p, y, 0.9))
        assert sets[np.arange(60), y].mean() >= 0.9
    alone = conformal.common_thresholds(p, y, 0.9)
    tied = (1 - p) == alone
    assert tied.any()
    assert conformal.prediction_sets(p, alone)[tied].all()


def test_sets_cover_each_class_as_often_as_they_say():
    """Over many calibration parts, each class is covered at 90 % or a little more, though the model is over-confident."""
    covered = np.zeros((150, 3))
    for seed in range(150):
        p, y = predicted(420, 3, seed, sharpness=3.0)
        sets = conformal.prediction_sets(p[120:], conformal.class_thresholds(p[:120], y[:120], 0.9))
        hit = sets[np.arange(300), y[120:]]
        covered[seed] = [hit[y[120:] == index].mean() for index in range(3)]
    assert (covered.mean(axis=0) > 0.89).all()
    assert (covered.mean(axis=0) < 0.95).all()


def test_selective_prediction_counts_the_most_certain_first():
    confidence = np.array([0.9, 0.9, 0.8, 0.5, 0.4])
    right = np.array([True, True, False, True, False])
    coverage, accuracy = selective.selective_curve(confidence, right)
    assert coverage == approx([0.4, 0.6, 0.8, 1.0])
    assert accuracy == approx([1, 2 / 3, 3 / 4, 3 / 5])
    assert selective.accuracy_at(coverage, accuracy, 0.5) == approx(2 / 3)
    assert selective.accuracy_at(coverage, accuracy, 1.0) == approx(0.6)
    assert selective.area_under_risk(confidence, right) == approx(0.2 / 3 + 0.2 / 4 + 0.2 * 2 / 5)
