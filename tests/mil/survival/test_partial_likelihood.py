"""Cox's partial likelihood against a slow twin, lifelines, scikit-survival and exact arithmetic: ties, strata, entry, weights."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import CoxTimeVaryingFitter
from lifelines.datasets import load_gbsg2, load_rossi
from lifelines.fitters.coxph_fitter import SemiParametricPHFitter
from pytest import approx

from mil.survival.partial_likelihood import hessian_product, loss, loss_and_gradient, means_at_events
from mil.survival.risk_sets import risk_sets
from tests.reference.slow_cox import slow_partial_likelihood


@st.composite
def cohorts(draw):
    n = draw(st.integers(2, 18))
    size = draw(st.sampled_from([3.0, 40.0, 600.0]))

    def numbers(strategy):
        return np.array(draw(st.lists(strategy, min_size=n, max_size=n)))

    time = numbers(st.integers(2, 8))
    event = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n).filter(any)))
    options = {"ties": draw(st.sampled_from(["efron", "breslow"]))}
    if draw(st.booleans()):
        options["entry"] = np.minimum(numbers(st.integers(0, 7)), time - 1)
    if draw(st.booleans()):
        options["stratum"] = numbers(st.integers(0, 2))
    if draw(st.booleans()):
        options["weight"] = numbers(st.sampled_from([0.25, 1.0, 3.5]))
        if draw(st.booleans()):
            options["weight"] = np.where(event == 1, options["weight"], options["weight"] * numbers(st.integers(0, 1)))
    return numbers(st.floats(-size, size)), numbers(st.floats(-2, 2)), time, event, options


def slow_values(log_hazard, vector, time, event, options):
    eta = torch.tensor(log_hazard, dtype=torch.float64, requires_grad=True)
    own = slow_partial_likelihood(eta, time, event, **options)
    gradient = torch.autograd.grad(own, eta, create_graph=True)[0]
    product = torch.autograd.grad(gradient @ torch.tensor(vector), eta)[0] if gradient.requires_grad else 0 * gradient
    return float(own.detach()), gradient.detach().numpy(), product.detach().numpy()


@given(cohorts())
@settings(max_examples=300, deadline=None)
def test_loss_gradient_and_hessian_products_equal_the_slow_twin(cohort):
    log_hazard, vector, time, event, options = cohort
    sets = risk_sets(time, event, **options)
    theirs = slow_values(*cohort)
    ours = (*loss_and_gradient(log_hazard, sets), hessian_product(log_hazard, sets, vector))
    assert ours[0] == approx(theirs[0], rel=1e-9, abs=1e-9)
    assert loss(log_hazard, sets) == ours[0]
    assert ours[1] == approx(theirs[1], rel=1e-8, abs=1e-9)
    assert ours[2] == approx(theirs[2], rel=1e-8, abs=1e-9)


def load_rossi_with_weights():
    rossi = load_rossi()
    rossi["entry"] = np.random.default_rng(3).integers(0, 10, len(rossi)).clip(max=rossi["week"] - 1)
    rossi["weight"] = np.random.default_rng(4).choice([0.5, 1.0, 2.0], len(rossi))
    return rossi


def column(table, name):
    return None if name is None else table[name].to_numpy(float)


@pytest.mark.parametrize("entry", [None, "entry"])
@pytest.mark.parametrize("weight", [None, "weight"])
@pytest.mark.parametrize("strata", [None, "race"])
def test_likelihood_gradient_and_hessian_equal_those_of_lifelines(entry, weight, strata):
    """lifelines sums its own over strata, so here too; away from the optimum, where a gradient says more."""
    table = load_rossi_with_weights()
    names, beta = ["age", "prio", "fin"], np.array([-0.03, 0.08, -0.2])
    likelihood, slope, curvature = 0.0, np.zeros(3), np.zeros((3, 3))
    for _, part in [(None, table)] if strata is None else table.groupby(strata):
        own = part.sort_values("week", kind="stable")
        parts = (own["week"], own["arrest"], own["weight"] if weight else own["weight"] * 0 + 1)
        inputs = own[names].astype(float)
        if entry is None:
            h, g, log_likelihood = SemiParametricPHFitter()._get_efron_values_single(inputs, *parts, None, beta)
        else:
            t, e, w = (each.to_numpy() for each in parts)
            h, g, log_likelihood = CoxTimeVaryingFitter._get_gradients(
                inputs.to_numpy(), e.astype(bool), own["entry"].to_numpy(), t, w.astype(float), beta
            )
        likelihood, slope, curvature = likelihood + log_likelihood, slope + g, curvature + h
    sets = risk_sets(
        column(table, "week"), column(table, "arrest"), entry=column(table, entry), weight=column(table, weight),
        stratum=column(table, strata),
    )  # fmt: skip
    x = table[names].to_numpy(float)
    loss_of_all, gradient = loss_and_gradient(x @ beta, sets)
    hessian = np.stack([x.T @ hessian_product(x @ beta, sets, each) for each in x.T], axis=1)
    assert -loss_of_all * sets.total_weight == approx(likelihood, rel=1e-10)
    assert -x.T @ gradient * sets.total_weight == approx(slope, rel=1e-8)
    assert -hessian * sets.total_weight == approx(curvature, rel=1e-8)


def test_breslow_equals_scikit_survival():
    from sksurv.linear_model.coxph import CoxPHOptimizer

    table = load_rossi()
    x = table[["age", "prio"]].to_numpy(float)
    optimiser = CoxPHOptimizer(x, table["arrest"].to_numpy(bool), table["week"].to_numpy(float), np.zeros(2), "breslow")
    weights = np.array([0.02, -0.05])
    optimiser.update(weights)
    own, gradient = loss_and_gradient(
        x @ weights, risk_sets(column(table, "week"), column(table, "arrest"), ties="breslow")
    )
    n_events, n = int(table["arrest"].sum()), len(table)
    assert own * n_events == approx(optimiser.nlog_likelihood(weights) * n, rel=1e-10)
    assert x.T @ gradient * n_events == approx(optimiser.gradient * n, rel=1e-9)


@pytest.mark.parametrize("size", [500.0, 1e4, 1e9])
@pytest.mark.parametrize("with_entry", [False, True])
def test_huge_log_hazards_stay_finite(size, with_entry):
    rng = np.random.default_rng(7)
    log_hazard = rng.choice([-size, size], 60) + rng.normal(size=60)
    time, event = rng.integers(1, 12, 60), rng.integers(0, 2, 60)
    sets = risk_sets(time, event, entry=time - rng.integers(1, 5, 60) if with_entry else None)
    own, gradient = loss_and_gradient(log_hazard, sets)
    assert np.isfinite(own)
    assert np.isfinite(gradient).all()
    assert np.isfinite(hessian_product(log_hazard, sets, rng.normal(size=60))).all()


def test_whoever_has_not_entered_yet_leaves_the_others_as_they_are():
    """A running sum less another one would lose the hazards of the early ones beside e**300 of one who enters late."""
    log_hazard = np.array([0.3, -0.2, 0.1, 300.0])
    time, event, entry = np.array([2, 3, 4, 9]), np.array([1, 1, 1, 1]), np.array([0, 0, 0, 5])
    own, gradient = loss_and_gradient(log_hazard, risk_sets(time, event, entry=entry))
    early, of_early = loss_and_gradient(log_hazard[:3], risk_sets(time[:3], event[:3]))
    assert own * 4 == approx(early * 3, rel=1e-12)
    assert gradient[:3] * 4 == approx(of_early * 3, rel=1e-12)
    assert gradient[3] == approx(0, abs=1e-12)


def test_loss_at_500_equals_exact_arithmetic():
    from mpmath import exp, log, mp

    mp.dps = 600
    rng = np.random.default_rng(8)
    log_hazard = rng.choice([-500.0, 500.0], 12) + rng.normal(size=12)
    time, event = rng.integers(1, 5, 12), np.array([1, 0] * 6)
    total = mp.mpf(0)
    for moment in sorted({int(t) for t, e in zip(time, event, strict=True) if e}):
        risk = sum(exp(mp.mpf(v)) for v, t in zip(log_hazard, time, strict=True) if t >= moment)
        dead = [mp.mpf(v) for v, t, e in zip(log_hazard, time, event, strict=True) if t == moment and e]
        tied = sum(exp(v) for v in dead)
        total += sum(log(risk - mp.mpf(k) / len(dead) * tied) for k in range(len(dead))) - sum(dead)
    assert loss(log_hazard, risk_sets(time, event)) == approx(float(total / int(event.sum())), rel=1e-12)


def test_a_single_event_and_all_tied_are_right():
    eta = np.array([0.5, -1.0, 2.0])
    own, gradient = loss_and_gradient(eta, risk_sets(np.array([3, 1, 2]), np.array([0, 1, 0])))
    share = np.exp(eta) / np.exp(eta).sum()
    assert own == approx(-np.log(share[1]), rel=1e-14)
    assert gradient == approx(share - [0, 1, 0], rel=1e-14)
    last = loss_and_gradient(eta, risk_sets(np.array([3, 1, 2]), np.array([1, 0, 0])))
    assert last[0] == approx(0, abs=1e-15)  # nobody else is left to be compared with
    assert last[1] == approx(np.zeros(3), abs=1e-15)
    tied = loss(np.zeros(3), risk_sets(np.ones(3), np.ones(3)))
    assert tied == approx(np.log(6) / 3, rel=1e-14)  # 3 * 2 * 1 orders
    assert loss(np.zeros(3), risk_sets(np.ones(3), np.ones(3), ties="breslow")) == approx(np.log(3), rel=1e-14)


def test_equal_times_of_different_strata_are_no_ties():
    eta = np.array([0.5, -1.0, 2.0, 0.1])
    sets = risk_sets(np.ones(4), np.ones(4), stratum=np.array([0, 0, 1, 1]))
    halves = [loss(eta[own], risk_sets(np.ones(2), np.ones(2))) for own in ([0, 1], [2, 3])]
    assert loss(eta, sets) == approx(np.mean(halves), rel=1e-14)


def test_means_over_risk_sets_equal_the_sum():
    rng = np.random.default_rng(11)
    eta, x = rng.normal(size=30), rng.normal(size=(30, 2)) - 5
    time, event = rng.permutation(30), rng.integers(0, 2, 30)
    sets = risk_sets(time, event)
    means = means_at_events(eta, sets, x)
    for place, mean in zip(sets.order[sets.events], means, strict=True):
        at_risk = time >= time[place]
        assert mean == approx(np.average(x[at_risk], axis=0, weights=np.exp(eta[at_risk])), rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"event": np.zeros(3)}, "at least one event"),
        ({"event": np.array([0, 1, 0]), "weight": np.array([1, 0, 1])}, "at least one event of a weight above 0"),
        ({"event": np.ones(3), "time": np.array([1, np.nan, 2])}, "finite"),
        ({"event": np.ones(3), "weight": np.array([1, -1, 1])}, "not negative"),
        ({"event": np.ones(3), "entry": np.array([0, 2, 0])}, "number 1 enters at 2 and is followed to 2"),
        ({"event": np.ones(3), "entry": np.array([0, np.nan, 0])}, "number 1 enters at nan"),
        ({"event": np.ones(3), "ties": "exact"}, "'efron' or 'breslow', not 'exact'"),
    ],
)
def test_what_cannot_be_is_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        risk_sets(**{"time": np.array([1.0, 2.0, 3.0]), **arguments})


def test_log_hazards_that_are_not_finite_are_refused():
    sets = risk_sets(np.arange(3), np.ones(3))
    with pytest.raises(ValueError, match="finite"):
        loss_and_gradient(np.array([0.0, np.inf, 1.0]), sets)


def test_gbsg2_without_ties_is_alike_for_both_ways():
    table = load_gbsg2()
    time = table["time"].to_numpy(float) + np.arange(len(table)) * 1e-6  # no two alike
    eta = np.log(table["pnodes"].to_numpy(float))
    own = [loss_and_gradient(eta, risk_sets(time, column(table, "cens"), ties=ties)) for ties in ("efron", "breslow")]
    assert own[0][0] == own[1][0]
    assert (own[0][1] == own[1][1]).all()
