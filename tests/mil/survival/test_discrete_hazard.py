"""The likelihood in intervals: beside slow sums, pooled logistic regression, the life table and Kaplan-Meier."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from pytest import approx
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from mil.survival.discrete_hazard import (
    Exposure,
    cumulative_hazard,
    exposure_of,
    hazards,
    interval_ends,
    intervals_of,
    life_table,
    log_mean_hazard,
    loss_and_gradient,
    n_intervals,
)

ENDS = np.array([2.0, 5.0, 9.0])


def slow_loss(log_odds, time, event, ends, entry, weight):
    """Sum over patients and intervals by the words of the definition, in plain Python."""
    total = 0.0
    for i in range(len(time)):
        begin = 0.0
        for k, end in enumerate(ends):
            hazard = 1 / (1 + math.exp(-log_odds[i][k]))
            if entry[i] <= begin:
                if event[i] and begin < time[i] <= end:
                    total -= weight[i] * math.log(hazard)
                elif time[i] >= end:
                    total -= weight[i] * math.log(1 - hazard)
            begin = end
    return total / sum(weight)


def cohort(seed, n=40):
    rng = np.random.default_rng(seed)
    time = np.round(rng.exponential(5, n), 1) + 0.1
    return rng, time, rng.integers(0, 2, n), np.round(time * rng.uniform(0, 1, n) * rng.integers(0, 2, n), 1)


@given(st.integers(0, 10_000))
def test_loss_and_gradient_are_those_of_slow_sums_with_late_entry_and_weights(seed):
    rng, time, event, entry = cohort(seed)
    weight, log_odds = rng.uniform(0, 3, len(time)), rng.normal(size=(len(time), 3))
    exposure = exposure_of(time, event, ENDS, entry)
    loss, gradient = loss_and_gradient(log_odds, exposure, weight)
    assert loss == approx(slow_loss(log_odds, time, event, ENDS, entry, weight), rel=1e-12)
    for i, k in [(0, 0), (3, 1), (7, 2), (11, 0)]:
        ahead, behind = log_odds.copy(), log_odds.copy()
        ahead[i, k] += 1e-5
        behind[i, k] -= 1e-5
        slope = (
            slow_loss(ahead, time, event, ENDS, entry, weight) - slow_loss(behind, time, event, ENDS, entry, weight)
        ) / 2e-5
        assert gradient[i, k] == approx(slope, abs=1e-8)


def test_which_intervals_count_is_as_written():
    time, event = np.array([2.0, 2.1, 4.9, 5.0, 9.0, 12.0, 12.0, 0.0]), np.array([1, 1, 0, 0, 0, 1, 0, 1])
    found = exposure_of(time, event, ENDS)
    assert found.at_risk.tolist() == [
        [True, False, False],  # the event at an end is in the interval that ends there
        [True, True, False],
        [True, False, False],  # censored inside the second: the first alone was survived as a whole
        [True, True, False],  # censored at an end: that interval was survived
        [True, True, True],
        [True, True, True],  # an event after the last end: all survived
        [True, True, True],
        [True, False, False],
    ]  # fmt: skip
    assert found.event.sum(axis=1).tolist() == [1, 1, 0, 0, 0, 0, 0, 1]
    late = exposure_of(np.array([9.0, 9.0, 4.0]), np.array([1, 0, 1]), ENDS, np.array([2.0, 2.1, 2.5]))
    assert late.at_risk.tolist() == [[False, True, True], [False, False, True], [False, False, False]]
    assert late.event.tolist() == [[False, False, True], [False] * 3, [False] * 3]


def test_a_constant_model_gives_the_life_table_and_with_all_times_as_ends_kaplan_meier():
    _, time, event, _ = cohort(3, n=60)
    ends = interval_ends(time, event, len(time), least_events=1)
    assert ends.tolist() == sorted(set(time[event == 1]))
    exposure = exposure_of(time, event, ends)
    died, followed = life_table(exposure)

    def together(log_odds):
        loss, gradient = loss_and_gradient(np.tile(log_odds, (len(time), 1)), exposure)
        return loss, gradient.sum(axis=0)

    best = minimize(together, np.zeros(len(ends)), jac=True, method="BFGS", options={"gtol": 1e-9}).x
    is_open = died < followed  # where all had it the best log-odds is without end
    assert hazards(best)[is_open] == approx((died / followed)[is_open], abs=1e-6)
    outside = KaplanMeierFitter().fit(time, event).survival_function_at_times(ends).to_numpy()
    assert np.cumprod(1 - died / followed) == approx(outside, abs=1e-12)
    exact = np.log(np.where(is_open, died, 1) / np.where(is_open, followed - died, 1))
    own = np.exp(-cumulative_hazard(exact[None, is_open], ends[is_open], ends[is_open]))[0]
    assert own == approx(np.cumprod(1 - (died / followed)[is_open]), abs=1e-12)


def test_the_loss_is_that_of_pooled_logistic_regression_by_scikit_learn():
    rng, time, event, _ = cohort(5, n=200)
    inputs = rng.normal(size=(len(time), 2))
    exposure = exposure_of(time, event, ENDS)
    person, interval = np.nonzero(exposure.at_risk)
    rows = np.column_stack([np.eye(3)[interval], inputs[person]])
    fitted = LogisticRegression(C=1e10, fit_intercept=False, tol=1e-10, max_iter=1000).fit(
        rows, exposure.event[person, interval]
    )
    log_odds = fitted.coef_[0, :3] + (inputs @ fitted.coef_[0, 3:])[:, None]
    loss, gradient = loss_and_gradient(log_odds, exposure)
    theirs = log_loss(exposure.event[person, interval], fitted.predict_proba(rows)[:, 1], normalize=False)
    assert loss == approx(theirs / len(time), rel=1e-9)
    assert gradient.sum(axis=0) == approx(np.zeros(3), abs=1e-6)  # it is at its optimum
    assert inputs.T @ gradient.sum(axis=1) == approx(np.zeros(2), abs=1e-6)


def test_the_formula_is_that_of_pycox_rebuilt_by_hand():
    """nll_logistic_hazard: binary cross-entropy of the intervals up to that of the duration, summed, and the mean over patients."""
    rng = np.random.default_rng(0)
    phi, idx, event = rng.normal(size=(6, 3)), np.array([0, 1, 2, 0, 1, 2]), np.array([1, 1, 1, 0, 0, 0])
    wanted = 0.0
    for row, last, happened in zip(phi, idx, event, strict=True):
        labels = np.zeros(3)
        labels[last] = happened
        wanted += sum(
            max(x, 0) - x * y + math.log1p(math.exp(-abs(x))) for x, y in zip(row[: last + 1], labels, strict=False)
        )
    time = ENDS[idx]
    assert loss_and_gradient(phi, exposure_of(time, event, ENDS))[0] == approx(wanted / 6, rel=1e-12)


@pytest.mark.parametrize("size", [1e3, 1e8, 1e300])
def test_all_is_finite_at_extreme_log_odds(size):
    _, time, event, _ = cohort(1)
    exposure = exposure_of(time, event, ENDS)
    for sign in (1.0, -1.0):
        log_odds = np.full((len(time), 3), sign * size)
        log_odds[::2, 1] *= -1
        loss, gradient = loss_and_gradient(log_odds / 1e3, exposure)
        assert np.isfinite(loss)
        assert np.isfinite(gradient).all()
        assert np.isfinite(log_mean_hazard(log_odds / 1e3)).all()
        survival = np.exp(-cumulative_hazard(log_odds, ENDS, np.array([0.0, 1.0, 3.0, 20.0])))
        assert ((survival >= 0) & (survival <= 1)).all()
        assert (survival[:, 0] == 1).all()


def test_all_censored_are_learnt_as_survival_and_one_event_makes_one_interval():
    _, time, _, _ = cohort(2)
    exposure = exposure_of(time, np.zeros(len(time)), ENDS)
    loss, gradient = loss_and_gradient(np.zeros((len(time), 3)), exposure)
    assert loss > 0
    assert (gradient >= 0).all()
    assert gradient[exposure.at_risk] == approx(np.full(int(exposure.at_risk.sum()), 0.5 / len(time)))
    with pytest.raises(ValueError, match="need an event after time 0"):
        interval_ends(time, np.zeros(len(time)), 5)
    with pytest.raises(ValueError, match="need an event after time 0"):
        interval_ends(np.zeros(3), np.ones(3), 5)
    event = np.zeros(len(time), int)
    event[4] = 1
    own = intervals_of(time, event, 10)
    assert own.ends.tolist() == [time[4]]
    assert np.isfinite(own.base).all()


def test_ends_hold_as_many_events_each_and_are_never_of_the_censored():
    time, event = np.arange(1.0, 101), np.zeros(100, int)
    event[::2] = 1  # 50 events: 1, 3 ... 99
    assert interval_ends(time, event, 5).tolist() == [19.0, 39.0, 59.0, 79.0, 99.0]
    assert n_intervals(50, 100) == 10
    assert len(interval_ends(time, event, 100)) == 10
    other = time.copy()
    other[1::2] *= 7  # the follow-up of the censored
    assert interval_ends(other, event, 5).tolist() == [19.0, 39.0, 59.0, 79.0, 99.0]
    assert interval_ends(np.array([3.0] * 10 + [4.0] * 10), np.ones(20), 4).tolist() == [3.0, 4.0]


def test_base_log_odds_are_the_life_table_with_half_an_event_and_weights_count():
    time, event = np.array([1.0, 1, 1, 2, 2, 3]), np.array([1, 1, 0, 1, 0, 0])
    own = intervals_of(time, event, 9, weight=np.array([2.0, 1, 1, 1, 1, 0]))
    assert own.ends.tolist() == [2.0]
    assert own.base[0] == approx(math.log(4.5 / 1.5))  # the third patient left inside the interval
    with pytest.raises(ValueError, match="need an event after time 0"):
        intervals_of(time, event, 9, weight=np.array([0.0, 0, 1, 0, 1, 1]))


def test_between_ends_the_rate_is_constant_and_after_the_last_one_nothing_happens():
    log_odds = np.log(np.array([[0.5 / 0.5, 0.2 / 0.8, 0.1 / 0.9]]))
    moments = np.array([0.0, 1.0, 2.0, 3.5, 5.0, 9.0, 50.0])
    survival = np.exp(-cumulative_hazard(log_odds, ENDS, moments))[0]
    assert survival == approx([1, 0.5**0.5, 0.5, 0.5 * 0.8**0.5, 0.4, 0.36, 0.36])
    own = cumulative_hazard(np.repeat(log_odds, 2, axis=0), ENDS, np.array([[1.0, 2.0], [5.0, 9.0]]))
    assert np.exp(-own).ravel() == approx([0.5**0.5, 0.5, 0.4, 0.36])


def test_the_risk_is_the_log_hazard_where_hazards_are_proportional():
    base, risk = np.array([0.1, 0.2, 0.05]), np.array([-1.0, 0.0, 0.7, 2.0])
    log_odds = np.log(np.expm1(np.exp(risk)[:, None] * base))  # cumulative hazards exp(risk) times the base
    own = log_mean_hazard(log_odds)
    assert own - own[1] == approx(risk)
    assert own[1] == approx(math.log((0.1 * 3 + 0.2 * 2 + 0.05) / 3))


def test_what_is_not_finite_or_without_weight_is_refused():
    exposure = Exposure(at_risk=np.ones((2, 1), bool), event=np.zeros((2, 1), bool))
    with pytest.raises(ValueError, match="log-odds must be finite"):
        loss_and_gradient(np.array([[np.nan], [0.0]]), exposure)
    with pytest.raises(ValueError, match="a weight above 0"):
        loss_and_gradient(np.zeros((2, 1)), exposure, np.zeros(2))
    with pytest.raises(ValueError, match="must be finite"):
        exposure_of(np.array([np.inf]), np.array([1]), ENDS)
