"""Predictions of training patients by models that never saw them; no test patient is seen."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.failures import StudyError
from mil.tasks.subtype import SUBTYPE
from mil.tasks.survival import SURVIVAL
from mil.training import fitting
from mil.training.held_out import cross_fitting
from mil.training.held_out.cross_fitting import cross_fit
from mil.training.held_out.inner_folds import inner_folds
from mil.training.survival_task import SurvivalTargets
from mil.training.task import FoldRows
from splits.fold_plan import FoldPlan
from tests.helpers.key_tile_bags import CONFIG, classes_of, inputs, key_tile_bags

FAST = dataclasses.replace(CONFIG, epochs=4, cross_fit=3)


def plan_of(patients, n_test=6):
    return FoldPlan(repeat=0, fold=1, train=tuple(patients[n_test:]), val=(), test=tuple(patients[:n_test]))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(2, 6), st.integers(0, 9))
def test_inner_folds_hold_everybody_out_once_and_leave_every_stratum(labels, n_folds, seed):
    strata = {f"p{index:02d}": label for index, label in enumerate(labels)}
    plan = FoldPlan(repeat=1, fold=2, train=tuple(sorted(strata)), val=(), test=("t",))
    plans = inner_folds(plan, strata, n_folds, seed)
    alone = {patient for patient, label in strata.items() if labels.count(label) == 1}
    held = [patient for inner in plans for patient in inner.val]
    assert len(held) == len(set(held))
    if plans:
        assert set(held) == set(strata) - alone
    for inner in plans:
        assert not inner.test
        assert set(inner.train) | set(inner.val) == set(strata)
        assert not set(inner.train) & set(inner.val)
        assert {strata[patient] for patient in inner.train} == set(labels)
    assert inner_folds(plan, strata, n_folds, seed) == plans


def test_inner_models_train_as_long_as_the_folds_own_on_half_as_many_tiles(monkeypatch):
    bags, labels, _ = key_tile_bags(30)
    plan, seen, own = plan_of(sorted(bags)), [], fitting.fit

    def noted(task, fold, **more):
        seen.append((fold.config.max_tiles, fold.config.epochs))
        return own(task, fold, **more)

    monkeypatch.setattr(cross_fitting, "fit", noted)
    for most in (20, 1):
        config = dataclasses.replace(FAST, epochs=3, max_tiles=most)
        fold = inputs(bags, list(plan.train), [], classes_of(labels), config)
        cross_fit(SUBTYPE.training, plan, fold, FoldRows(predictions=[], validation=[]))
    assert seen == 3 * [(10, 3)] + 3 * [(1, 3)]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=4, max_size=40), st.integers(2, 5))
def test_t14_slides_of_a_patient_are_held_out_together(slides, n_folds):
    strata = {f"s{index:02d}": label for index, (_, label) in enumerate(slides)}
    owners = {f"s{index:02d}": f"p{patient}" for index, (patient, _) in enumerate(slides)}
    plan = FoldPlan(repeat=0, fold=0, train=tuple(sorted(strata)), val=(), test=())
    for inner in inner_folds(plan, strata, n_folds, 3, owners):
        assert inner.val
        assert not {owners[slide] for slide in inner.train} & {owners[slide] for slide in inner.val}
        assert set(inner.train) | set(inner.val) == set(strata)


def test_every_training_patient_is_predicted_by_a_model_that_never_saw_it(monkeypatch):
    bags, labels, _ = key_tile_bags(30)
    plan = plan_of(sorted(bags))
    seen, own = [], fitting.fit

    def spy(task, fold, *, seed):
        seen.append(set(fold.train))
        return own(task, fold, seed=seed)

    monkeypatch.setattr(cross_fitting, "fit", spy)
    fold = inputs(bags, plan.train, (), classes_of(labels), FAST)
    rows = SUBTYPE.training.predict_fold(own(SUBTYPE.training, fold, seed=[0]).head, fold.read, plan, fold.targets)
    crossed = cross_fit(SUBTYPE.training, plan, fold, rows)
    assert crossed.n_inner_folds == 3
    assert sorted(row["patient_id"] for row in crossed.rows.validation) == sorted(plan.train)
    assert not set().union(*seen) & set(plan.test)
    assert sorted(len(set(plan.train) - each) for each in seen) == [8, 8, 8]
    assert crossed.rows.predictions == rows.predictions
    assert cross_fit(SUBTYPE.training, plan, fold, rows) == crossed


def test_with_an_inner_validation_part_or_none_wanted_nothing_is_added():
    bags, labels, _ = key_tile_bags(30)
    plan = plan_of(sorted(bags))
    for val, config in ((plan.train[:5], FAST), ((), replace(FAST, cross_fit=0))):
        fold = inputs(bags, plan.train[5:], val, classes_of(labels), config)
        rows = FoldRows(predictions=[], validation=[])
        crossed = cross_fit(SUBTYPE.training, plan, fold, rows)
        assert (crossed.rows, crossed.n_inner_folds) == (rows, 0)


def test_scale_cut_off_and_training_risks_are_those_of_held_out_patients():
    """Overfitted on noise: the model's own training risks spread far, and out of fold they do not."""
    rng = np.random.default_rng(0)
    bags, _, _ = key_tile_bags(40)
    patients = sorted(bags)
    times = {patient: float(rng.integers(1, 60)) for patient in patients}
    targets = SurvivalTargets(times=times, events={patient: int(rng.random() < 0.6) for patient in patients})
    plan = plan_of(patients)
    fold = inputs(bags, plan.train, (), targets, dataclasses.replace(FAST, epochs=60, learning_rate=3e-2))
    rows = SURVIVAL.training.predict_fold(fitting.fit(SURVIVAL.training, fold, seed=[0]).head, fold.read, plan, targets)
    held = cross_fit(SURVIVAL.training, plan, fold, rows).rows
    risks = np.array([row["log_hazard"] for row in held.training])
    assert held.scale.sd == pytest.approx(risks.std())
    assert held.scale.cutoffs[0] == pytest.approx(np.median(risks))
    assert held.scale.mean == pytest.approx(risks.mean())
    assert held.scale.sd < 0.8 * rows.scale.sd
    assert [row["log_hazard"] for row in held.predictions] == [row["log_hazard"] for row in rows.predictions]
    for row in (*held.predictions, *held.validation, *held.training):
        assert row["score"] == pytest.approx((row["log_hazard"] - held.scale.mean) / held.scale.sd)
        assert row["risk_group"] == int(row["log_hazard"] > held.scale.cutoffs[0])
    assert {row["patient_id"]: row["log_hazard"] for row in held.validation} == {
        row["patient_id"]: row["log_hazard"] for row in held.training
    }


def test_an_inner_fold_in_which_nothing_can_be_learnt_says_how_to_do_without():
    """Two events at one time and no one beyond: every order of them is as good as another."""
    bags, _, _ = key_tile_bags(6)
    patients = sorted(bags)
    times = dict(zip(patients, (9.0, 9.0, 3.0, 9.0, 2.0, 9.0), strict=True))
    targets = SurvivalTargets(times=times, events=dict.fromkeys(patients, 1) | {patients[2]: 0, patients[4]: 0})
    config = replace(FAST, cross_fit=2)
    plan = FoldPlan(repeat=0, fold=0, train=tuple(patients), val=(), test=())
    fold = inputs(bags, patients, (), targets, config)
    with pytest.raises(StudyError, match=r"inner fold 0 of 2.*learnt nothing.*is trained with --cross_fit 0"):
        cross_fit(SURVIVAL.training, plan, fold, FoldRows(predictions=[], validation=[]))
