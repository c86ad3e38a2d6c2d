"""What slides add: noise adds nothing, planted signal is found, in-sample scores inflate, and subtypes alone are seen as such."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pytest import approx
from scipy.stats import kstest

from mil.evaluation.survival_parts.added_value import added_value, inside_groups
from mil.evaluation.survival_parts.clinical_inputs import ClinicalInputs
from mil.metrics.bootstrap import intervals, plan_resampling, resample
from mil.metrics.concordance import c_index, concordances
from mil.survival.risk_sets import risk_sets
from mil.tasks.registry import TASKS
from mil.training.baseline import fit_cox_of
from mil.training.held_out.inner_folds import inner_folds
from mil.training.time_to_event.joint_models import fit_linear_cox, held_out_risks, joint_log_hazards
from mil.training.time_to_event.survival_targets import SurvivalTargets
from splits.fold_plan import FoldPlan
from tests.helpers.survival_runs import subtype_alone_run


def cohort(seed, n=150, effect=0.0):
    """Two clinical covariates, one of which tells the hazard; an image score that tells `effect` of it."""
    rng = np.random.default_rng(seed)
    clinic, image = rng.normal(size=(n, 2)), rng.normal(size=n)
    to_event = rng.exponential(np.exp(-0.7 * clinic[:, 0] - effect * image))
    to_end = rng.uniform(0.2, 3, n)
    return clinic, image, np.minimum(to_event, to_end), (to_event <= to_end).astype(int)


def ratio_p(image, clinic, time, event):
    names = ("a", "b")[: clinic.shape[1]]
    return added_value(
        ClinicalInputs(("score",), image[:, None]), ClinicalInputs(names, clinic), risk_sets(time, event), time
    )[2].p


@pytest.mark.slow
def test_p_of_a_score_of_noise_is_uniform():
    p = [ratio_p(image, *rest) for clinic, image, *own in map(cohort, range(200)) for rest in [(clinic, *own)]]
    assert kstest(p, "uniform").pvalue > 0.01


def out_of_fold(seed, effect=0.0, n_folds=5):
    """Return clinical and joint log-hazards of all patients, each by models of the other folds."""
    clinic, image, time, event = cohort(seed, effect=effect)
    names = [f"p{index:03d}" for index in range(len(time))]
    targets = SurvivalTargets(
        times=dict(zip(names, map(float, time), strict=True)), events=dict(zip(names, map(int, event), strict=True))
    )
    alone, both = np.empty(len(time)), np.empty(len(time))
    for fold in range(n_folds):
        test = np.arange(fold, len(time), n_folds)
        train = np.setdiff1d(np.arange(len(time)), test)
        plan = FoldPlan(
            repeat=0, fold=fold, train=tuple(names[i] for i in train), val=(), test=tuple(names[i] for i in test)
        )
        held = dict(zip(plan.train, map(float, image[train]), strict=True))
        inputs = clinic[train], clinic[test]
        alone[test] = fit_linear_cox(inputs[0], plan.train, targets).log_hazard(inputs[1])
        both[test] = joint_log_hazards(inputs, (held, image[test]), plan, targets)[1]
    return alone, both, time, event


def difference(seed, effect):
    alone, both, time, event = out_of_fold(seed, effect)
    plan = plan_resampling(event, 200, np.random.default_rng(seed))
    samples = [
        resample(lambda weights, risk=risk: {"c": concordances(risk, time, event, weights)}, plan)
        for risk in (both, alone)
    ]
    return intervals(samples[0].minus(samples[1]))["c"]


@pytest.mark.slow
def test_interval_of_the_difference_covers_0_for_noise_and_not_for_signal():
    found = [difference(seed, 0.0) for seed in range(40)]
    assert np.mean([own.low <= 0 <= own.high for own in found]) >= 0.9
    planted = [difference(seed, 0.9) for seed in range(6)]
    assert np.mean([own.low > 0 for own in planted]) >= 0.9


def test_planted_signal_is_found_by_the_likelihood_ratio():
    found = []
    for seed in range(10):
        clinic, image, time, event = cohort(seed, effect=0.7)
        found.append(ratio_p(image, clinic, time, event))
    assert np.mean(np.array(found) < 0.01) >= 0.9


def test_scores_in_sample_inflate_and_held_out_ones_do_not():
    """A linear model of 40 numbers that know nothing of the outcome: the p of its own training patients is next to 0."""
    in_sample, held_out = [], []
    for seed in range(25):
        clinic, _, time, event = cohort(seed)
        noise = np.random.default_rng([seed, 1]).normal(size=(len(time), 40))
        names = [f"p{index:03d}" for index in range(len(time))]
        targets = SurvivalTargets(
            times=dict(zip(names, map(float, time), strict=True)), events=dict(zip(names, map(int, event), strict=True))
        )
        plan = FoldPlan(repeat=0, fold=0, train=tuple(names), val=(), test=())
        in_sample.append(ratio_p(fit_cox_of(noise, risk_sets(time, event)).log_hazard(noise), clinic, time, event))
        risks = held_out_risks(noise, plan, targets)
        assert risks.keys() == {patient for inner in inner_folds(plan, targets.events, 3, 0) for patient in inner.val}
        held_out.append(ratio_p(np.array([risks[name] for name in names]), clinic, time, event))
    assert max(in_sample) < 0.01
    assert np.mean(np.array(held_out) < 0.05) <= 0.2


def test_a_risk_that_is_the_subtypes_alone_is_seen_as_such(tmp_path):
    run = subtype_alone_run(tmp_path)
    rows = run.predictions
    plain = c_index(rows["score"].to_numpy(), rows["time"].to_numpy(), rows["event"].to_numpy())
    plan = plan_resampling(rows["event"].to_numpy(), 300, np.random.default_rng(0))
    inside = inside_groups(run, ["attention"], plan)
    assert plain > 0.68
    assert inside.c_index["attention"].value == approx(0.5, abs=0.06)
    assert inside.c_index["attention"].low < 0.5 < inside.c_index["attention"].high
    assert (inside.column, inside.groups) == ("subtype", {"DDLPS": 80, "LMS": 80, "UPS": 80})


def test_hazard_ratios_stand_in_a_table_and_what_never_varies_is_left_out(tmp_path):
    metrics = TASKS["survival"].evaluation
    run = subtype_alone_run(tmp_path)
    plan = metrics.resampling_plan(run, n_bootstrap=100, seed=0)
    parts = metrics._parts(
        run, metrics.resampled_metrics(run, "attention", plan), plan, (np.arange(240) < 120).astype(int)
    )
    names = [row.name for row in parts.adjusted.rows]
    assert names == ["image score, a standard deviation", "age, a standard deviation"]
    assert parts.alone.rows[0].low > 1
    assert parts.alone.events_per_input == 2 * parts.adjusted.events_per_input
    assert parts.likelihood_ratio.p < 1e-6
    assert parts.models == {}
    assert parts.calibration == ()
    assert parts.follow_up.value > 0


def test_groups_that_are_not_known_give_nothing(tmp_path):
    run = subtype_alone_run(tmp_path)
    plan = plan_resampling(run.predictions["event"].to_numpy(), 100, np.random.default_rng(0))
    alone = replace(run, patients=run.patients.drop(columns="subtype"))
    assert inside_groups(alone, ["attention"], plan) is None
    assert inside_groups(replace(run, patients=run.patients.assign(subtype="LMS")), ["attention"], plan) is None


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_model_that_lacks_a_fold_has_no_figures(tmp_path, is_whole):
    metrics = TASKS["survival"].evaluation
    run = subtype_alone_run(tmp_path)
    further = run.predictions.assign(model="joint")
    further = further if is_whole else further[further["fold"] == 0]
    run = replace(run, predictions=pd.concat([run.predictions, further], ignore_index=True))
    plan = metrics.resampling_plan(run, n_bootstrap=100, seed=0)
    parts = metrics._parts(
        run, metrics.resampled_metrics(run, "attention", plan), plan, (np.arange(240) < 120).astype(int)
    )
    assert set(parts.models) == ({"joint"} if is_whole else set())


def test_with_a_handful_of_events_and_more_inputs_than_these_no_ratio_runs_away():
    """Ten patients, three events, four inputs: whatever is told is finite, what the events leave free is None."""
    free = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        event = np.zeros(10, int)
        event[rng.choice(10, 3, replace=False)] = 1
        time = rng.exponential(20, 10).round() + 1
        image, clinic = (
            ClinicalInputs(("score",), rng.normal(size=(10, 1))),
            ClinicalInputs(
                ("age", "sex", "grade"),
                np.column_stack([rng.normal(size=10), rng.integers(0, 2, 10), rng.normal(size=10)]),
            ),
        )
        with np.errstate(over="raise"):
            alone, both, _ = added_value(image, clinic, risk_sets(time, event), time)
        for row in (*alone.rows, *both.rows):
            told = [row.value, row.low, row.high]
            assert all(each is None for each in told) or all(np.isfinite(told)), (seed, row)
            free += told[0] is None
    assert free
