"""The Cox loss against a slow twin, lifelines, torchsurv and finite differences; class weights."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import CoxPHFitter
from lifelines.fitters.coxph_fitter import SemiParametricPHFitter
from pytest import approx

from mil.training.classification_task import class_weights
from tests.helpers.efron import efron_gradient, efron_loss
from tests.reference.slow_cox import slow_efron_loss


@st.composite
def cohorts(draw):
    n = draw(st.integers(2, 25))
    log_hazard = draw(st.lists(st.floats(-8, 8), min_size=n, max_size=n))
    time = draw(st.lists(st.integers(1, 8), min_size=n, max_size=n))
    event = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n).filter(any))
    return np.array(log_hazard), np.array(time), np.array(event)


@given(cohorts())
@settings(max_examples=150, deadline=None)
def test_loss_equals_the_sum_over_risk_sets(cohort):
    assert efron_loss(*cohort) == approx(slow_efron_loss(*cohort), rel=1e-10, abs=1e-10)


@given(cohorts())
@settings(max_examples=60, deadline=None)
def test_gradient_equals_finite_differences(cohort):
    log_hazard, time, event = cohort
    gradient = efron_gradient(log_hazard, time, event)
    step = 1e-5
    for index in range(len(log_hazard)):
        shift = np.zeros(len(log_hazard))
        shift[index] = step
        slope = (efron_loss(log_hazard + shift, time, event) - efron_loss(log_hazard - shift, time, event)) / (2 * step)
        assert gradient[index] == approx(slope, abs=2e-6)


def test_loss_and_gradient_equal_lifelines_on_tied_times():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(120, 2))
    time = np.ceil(rng.exponential(8 * np.exp(-x[:, 0]))).astype(int)  # whole months: many ties
    event = rng.integers(0, 2, 120)
    fitted = CoxPHFitter().fit(pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "t": time, "e": event}), "t", "e")
    log_hazard = x @ fitted.params_.to_numpy()
    loss = efron_loss(log_hazard, time, event)
    assert -loss * event.sum() == approx(fitted.log_likelihood_, rel=1e-6)

    order = np.argsort(time, kind="stable")  # lifelines' own gradient, away from the optimum
    table, ones = pd.DataFrame(x[order]), np.ones(120)
    fitter = SemiParametricPHFitter()
    beta = np.array([0.4, -0.3])
    numbers = (pd.Series(time[order]), pd.Series(event[order]), pd.Series(ones), None, beta)
    _, theirs, likelihood = fitter._get_efron_values_single(table, *numbers)
    assert -efron_loss(x @ beta, time, event) * event.sum() == approx(likelihood, rel=1e-6)
    assert -x.T @ efron_gradient(x @ beta, time, event) * event.sum() == approx(theirs, rel=1e-6)


# torchsurv compiles with torch.jit, which PyTorch 2.14 began to call deprecated
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning", "ignore:.*torch.jit.*:DeprecationWarning")
def test_loss_equals_torchsurv_without_ties():
    import torch
    from torchsurv.loss.cox import neg_partial_log_likelihood

    rng = np.random.default_rng(6)
    log_hazard, time, event = rng.normal(size=50), rng.permutation(50) + 1.0, rng.integers(0, 2, 50)
    theirs = neg_partial_log_likelihood(
        torch.tensor(log_hazard), torch.tensor(event, dtype=torch.bool), torch.tensor(time)
    )
    assert efron_loss(log_hazard, time, event) == approx(float(theirs), rel=1e-6)


@pytest.mark.parametrize("size", [200.0, 5000.0])
def test_huge_log_hazards_stay_finite(size):
    rng = np.random.default_rng(7)
    log_hazard = rng.choice([-size, size], 60) + rng.normal(size=60)
    time, event = rng.integers(1, 12, 60), rng.integers(0, 2, 60)
    assert np.isfinite(efron_loss(log_hazard, time, event))
    assert np.isfinite(efron_gradient(log_hazard, time, event)).all()


def test_gradient_at_200_equals_exact_arithmetic():
    from mpmath import exp, log, mp

    mp.dps = 250
    rng = np.random.default_rng(8)
    log_hazard = rng.choice([-200.0, 200.0], 12) + rng.normal(size=12)
    time, event = rng.integers(1, 5, 12), np.array([1, 0] * 6)

    def exact(values):
        total = mp.mpf(0)
        for moment in sorted({int(t) for t, e in zip(time, event, strict=True) if e}):
            risk = sum(exp(v) for v, t in zip(values, time, strict=True) if t >= moment)
            dead = [v for v, t, e in zip(values, time, event, strict=True) if t == moment and e]
            tied = sum(exp(v) for v in dead)
            total += sum(log(risk - mp.mpf(k) / len(dead) * tied) for k in range(len(dead))) - sum(dead)
        return total / int(event.sum())

    values = [mp.mpf(float(v)) for v in log_hazard]
    assert efron_loss(log_hazard, time, event) == approx(float(exact(values)), rel=1e-6)
    step = mp.mpf(10) ** -60
    for index, slope in enumerate(efron_gradient(log_hazard, time, event)):
        moved = [v + step if k == index else v for k, v in enumerate(values)]
        assert slope == approx(float((exact(moved) - exact(values)) / step), rel=1e-6, abs=1e-12)


def test_row_order_does_not_change_the_loss_by_a_bit():
    rng = np.random.default_rng(9)
    log_hazard, time, event = rng.normal(size=40), rng.integers(1, 6, 40), rng.integers(0, 2, 40)
    order = rng.permutation(40)
    assert efron_loss(log_hazard, time, event) == approx(
        efron_loss(log_hazard[order], time[order], event[order]), rel=1e-14
    )
    moved = efron_gradient(log_hazard[order], time[order], event[order])
    assert moved == approx(efron_gradient(log_hazard, time, event)[order], abs=1e-15)


def test_no_event_and_not_finite_values_are_refused():
    with pytest.raises(ValueError, match="at least one event"):
        efron_loss(np.zeros(3), np.arange(3), np.zeros(3, int))
    with pytest.raises(ValueError, match="finite"):
        efron_loss(np.array([0.0, np.nan]), np.arange(2), np.ones(2, int))


def test_class_weights_equal_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0, 0, 0, 1, 2, 2])
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert class_weights(labels, 3) == approx(theirs)
    with pytest.raises(ValueError, match="no training patient"):
        class_weights(labels, 4)
