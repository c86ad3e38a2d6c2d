"""A task of its own file alone: a number, learnt by squared error, goes through preparation, audit, folds and tables."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch

from common.failures import StudyError
from mil.audit.audit import audit_run
from mil.audit.checks import LEAK
from mil.runs.model_file import read_model
from mil.runs.run_folder import RunFolder
from mil.tasks.registry import TASKS, register, task_named
from mil.tasks.subtype import SUBTYPE
from mil.tasks.task import Task
from mil.training.cohort_flow import known_patients
from mil.training.cross_validation import run_folds
from mil.training.fold_store import write_fold_tables
from mil.training.nested_plans import train_shares
from mil.training.packed import in_blocks, pack, predict
from mil.training.preparation import prepare
from mil.training.task import AuditOutcome, FoldRows, TargetCounts, TrainingTask
from mil.training.training_settings import TrainConfig
from splits.make_splits import main as make_splits
from tests.helpers.feature_study import make_feature_study

pytestmark = pytest.mark.slow  # seconds a test: whole scripts, networks, training

CONFIG = TrainConfig(
    epochs=30, hidden=16, attention=8, learning_rate=2e-2, dropout=0.0, threads=1, learning_curve="0.5"
)


@dataclass(frozen=True)
class NumberTraining:
    """The size of a tumour."""

    name: str = "size"
    columns: tuple[str, ...] = ("size_mm",)
    possible_covariates: tuple[str, ...] = ()
    learning_rate_factor: float = 1.0
    hidden: int = 16

    def find_targets(self, cohort):
        known, excluded = known_patients(cohort, self.columns, task=self.name)
        return {str(patient): float(size) for patient, size in known["size_mm"].items()}, excluded

    def classes(self, targets):
        return []

    def n_outputs(self, targets):
        return 1

    def known_of(self, targets, patients):
        return [targets[patient] for patient in patients if patient in targets]

    def counts(self, targets, patients):
        return TargetCounts()

    def check_usable(self, targets, usable, table):
        if len({targets[patient] for patient in usable}) < 2:
            raise StudyError(f"{table}: all patients are of one size")

    def check_plan(self, targets, plan):
        pass

    def strata(self, targets):
        middle = np.median(list(targets.values()))
        return {patient: int(size > middle) for patient, size in targets.items()}

    def audit_outcome(self, targets, patients):
        above = {patient: float(value) for patient, value in self.strata(targets).items() if patient in set(patients)}
        return AuditOutcome(class_of={p: str(value) for p, value in above.items()}, is_so={"a large size": above})

    def train_epoch(self, head, optimiser, fold, rng):
        order, total = [fold.train[index] for index in rng.permutation(len(fold.train))], 0.0
        for block in in_blocks(order, fold.config.batch_patients):
            tiles, bag_of_tile = pack(fold.read, block, fold.config.max_tiles, rng)
            truth = torch.tensor([fold.targets[patient] for patient in block])
            loss = ((head(tiles, bag_of_tile, len(block))[:, 0] - truth) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(block)
        return total / len(order)

    def validation_loss(self, head, fold):
        outputs = predict(head, fold.read, fold.val)[:, 0]
        return float(np.mean((outputs - [fold.targets[patient] for patient in fold.val]) ** 2))

    def prediction_columns(self, targets):
        return ["repeat", "fold", "patient_id", "model", "truth", "size"]

    def predict_fold(self, head, read, plan, targets):
        parts = (self._rows(plan, p, targets, predict(head, read, p)[:, 0], "attention") for p in (plan.test, plan.val))
        return FoldRows(predictions=next(parts), validation=next(parts))

    def baseline_rows(self, plan, targets, inputs):
        mean = np.mean([targets[patient] for patient in plan.train])
        return self._rows(plan, plan.test, targets, np.full(len(plan.test), mean), "mean_of_training")

    def predict_images(self, models, bags, targets):
        return None

    def _rows(self, plan, patients, targets, sizes, model):
        start = {"repeat": plan.repeat, "fold": plan.fold, "model": model}
        return [
            {**start, "patient_id": patient, "truth": targets[patient], "size": float(size)}
            for patient, size in zip(patients, sizes, strict=True)
        ]


SIZE = Task(name="size", training=NumberTraining(), evaluation=SUBTYPE.evaluation, report=SUBTYPE.report)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr("mil.tasks.registry.TASKS", dict(TASKS))
    register(SIZE)


@pytest.fixture
def study(tmp_path):
    """The class, which the embeddings tell, as a size."""
    study = make_feature_study(tmp_path / "study", n_patients=36)
    assert make_splits(["--study", str(study.root), "--folds", "3"]) == 0
    table = pd.read_csv(study.cohort_table)
    classes = table["subtype"].map({"DDLPS": 0.0, "LMS": 1.5, "UPS": 3.0})
    table.assign(size_mm=classes).to_csv(study.cohort_table, index=False)
    return study


def trained_anew(*_, **__):
    raise AssertionError("trained anew")


def test_a_third_task_is_a_value_of_the_contract(registered):
    assert isinstance(SIZE.training, TrainingTask)
    assert task_named("size") is SIZE
    register(SIZE)  # the same once more is no fault
    with pytest.raises(ValueError, match="two tasks are named 'size'"):
        register(replace(SIZE, training=NumberTraining(learning_rate_factor=2.0)))


def test_an_unknown_task_is_named_with_those_there_are():
    with pytest.raises(StudyError, match="--task 'sise' is no task; there are subtype, survival"):
        task_named("sise")


def test_a_third_task_is_trained_and_predicted_without_another_line(registered, study, tmp_path):
    prepared = prepare(study, CONFIG, task_named("size").training)
    assert "size_mm" not in prepared.covariates.names
    assert not [each.name for each in audit_run(prepared).checks if each.verdict == LEAK]
    run_dir = tmp_path / "run"
    folder = RunFolder(run_dir)
    records = run_folds(folder, prepared.plans, prepared.inputs)
    write_fold_tables(folder, records, prepared.inputs.columns)
    table = pd.read_csv(run_dir / "predictions.csv")
    attention, baseline = (table[table["model"] == name] for name in ("attention", "mean_of_training"))
    assert sorted(attention["patient_id"]) == prepared.usable
    error = ((attention["size"] - attention["truth"]) ** 2).mean()
    assert error < 0.7 * ((baseline["size"] - baseline["truth"]) ** 2).mean()
    assert (run_dir / "validation_predictions.csv").is_file()
    assert not (run_dir / "training_follow_up.csv").exists()
    assert read_model(run_dir / records[0].model_file).metadata["task"] == "size"
    assert train_shares(folder, prepared.shares, prepared.plans, prepared.inputs)[0].share == 0.5


def test_a_changed_target_trains_its_folds_anew_and_nothing_else_does(registered, study, tmp_path, monkeypatch):
    prepared = prepare(study, CONFIG, task_named("size").training)
    records = run_folds(RunFolder(tmp_path / "run"), prepared.plans[:1], prepared.inputs)
    monkeypatch.setattr("mil.training.cross_validation.fit", trained_anew)
    assert run_folds(RunFolder(tmp_path / "run"), prepared.plans[:1], prepared.inputs) == records
    table = pd.read_csv(study.cohort_table)
    table["size_mm"] += 1
    table.to_csv(study.cohort_table, index=False)
    changed = prepare(study, CONFIG, task_named("size").training)
    with pytest.raises(AssertionError, match="trained anew"):
        run_folds(RunFolder(tmp_path / "run"), changed.plans[:1], changed.inputs)
