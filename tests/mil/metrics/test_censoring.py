"""Censoring weights against slow twins, simulated truth, scikit-survival and lifelines.

scikit-survival weighs an event at t by 1 / G(t), not 1 / G(t-): its numbers are the same where no event and no censoring
share a time, so it is compared on such cohorts alone.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import CoxPHFitter, KaplanMeierFitter
from pytest import approx
from sksurv import metrics as theirs
from sksurv.nonparametric import CensoringDistributionEstimator
from sksurv.util import Surv

from mil.evaluation.evaluation import metrics_of_run
from mil.evaluation.survival_evaluation import SurvivalEvaluation, group_of_patients
from mil.evaluation.survival_probabilities import evaluate_over_time
from mil.metrics import censoring as ours
from mil.metrics import survival_curves as curves
from mil.metrics.bootstrap import plan_resampling
from mil.runs.figure_names import time_text
from tests.helpers.run_folders import FACTS, run_of
from tests.reference.slow_censoring import slow_brier, slow_dynamic_auc, slow_uno_c

SURVIVAL = replace(FACTS, task="survival")


def followed(seed, n, *, longest=None, is_tied=False):
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n).round(1)  # ties
    died, end = rng.exponential(10 * np.exp(-risk)), rng.uniform(2, 25, n)
    time = np.minimum(died, end)
    if is_tied:
        time = np.ceil(time)
    if longest is not None:
        time = np.minimum(time, longest)
    return risk, time, (died <= end).astype(int)


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_uno_auc_and_brier_equal_scikit_survival(seed):
    _, train_time, train_event = followed(seed + 5000, 120)
    risk, time, event = followed(seed, 60, longest=train_time.max() - 1)
    train, test = Surv.from_arrays(train_event == 1, train_time), Surv.from_arrays(event == 1, time)
    censoring = curves.censoring_steps(train_time, train_event)
    estimator = CensoringDistributionEstimator().fit(train)
    grid = np.array([1.0, 3.0, 7.5, 11.0])
    assert censoring(grid) == approx(estimator.predict_proba(grid), abs=1e-12)
    uncensored, tau, ones = censoring.until(time), 12.0, np.ones((60, 1))
    expected = theirs.concordance_index_ipcw(train, test, risk, tau=tau)[0]
    assert ours.uno_c(risk, time, event, uncensored, tau, ones)[0] == approx(expected, abs=1e-12)
    moments = np.array([4.0, 6.0, 8.0])
    aucs = theirs.cumulative_dynamic_auc(train, test, risk, moments)[0]
    for moment, auc in zip(moments, aucs, strict=True):
        assert ours.dynamic_auc(risk, time, event, uncensored, moment, ones)[0] == approx(auc, abs=1e-12)
    survival = np.exp(-np.outer(np.exp(risk), moments / 20))
    losses = ours.brier_losses(survival, time, event, uncensored, np.tile(censoring(moments), (60, 1)), moments)
    assert losses.mean(axis=0) == approx(theirs.brier_score(train, test, survival, moments)[1], abs=1e-12)
    whole = theirs.integrated_brier_score(train, test, survival, moments)
    assert ours.integrate(losses.mean(axis=0)[:, None], moments)[0] == approx(whole, abs=1e-12)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_e1_uno_auc_and_brier_equal_their_definitions_on_tied_times(seed):
    _, *trained = followed(seed + 5000, 40, is_tied=True)
    risk, time, event = followed(seed, 25, longest=trained[0].max() - 1, is_tied=True)
    uncensored, ones = curves.censoring_steps(*trained).until(time), np.ones((25, 1))
    for moment in (3.0, 4.5, 8.0):
        survival = np.exp(-np.exp(risk) * moment / 20)
        at = np.tile(curves.censoring_steps(*trained)(np.array([moment])), (25, 1))
        losses = ours.brier_losses(survival[:, None], time, event, uncensored, at, np.array([moment]))
        assert losses.mean() == approx(slow_brier(survival, time, event, moment, trained), abs=1e-12)
        auc = ours.dynamic_auc(risk, time, event, uncensored, moment, ones)[0]
        assert auc == approx(slow_dynamic_auc(risk, time, event, moment, trained), abs=1e-12, nan_ok=True)
        c = ours.uno_c(risk, time, event, uncensored, moment, ones)[0]
        assert c == approx(slow_uno_c(risk, time, event, moment, trained), abs=1e-12, nan_ok=True)


def brier(survival, time, event, moment):
    censoring = curves.censoring_steps(time, event)
    at = np.tile(censoring(np.array([moment])), (len(time), 1))
    losses = ours.brier_losses(survival[:, None], time, event, censoring.until(time), at, np.array([moment]))
    return float(losses.mean())


def test_e1_an_event_counts_by_the_chance_before_its_time():
    """One event and one censored patient at each of two times; a coin's prediction is wrong by a quarter."""
    time, event = np.array([1.0, 1.0, 2.0, 2.0]), np.array([1, 0, 1, 0])
    assert brier(np.full(4, 0.5), time, event, 1.5) == approx(0.25, abs=1e-15)


def test_a_time_up_to_which_nobody_is_followed_gives_no_share_of_the_brier_score():
    chance, moments = np.full((2, 2), 0.5), np.array([1.0, 3.0])
    followed = np.array([[0.5, 0.0], [0.5, 0.0]])  # of the patients' fold, all are censored before 3
    losses = ours.brier_losses(chance, np.array([2.0, 4.0]), np.array([1, 0]), np.array([0.5, 0.5]), followed, moments)
    assert losses == approx(np.array([[0.5, 0.5], [0.5, 0.0]]))


def test_e1_the_score_of_patients_followed_in_whole_years_is_that_of_everyone_followed_to_the_end():
    rng = np.random.default_rng(0)
    risk = rng.normal(size=200_000)
    died = np.ceil(rng.exponential(6 * np.exp(-risk)))
    end = rng.integers(1, 9, size=200_000).astype(float)
    time, event = np.minimum(died, end), (died <= end).astype(int)
    survival = np.exp(-np.exp(risk) * 4 / 6)
    truth = ((died > 4) - survival) ** 2
    assert brier(survival, time, event, 4.0) == approx(truth.mean(), abs=0.002)
    part = slice(0, 4000)
    uncensored = curves.censoring_steps(time, event).until(time[part])
    c = ours.uno_c(risk[part], time[part], event[part], uncensored, 6, np.ones((4000, 1)))
    whole = ours.uno_c(risk[part], died[part], np.ones(4000, int), np.ones(4000), 6, np.ones((4000, 1)))
    assert c[0] == approx(whole[0], abs=0.01)


def test_e1_the_weights_give_back_a_published_survival_curve():
    """Weighted by 1 / G(t-), the events until t are Kaplan and Meier's 1 - S(t); by 1 / G(t), those beyond it are S(t).

    6-MP arm of Freireich et al. (1963, Blood 21:699), weeks in remission; S(t) as printed in Kleinbaum and Klein (2012,
    Survival Analysis, chapter 2). At 6 and at 10 weeks an event and a censored patient share a time.
    """
    time = np.array([6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35], dtype=float)
    event = (np.arange(21) < 9).astype(int)
    printed = {6: 0.8571, 7: 0.8067, 10: 0.7529, 13: 0.6902, 16: 0.6275, 22: 0.5378, 23: 0.4482}
    for moment, survival in printed.items():
        assert brier(np.ones(21), time, event, float(moment)) == approx(1 - survival, abs=6e-5)
        assert brier(np.zeros(21), time, event, float(moment)) == approx(survival, abs=6e-5)


def test_weights_are_resampled_patients():
    risk, time, event = followed(3, 50, is_tied=True)
    censoring = curves.censoring_steps(time, event)
    drawn = np.random.default_rng(0).integers(0, 50, 50)
    counts = np.bincount(drawn, minlength=50).astype(float)[:, None]
    for figure, limit in ((ours.uno_c, 9.0), (ours.dynamic_auc, 6.0)):
        weighted = figure(risk, time, event, censoring(time), limit, counts)[0]
        own = (risk[drawn], time[drawn], event[drawn], censoring(time[drawn]))
        assert weighted == approx(figure(*own, limit, np.ones((50, 1)))[0], abs=1e-12)


def test_without_censoring_uno_is_harrell():
    from mil.metrics.concordance import c_index

    risk, time, _ = followed(1, 40, is_tied=True)
    dead = np.ones(40, int)
    found = ours.uno_c(risk, time, dead, np.ones(40), np.inf, np.ones((40, 1)))[0]
    assert found == approx(c_index(risk, time, dead), abs=1e-12)
    assert np.isnan(ours.uno_c(risk, time, 0 * dead, np.ones(40), np.inf, np.ones((40, 1)))[0])


def test_curves_equal_lifelines():
    rng = np.random.default_rng(2)
    _, time, event = followed(2, 80, is_tied=True)
    grid = np.array([0.0, 2.0, 5.5, 9.0])
    assert curves.survival_steps(time, event)(grid) == approx(
        KaplanMeierFitter().fit(time, event).survival_function_at_times(grid).to_numpy(), abs=1e-12
    )
    x = rng.normal(size=80)
    untied = rng.permutation(80) + 1.0
    fitted = CoxPHFitter().fit(pd.DataFrame({"x": x, "t": untied, "e": event}), "t", "e")
    risk = fitted.params_["x"] * (x - x.mean())
    found = curves.baseline_hazard(risk, untied, event)
    theirs_hazard = fitted.baseline_cumulative_hazard_.iloc[:, 0]
    assert found(theirs_hazard.index.to_numpy()) == approx(theirs_hazard.to_numpy(), abs=1e-10)
    with pytest.raises(AssertionError):
        assert curves.baseline_hazard(2 * risk, untied, event)(np.array([40.0])) == approx(found(np.array([40.0])))


def rows_of(seed, n, *, prefix, longest=None, is_tied=False):
    risk, time, event = followed(seed, n, longest=longest, is_tied=is_tied)
    return pd.DataFrame(
        {
            "repeat": 0, "fold": 0, "patient_id": [f"{prefix}{index:03d}" for index in range(n)], "model": "attention",
            "time": time, "event": event, "log_hazard": risk + 100.0, "score": risk, "risk_group": (risk > 0).astype(int),
        }
    )  # fmt: skip


def test_a_run_gives_scikit_survivals_figures_from_its_own_tables(tmp_path):
    """One fold, log-hazards with an offset of 100: exp of them is never taken."""
    trained = rows_of(7, 150, prefix="t")
    tested = rows_of(8, 70, prefix="p", longest=trained["time"].max() - 1)
    run = run_of(tmp_path, tested, facts=SURVIVAL, follow_up=trained)
    plan = plan_resampling(tested["event"].to_numpy(), 50, np.random.default_rng(0))
    found = evaluate_over_time(run, plan)
    train = Surv.from_dataframe("event", "time", trained.astype({"event": bool}))
    test = Surv.from_dataframe("event", "time", tested.astype({"event": bool}))
    moments = np.array([row[0] for row in found.brier])
    hazard = curves.baseline_hazard(
        trained["score"].to_numpy(), trained["time"].to_numpy(), trained["event"].to_numpy()
    )
    survival = np.exp(-np.exp(tested["score"].to_numpy())[:, None] * hazard(moments))
    expected = theirs.integrated_brier_score(train, test, survival, moments)
    assert found.integrated_brier.value == approx(expected, abs=1e-9)
    assert found.difference.value < 0  # the risks are true: better than one curve for all
    flat = np.tile(KaplanMeierFitter().fit(trained["time"], trained["event"]).predict(moments), (70, 1))
    assert found.reference.value == approx(theirs.integrated_brier_score(train, test, flat, moments), abs=1e-9)
    for each in found.auc:
        auc = theirs.cumulative_dynamic_auc(train, test, tested["score"], [each.time])[0][0]
        assert each.value == approx(auc, abs=1e-9)
    whole = metrics_of_run(run, SurvivalEvaluation(), n_bootstrap=50, seed=0)
    for own, part in zip(whole.risk_groups.groups, (tested["score"] <= 0, tested["score"] > 0), strict=True):
        assert (own.n, own.events) == (part.sum(), tested.loc[part, "event"].sum())
    tau = np.quantile(trained["time"], 0.8)
    assert whole.attention["uno_c"].value == approx(
        theirs.concordance_index_ipcw(train, test, tested["score"], tau=tau)[0], abs=1e-9
    )


def test_e1_a_run_in_whole_months_is_weighed_by_the_chance_before_each_event(tmp_path):
    trained = rows_of(7, 90, prefix="t", is_tied=True)
    tested = rows_of(8, 40, prefix="p", longest=trained["time"].max() - 1, is_tied=True)
    run = run_of(tmp_path, tested, facts=SURVIVAL, follow_up=trained)
    found = metrics_of_run(run, SurvivalEvaluation(), n_bootstrap=50, seed=0)
    known = trained["time"].to_numpy(), trained["event"].to_numpy()
    own = tested["score"].to_numpy(), tested["time"].to_numpy(), tested["event"].to_numpy()
    tau = np.quantile(known[0], 0.8)
    assert found.attention["uno_c"].value == approx(slow_uno_c(*own, tau, known), abs=1e-9)
    for each in found.over_time.auc:
        assert each.value == approx(slow_dynamic_auc(*own, each.time, known), abs=1e-9)
    for moment, mine, _ in found.over_time.brier[::6]:
        hazard = curves.baseline_hazard(trained["score"].to_numpy(), *known)(np.array([moment]))
        assert mine == approx(slow_brier(np.exp(-np.exp(own[0]) * hazard), *own[1:], moment, known), abs=1e-9)


def test_brier_scores_end_while_somebody_is_followed(tmp_path):
    """Follow-up cut at one moment: from then on nobody stands for those lost, and the score would fall to nothing."""
    trained, tested = rows_of(7, 150, prefix="t", longest=6.0), rows_of(8, 90, prefix="p", longest=6.0)
    run = run_of(tmp_path, tested, facts=SURVIVAL, follow_up=trained)
    assert np.quantile(trained["time"], 0.8) == 6.0
    brier = evaluate_over_time(run, plan_resampling(tested["event"].to_numpy(), 50, np.random.default_rng(0))).brier
    assert brier[-1][0] < 6.0
    train, test = (Surv.from_dataframe("event", "time", part.astype({"event": bool})) for part in (trained, tested))
    eta, time, event = (trained[name].to_numpy() for name in ("score", "time", "event"))
    slope = min(1.0, float(CoxPHFitter().fit(pd.DataFrame({"x": eta, "t": time, "e": event}), "t", "e").params_["x"]))
    hazard = curves.baseline_hazard(slope * eta, time, event)
    moment = np.array([brier[-1][0]])
    survival = np.exp(-np.exp(slope * tested["score"].to_numpy())[:, None] * hazard(moment))
    assert brier[-1][1] == approx(theirs.brier_score(train, test, survival, moment)[1][0], abs=1e-6)


def test_concordance_within_folds_needs_no_pair_in_every_repeat(tmp_path):
    first = rows_of(8, 60, prefix="p")
    alone = first.iloc[:1].assign(repeat=1)  # a part without any pair
    tables = (first, pd.concat([first, alone], ignore_index=True))
    runs = [run_of(tmp_path, rows, facts=SURVIVAL) for rows in tables]
    metrics = [metrics_of_run(run, SurvivalEvaluation(), n_bootstrap=50, seed=0) for run in runs]
    own, other = (each.attention["c_index_within_folds"].value for each in metrics)
    assert own == other is not None


def test_high_in_half_of_the_repeats_goes_by_the_mean_score():
    table = pd.DataFrame({"risk_group": [0.5, 0.5, 1.0, 0.0], "score": [0.3, -0.2, -1.0, 1.0]})
    assert group_of_patients(table).tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(("time", "text"), [(0.25, "0.25"), (2.4167, "2.42"), (60.0, "60"), (3456.7, "3457")])
def test_times_in_years_and_days_keep_their_digits(time, text):
    assert time_text(time) == text
