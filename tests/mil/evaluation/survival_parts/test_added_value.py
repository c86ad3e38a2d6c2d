"""What slides add: noise adds nothing, planted signal is found, in-sample scores inflate, and subtypes alone are seen as such."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pytest import approx
from scipy.stats import kstest

from mil.evaluation.survival_parts.added_value import added_value, cox_tables, inside_groups
from mil.evaluation.survival_parts.clinical_inputs import ClinicalInputs, clinical_inputs
from mil.metrics.bootstrap import intervals, plan_resampling, resample
from mil.metrics.concordance import c_index, concordances
from mil.survival.cox_regression import cox_regression
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
    for alike in ("LMS", ""):
        assert inside_groups(replace(run, patients=run.patients.assign(subtype=alike)), ["attention"], plan) is None


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


def test_clinical_inputs_are_in_standard_deviations_and_against_the_commonest_level(tmp_path):
    run = subtype_alone_run(tmp_path, n=6)
    table = pd.DataFrame(
        {
            "patient_id": [f"p{k:03d}" for k in range(6)], "age": ["50", "", "60", "70", "x", "80"],
            "grade": ["low", "high", "high", "", "low", "mid"], "flat": ["m"] * 6, "none": [""] * 6, "unused": list("abcdef"),
            "still": [3.0, 3.0, np.nan, 3.0, 3.0, 3.0],
        }
    )  # fmt: skip
    folds = tuple(replace(fold, covariate_medians={"age": 60.0, "still": 3.0}) for fold in run.facts.folds)
    covariates = replace(run.facts.covariates, used=("age", "grade", "flat", "none", "still", "gone"))
    run = replace(run, patients=table, facts=replace(run.facts, folds=folds, covariates=covariates))
    found = clinical_inputs(run, pd.Index([f"p{k:03d}" for k in (5, 4, 3, 2, 1, 0)]))
    ages = np.array([50.0, 60.0, 70.0, 80.0])
    sd = ages.std()
    wanted = {
        "age, a standard deviation": [15 / sd, 0, 5 / sd, -5 / sd, 0, -15 / sd], "age is missing": [0, 1, 0, 0, 1, 0],
        "grade: low (against high)": [0, 1, 0, 0, 0, 1], "grade: mid (against high)": [1, 0, 0, 0, 0, 0],
        "grade is missing": [0, 0, 1, 0, 0, 0], "still is missing": [0, 0, 0, 1, 0, 0],
    }  # fmt: skip
    assert found.names == tuple(wanted)
    assert approx(np.array(list(wanted.values()))) == found.values.T


def test_a_table_has_walds_limits_and_none_beyond_what_is_told():
    clinic, image, time, event = cohort(3)
    sets = risk_sets(time, event)
    alone, both, _ = added_value(
        ClinicalInputs(("score",), image[:, None]), ClinicalInputs(("a", "b"), clinic), sets, time
    )
    fitted = cox_regression(np.column_stack([image, clinic]), sets)
    for k, row in enumerate(both.rows):
        half = 1.959963984540054 * fitted.standard_errors[k]
        middle = fitted.coefficients[k]
        assert (row.value, row.low, row.high) == approx(tuple(np.exp([middle, middle - half, middle + half])))
        assert row.p == approx(fitted.wald_p()[k])
        assert 0 <= row.proportional_p <= 1
    assert (alone.n, alone.events, alone.events_per_input) == (len(time), event.sum(), event.sum())
    assert both.events_per_input == approx(event.sum() / 3)
    assert added_value(ClinicalInputs(("score",), image[:, None]), ClinicalInputs((), clinic[:, :0]), sets, time)[
        1:
    ] == (None, None)
    for scale, is_told in ((5e-3, True), (1e-3, False)):  # the logarithm of a ratio, and its limits, beyond 50
        row = added_value(
            ClinicalInputs(("score",), scale * image[:, None]), ClinicalInputs((), clinic[:, :0]), sets, time
        )[0].rows[0]
        assert (row.value is not None) == is_told


def test_scores_are_told_in_standard_deviations(tmp_path):
    run = subtype_alone_run(tmp_path)
    alone = cox_tables(run)[0].rows[0]
    rows = run.predictions.sort_values("patient_id")
    score = ((rows["score"] - rows["score"].mean()) / rows["score"].std(ddof=0)).to_numpy()
    fitted = cox_regression(score[:, None], risk_sets(rows["time"].to_numpy(), rows["event"].to_numpy()))
    assert alone.value == approx(np.exp(fitted.coefficients[0]))
    flat = replace(run, predictions=run.predictions.assign(score=1.0))
    assert cox_tables(flat) == (None, None, None)
    for n_events in (1, 2):
        event = (np.arange(len(run.predictions)) < n_events).astype(int)
        found = cox_tables(replace(run, predictions=run.predictions.assign(event=event)))
        assert (found[0] is None) == (n_events == 1)


def test_pairs_inside_groups_are_of_patients_whose_group_is_known(tmp_path):
    run = subtype_alone_run(tmp_path)
    run.patients.loc[:9, "subtype"] = ""
    plan = plan_resampling(run.predictions["event"].to_numpy(), 50, np.random.default_rng(0))
    found = inside_groups(run, ["attention"], plan)
    assert (found.n, found.groups) == (230, {"DDLPS": 76, "LMS": 77, "UPS": 77})
    rows = run.predictions.merge(run.patients, on="patient_id")
    above = pairs = 0.0
    for _, own in rows[rows["subtype"] != ""].groupby("subtype"):
        time, event, score = (own[name].to_numpy() for name in ("time", "event", "score"))
        for i in np.flatnonzero(event):
            later = time > time[i]
            pairs += later.sum()
            above += (score[i] > score[later]).sum() + 0.5 * (score[i] == score[later]).sum()
    assert found.c_index["attention"].value == approx(above / pairs)
    facts = replace(run.facts, settings={"strata": "sex"})
    assert inside_groups(replace(run, facts=facts), ["attention"], plan) is None  # all alike
    other = replace(run, facts=facts, patients=run.patients.assign(sex=["m", "f"] * 120))
    assert inside_groups(other, ["attention"], plan).groups == {"f": 120, "m": 120}
