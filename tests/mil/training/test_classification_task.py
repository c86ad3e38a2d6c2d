"""Classes as a task: targets, refusals, what an epoch and a loss weigh, and the rows of a fold."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pytest import approx
from sklearn.utils.class_weight import compute_class_weight

from common.cohort import read_cohort
from common.failures import StudyError
from mil.heads.registry import make_head
from mil.tasks.subtype import SUBTYPE
from mil.training.classification_task import ClassTargets, class_weights, softmax
from mil.training.packed import predict
from splits.fold_plan import FoldPlan
from tests.helpers.key_tile_bags import CONFIG, classes_of, inputs, key_tile_bags

TASK = SUBTYPE.training
TARGETS = ClassTargets(labels={"a": 0, "b": 1, "c": 1, "d": 2, "e": 1}, classes=["x", "y", "z"])


def cohort_of(folder, subtypes):
    names = [f"p{number}" for number in range(len(subtypes))]
    pd.DataFrame({"patient_id": names, "slide_id": names, "subtype": subtypes}).to_csv(
        folder / "cohort.csv", index=False
    )
    return read_cohort(folder / "cohort.csv")


def test_targets_are_the_sorted_classes_of_the_patients_that_have_one(tmp_path):
    targets, excluded = TASK.find_targets(cohort_of(tmp_path, ["y", None, "x", "y", None]))
    assert (targets.labels, list(targets.classes)) == ({"p0": 1, "p2": 0, "p3": 1}, ["x", "y"])
    assert list(excluded.items()) == [("p1", "no subtype"), ("p4", "no subtype")]
    for subtypes, named in ((["x", "x", None], "x"), ([None, None, ""], "none")):
        with pytest.raises(StudyError, match=f"needs two classes or more, found {named}"):
            TASK.find_targets(cohort_of(tmp_path, subtypes))


def test_a_task_says_what_is_known_of_patients():
    assert TASK.classes(TARGETS) == ["x", "y", "z"]
    assert TASK.n_outputs(TARGETS) == 3
    assert TASK.known_of(TARGETS, ["d", "unknown", "a"]) == [[2, 0], [], []]
    counts = TASK.counts(TARGETS, ["a", "b", "c"])
    assert (counts.by_class, counts.n_events) == ({"x": 1, "y": 2, "z": 0}, 0)
    outcome = TASK.audit_outcome(TARGETS, ["d", "a", "b"])
    assert outcome.class_of == {"d": "z", "a": "x", "b": "y"}
    assert outcome.is_so == {
        "x": {"d": 0, "a": 1, "b": 0},
        "y": {"d": 0, "a": 0, "b": 1},
        "z": {"d": 1, "a": 0, "b": 0},
    }
    assert TASK.prediction_columns(TARGETS)[4:] == ["truth", "p_x", "p_y", "p_z"]


def test_folds_and_runs_without_a_class_are_refused_by_name():
    assert TASK.check_usable(TARGETS, set("abd"), Path("t.csv")) is None
    with pytest.raises(StudyError, match=r"t\.csv: a subtype has no patient with features"):
        TASK.check_usable(TARGETS, set("abc"), Path("t.csv"))
    plan = FoldPlan(repeat=1, fold=2, train=("a", "b", "d"), val=(), test=("c",))
    assert TASK.check_plan(TARGETS, plan) is None
    with pytest.raises(StudyError, match="repeat 1, fold 2 has no training patient of x, z; make splits"):
        TASK.check_plan(TARGETS, dataclasses.replace(plan, train=("b", "c")))


def test_class_weights_are_scikit_learns_and_an_absent_class_is_refused():
    labels = np.array([0, 1, 1, 2, 1, 0])
    assert class_weights(labels, 3) == approx(compute_class_weight("balanced", classes=np.arange(3), y=labels))
    with pytest.raises(ValueError, match="class number 2 has no training patient"):
        class_weights(labels[labels < 2], 3)


def test_logits_of_any_size_are_probabilities():
    outputs = np.array([[0.0, 1.0], [1000.0, 0.0], [-1000.0, -1001.0]])
    wanted = torch.softmax(torch.from_numpy(outputs), 1).numpy()
    assert softmax(outputs) == approx(wanted)
    assert softmax(np.empty((0, 3))).shape == (0, 3)


@pytest.fixture
def fold():
    bags, labels, _ = key_tile_bags(18)
    patients = sorted(bags)
    labels = {patient: 0 if at < 9 else labels[patient] for at, patient in enumerate(patients)}  # not even
    config = dataclasses.replace(CONFIG, dropout=0.0, label_smoothing=0.2, batch_patients=4)
    return inputs(bags, patients[:12], patients[12:], classes_of(labels), config)


def new_head():
    torch.manual_seed(0)
    return make_head(CONFIG.head, dataclasses.replace(CONFIG, dropout=0.0), n_inputs=12, n_outputs=3)


def slow_loss(head, fold, patients, weights, smoothing):
    """Return each patient's weight and smoothed cross-entropy, one by one."""
    rows = []
    for patient in patients:
        p = softmax(predict(head, fold.read, [patient]))[0]
        label = fold.targets.labels[patient]
        target = np.full(3, smoothing / 3)
        target[label] += 1 - smoothing
        rows.append((weights[label], -(target * np.log(p)).sum()))
    return np.array(rows)


def test_the_loss_of_validation_weighs_classes_as_in_training_and_is_not_smoothed(fold):
    head = new_head()
    for train in (fold.train, ()):
        own = dataclasses.replace(fold, train=train)
        labels = fold.targets.of(train or fold.val)
        weights = len(labels) / (3 * np.bincount(labels, minlength=3))
        rows = slow_loss(head, own, fold.val, weights, 0.0)
        assert TASK.validation_loss(head, own) == approx((rows[:, 0] * rows[:, 1]).sum() / rows[:, 0].sum(), rel=1e-5)


def test_an_epoch_takes_everybody_once_and_returns_the_weighted_smoothed_loss(fold):
    head = new_head()
    weights = class_weights(fold.targets.of(fold.train), 3)
    rows = slow_loss(head, fold, fold.train, weights, 0.2)
    still = torch.optim.SGD(head.parameters(), lr=0.0)
    found = TASK.train_epoch(head.train(), still, fold, np.random.default_rng(0))
    assert found == approx((rows[:, 0] * rows[:, 1]).mean(), rel=1e-4)
    before = [weights.detach().clone() for weights in head.parameters()]
    moving = torch.optim.SGD(head.parameters(), lr=0.1)
    after = found
    for epoch in range(40):
        after = TASK.train_epoch(head.train(), moving, fold, np.random.default_rng(epoch))
    assert after < 0.9 * found
    assert any(not torch.equal(old, new) for old, new in zip(before, head.parameters(), strict=True))


def test_a_step_is_never_longer_than_the_limit(fold, monkeypatch):
    norms = []
    own = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(
        torch.nn.utils, "clip_grad_norm_", lambda parameters, most: norms.append(most) or own(parameters, most)
    )
    TASK.train_epoch(new_head(), torch.optim.SGD(new_head().parameters(), lr=0.0), fold, np.random.default_rng(0))
    assert norms == [5.0] * 3


@pytest.mark.parametrize(("n_train", "epochs"), [(120, 30), (60, 57), (1000, 30), (8, 450), (2, 450)])
def test_a_small_cohort_has_450_steps(n_train, epochs):
    assert TASK.epochs_for(n_train, dataclasses.replace(CONFIG, batch_patients=8)) == epochs


def test_the_rows_of_a_fold_hold_truth_and_probabilities(fold):
    head = new_head()
    plan = FoldPlan(repeat=1, fold=2, train=tuple(fold.train), val=tuple(fold.val[:2]), test=tuple(fold.val[2:]))
    found = TASK.predict_fold(head, fold.read, plan, fold.targets)
    assert found.training is None
    for rows, patients in ((found.predictions, plan.test), (found.validation, plan.val)):
        assert [row["patient_id"] for row in rows] == list(patients)
        for row in rows:
            p = softmax(predict(head, fold.read, [row["patient_id"]]))[0]
            names = [f"p_{name}" for name in fold.targets.classes]
            assert [row[name] for name in names] == approx(p, abs=1e-6)
            assert row["truth"] == fold.targets.classes[fold.targets.labels[row["patient_id"]]]
            assert (row["repeat"], row["fold"], row["model"]) == (1, 2, "attention")


def test_baselines_and_the_prior_are_of_training_patients(fold):
    plan = FoldPlan(repeat=0, fold=0, train=tuple(fold.train), val=(), test=tuple(fold.val))
    means = {patient: fold.read(patient).tiles.mean(axis=0) for patient in (*plan.train, *plan.test)}
    given = tuple(np.stack([means[patient] for patient in part]).astype(np.float64) for part in (plan.train, plan.test))
    rows = TASK.baseline_rows(plan, fold.targets, {"mean_pool": given})
    assert [row["model"] for row in rows] == ["mean_pool"] * 6 + ["prior"] * 6
    shares = np.bincount(fold.targets.of(plan.train), minlength=3) / 12
    for row in rows[6:]:
        assert [row[f"p_{name}"] for name in fold.targets.classes] == approx(shares)
    assert sum(rows[0][f"p_{name}"] for name in fold.targets.classes) == approx(1)
