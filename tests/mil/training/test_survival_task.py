"""Survival as a task: targets, refusals, the loss of an epoch and of validation, scores and risk groups."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pytest import approx

from common.cohort import read_cohort
from common.failures import StudyError
from mil.heads.registry import make_head
from mil.runs.facts import ScaleFacts
from mil.runs.figure_names import COMPETING
from mil.tasks.survival import SURVIVAL
from mil.training.baseline import fit_cox
from mil.training.held_out.risk_scale import placed, scale_of, scaled_by_held_out
from mil.training.packed import predict
from mil.training.recipe.batches import stratified_batches
from mil.training.survival_task import SurvivalTargets, survival_rows
from mil.training.task import FoldRows
from mil.training.time_to_event.joint_models import held_out_risks
from mil.training.training_settings import TrainConfig
from splits.fold_plan import FoldPlan
from tests.helpers.efron import efron_loss
from tests.helpers.key_tile_bags import CONFIG, bag, inputs

TASK = SURVIVAL.training
TARGETS = SurvivalTargets(times={"a": 5.0, "b": 2.0, "c": 7.0, "d": 1.0}, events={"a": 1, "b": 0, "c": 1, "d": 0})


def cohort_of(folder, times, events):
    names = [f"p{number}" for number in range(len(times))]
    pd.DataFrame({"patient_id": names, "slide_id": names, "time": times, "event": events}).to_csv(
        folder / "cohort.csv", index=False
    )
    return read_cohort(folder / "cohort.csv")


def test_targets_are_of_patients_with_time_and_event_and_two_events_are_needed(tmp_path):
    targets, excluded = TASK.find_targets(cohort_of(tmp_path, [3, None, 4, 5], [1, None, 0, 1]))
    assert (targets.times, targets.events) == ({"p0": 3, "p2": 4, "p3": 5}, {"p0": 1, "p2": 0, "p3": 1})
    assert excluded == {"p1": "no time and event"}
    with pytest.raises(StudyError, match="needs two events or more, found 1 among 3 patients"):
        TASK.find_targets(cohort_of(tmp_path, [3, 4, 5], [1, 0, 0]))


def test_a_task_says_what_is_known_of_patients():
    assert (TASK.classes(TARGETS), TASK.n_outputs(TARGETS)) == ([], 1)
    times, events = TARGETS.of(["c", "b"])
    assert (times.tolist(), events.tolist()) == ([7.0, 2.0], [1, 0])
    assert TASK.known_of(TARGETS, ["c", "unknown", "b"])[:2] == [[7.0, 2.0], [1, 0]]
    counts = TASK.counts(TARGETS, ["a", "b", "c"])
    assert (counts.by_class, counts.n_events) == ({}, 2)
    outcome = TASK.audit_outcome(TARGETS, ["b", "a"])
    assert outcome.class_of == {"b": "censored", "a": "event"}
    assert outcome.is_so == {"the event": {"b": 0.0, "a": 1.0}}
    assert outcome.times == {"b": 2.0, "a": 5.0}
    assert TASK.strata(TARGETS) == TARGETS.events


def test_folds_and_runs_with_too_few_events_are_refused():
    assert TASK.check_usable(TARGETS, set("abc"), Path("t.csv")) is None
    with pytest.raises(StudyError, match=r"t\.csv: fewer than two events among the 3 patients with features"):
        TASK.check_usable(TARGETS, set("abd"), Path("t.csv"))
    plan = FoldPlan(repeat=1, fold=2, train=("a", "b"), val=(), test=("c",))
    assert TASK.check_plan(TARGETS, plan) is None
    with pytest.raises(StudyError, match="repeat 1, fold 2 has no event among its training patients"):
        TASK.check_plan(TARGETS, dataclasses.replace(plan, train=("b", "d")))


@pytest.fixture
def fold():
    rng = np.random.default_rng(0)
    patients = [f"p{number:02d}" for number in range(30)]
    bags = {patient: bag(patient, rng.normal(size=(6, 12))) for patient in patients}
    targets = SurvivalTargets(
        times={patient: float(rng.integers(1, 40)) for patient in patients},
        events={patient: int(number % 3 == 0) for number, patient in enumerate(patients)},
    )
    config = dataclasses.replace(CONFIG, dropout=0.0, risk_set_patients=8)
    return inputs(bags, patients[:24], patients[24:], targets, config)


def new_head():
    torch.manual_seed(0)
    return make_head(CONFIG.head, dataclasses.replace(CONFIG, dropout=0.0), n_inputs=12, n_outputs=1)


def total(fold, head, patients):
    times, events = fold.targets.of(patients)
    return efron_loss(predict(head, fold.read, patients)[:, 0], times, events) * events.sum()


def test_the_loss_of_validation_is_what_its_patients_add_to_the_likelihood(fold):
    head = new_head()
    both = [*fold.train, *fold.val]
    wanted = (total(fold, head, both) - total(fold, head, fold.train)) / 6
    assert TASK.validation_loss(head, fold) == approx(wanted, rel=1e-6)
    alone = dataclasses.replace(fold, train=(), val=fold.train)
    assert TASK.validation_loss(head, alone) == approx(total(fold, head, fold.train) / 24, rel=1e-6)


def test_an_epoch_returns_the_mean_loss_an_event_of_its_batches(fold):
    head = new_head()
    still = torch.optim.SGD(head.parameters(), lr=0.0)
    found = TASK.train_epoch(head.train(), still, fold, np.random.default_rng(3))
    batches = stratified_batches(fold.train, fold.targets.events, 8, np.random.default_rng(3))
    assert len(batches) == 3
    wanted = sum(total(fold, head, batch) for batch in batches) / 8  # events among 24
    assert found == approx(wanted, rel=1e-4)
    exact = dataclasses.replace(fold, config=dataclasses.replace(fold.config, risk_set_patients=0))
    assert TASK.train_epoch(head.train(), still, exact, np.random.default_rng(0)) == approx(
        total(fold, head, fold.train) / 8, rel=1e-4
    )


@pytest.mark.parametrize("risk_set", [0, 8])
def test_epochs_lower_the_loss_and_risks_without_measure_are_told(fold, risk_set):
    head = new_head()
    own = dataclasses.replace(fold, config=dataclasses.replace(fold.config, risk_set_patients=risk_set))
    optimiser = torch.optim.SGD(head.parameters(), lr=0.1)
    losses = [TASK.train_epoch(head.train(), optimiser, own, np.random.default_rng(epoch)) for epoch in range(30)]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    with torch.no_grad():
        for weights in head.parameters():
            weights.fill_(float("inf"))
    assert np.isnan(TASK.train_epoch(head.train(), optimiser, own, np.random.default_rng(0)))
    assert np.isnan(TASK.validation_loss(head, own))


def test_a_step_is_never_longer_than_the_limit(fold, monkeypatch):
    norms = []
    own = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(
        torch.nn.utils, "clip_grad_norm_", lambda parameters, most: norms.append(most) or own(parameters, most)
    )
    head = new_head()
    TASK.train_epoch(head.train(), torch.optim.SGD(head.parameters(), lr=0.0), fold, np.random.default_rng(0))
    assert norms == [5.0] * 3


def test_scores_are_put_on_the_scale_of_training_patients(fold):
    head = new_head()
    plan = FoldPlan(repeat=1, fold=2, train=tuple(fold.train), val=tuple(fold.val[:2]), test=tuple(fold.val[2:]))
    found = TASK.predict_fold(head, fold.read, plan, fold.targets)
    risks = predict(head, fold.read, plan.train)[:, 0]
    assert (found.scale.mean, found.scale.sd, *found.scale.cutoffs) == approx(
        (risks.mean(), risks.std(), np.median(risks))
    )
    assert found.n_train_events == 8
    for rows, patients in ((found.predictions, plan.test), (found.validation, plan.val), (found.training, plan.train)):
        assert [row["patient_id"] for row in rows] == list(patients)
        for row in rows:
            risk = predict(head, fold.read, [row["patient_id"]])[0, 0]
            assert row["log_hazard"] == approx(risk, abs=1e-6)
            assert row["score"] == approx((risk - risks.mean()) / risks.std(), abs=1e-4)
            assert row["risk_group"] == int(risk > np.median(risks))
            assert (row["time"], row["event"]) == (
                fold.targets.times[row["patient_id"]],
                fold.targets.events[row["patient_id"]],
            )
            assert (row["repeat"], row["fold"], row["model"]) == (1, 2, "attention")


def test_the_baseline_has_a_scale_of_its_own(fold):
    plan = FoldPlan(repeat=0, fold=0, train=tuple(fold.train), val=(), test=tuple(fold.val))
    train, test = (
        np.stack([fold.read(p).tiles.mean(axis=0, dtype=float) for p in part]) for part in (plan.train, plan.test)
    )
    rows = TASK.baseline_rows(plan, fold.targets, {"mean_pool": (train, test)})
    cox = fit_cox(train, *fold.targets.of(plan.train))
    held = np.array(list(held_out_risks(train, plan, fold.targets).values())) + cox.log_hazard(train).mean()
    assert len(held) == len(plan.train)
    for row, risk in zip(rows, cox.log_hazard(test), strict=True):
        assert (row["model"], row["log_hazard"]) == ("mean_pool", approx(risk))
        assert row["score"] == approx((risk - held.mean()) / held.std())


def test_a_risk_at_the_cut_off_is_low_and_a_scale_without_spread_divides_by_nothing():
    scale = scale_of(np.array([1.0, 2.0, 6.0]), "median")
    assert scale == {"mean": 3.0, "sd": approx(np.std([1, 2, 6])), "cutoffs": (2.0,)}
    assert [placed(risk, scale)["risk_group"] for risk in (1.9, 2.0, 2.1)] == [0, 0, 1]
    assert placed(6.0, scale)["score"] == approx(3 / np.std([1, 2, 6]))
    assert scale_of(np.array([4.0, 4.0]), "median")["sd"] == 1e-9


def rows_of(patients, risks):
    plan = FoldPlan(repeat=0, fold=0, train=(), val=(), test=())
    return survival_rows(
        plan,
        patients,
        TARGETS,
        np.array(risks, dtype=float),
        model="attention",
        scale=scale_of(np.array([0.0, 1.0]), "median"),
    )


def test_risks_of_inner_models_are_moved_to_the_level_of_the_folds_model():
    parts = [
        FoldRows(predictions=[], validation=rows_of(["a"], [5.0]), scale=ScaleFacts(mean=4.0, sd=1.0, cutoffs=(0.0,))),
        FoldRows(predictions=[], validation=rows_of(["b"], [1.0]), scale=ScaleFacts(mean=-2.0, sd=1.0, cutoffs=(0.0,))),
    ]
    rows = FoldRows(
        predictions=rows_of(["d"], [14.0]), validation=[row for part in parts for row in part.validation],
        training=rows_of(["a", "b", "c"], [9.0, 9.0, 12.0]), scale=ScaleFacts(mean=10.0, sd=1.0, cutoffs=(0.0,)),
    )  # fmt: skip
    found = scaled_by_held_out(rows, parts, "median")
    assert [row["log_hazard"] for row in found.training] == [11.0, 13.0, 12.0]  # c was never held out
    assert [row["log_hazard"] for row in found.validation] == [11.0, 13.0]
    assert found.scale == ScaleFacts(mean=12.0, sd=1.0, cutoffs=(12.0,))
    assert [(row["score"], row["risk_group"]) for row in found.predictions] == [(2.0, 1)]
    assert [(row["score"], row["risk_group"]) for row in found.training] == [(-1.0, 0), (1.0, 1), (0.0, 0)]


def test_settings_choose_columns_and_loss():
    cox = TASK.with_settings(
        TrainConfig(task="survival", loss="cox", endpoint="m/t", entry="e", case_weights="w", competing="c")
    )
    assert cox.columns == (*TASK.columns, "m", "t", "e", "w", "c")
    assert (cox.n_intervals, cox.learning_rate_factor) == (0, TASK.learning_rate_factor)
    hazard = TASK.with_settings(TrainConfig(task="survival", loss="logistic_hazard", intervals=7))
    assert (hazard.columns, hazard.n_intervals, hazard.learning_rate_factor) == (TASK.columns, 7, 1.0)


@pytest.mark.parametrize(
    ("strata", "has_subtype", "wanted"),
    [("", True, "subtype"), ("", False, ""), ("sex", True, "sex"), ("sex", False, "sex")],
)
def test_groups_of_patients_stand_under_the_column_they_are_of(tmp_path, strata, has_subtype, wanted):
    cohort = cohort_of(tmp_path, [3, 4], [1, 0])
    cohort = dataclasses.replace(cohort, columns=(*cohort.columns, *(["subtype"] if has_subtype else [])))
    targets = dataclasses.replace(TARGETS, groups={"a": "x"})
    task = TASK.with_settings(TrainConfig(task="survival", strata=strata))
    assert task.patient_columns(cohort, targets) == ({wanted: {"a": "x"}} if wanted else {})
    other = dataclasses.replace(targets, competing={"b": 1})
    assert task.patient_columns(cohort, other) == ({wanted: {"a": "x"}} if wanted else {}) | {COMPETING: {"b": 1}}
