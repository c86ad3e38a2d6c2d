"""The contract of a task's training side: what it wants of the cohort, how it learns, what it predicts.

Everything else of the room works on a value of this kind and knows no task by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch

from common.cohort import Cohort
from mil.bags.bags import BagStore
from mil.heads.head import Head
from mil.runs.facts import ScaleFacts
from mil.runs.model_file import Model
from mil.training.packed import ReadBag
from mil.training.training_settings import TrainConfig
from splits.fold_plan import FoldPlan

Targets = TypeVar("Targets")  # what is known of each patient: a value of the task's own kind
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FoldInputs(Generic[Targets]):
    """What one fold learns from; the test patients are not among it."""

    read: ReadBag
    train: Sequence[str]
    val: Sequence[str]  # the inner validation part, where one is to choose the epoch; else empty
    targets: Targets
    config: TrainConfig
    owners: Mapping[str, str] = field(default_factory=dict)  # slide to patient, where bags are slides


@dataclass(frozen=True, kw_only=True)
class FoldRows:
    """What the attention model of one fold predicts, a row a patient, and what else goes into the fold's record."""

    predictions: list[Row]  # of the test patients
    validation: list[Row]  # of patients held out of training: the inner validation part, or those of inner folds
    training: list[Row] | None = None  # None: the task keeps no table of them
    scale: ScaleFacts | None = None  # what puts its scores on one scale with those of other folds
    n_train_events: int | None = None


@dataclass(frozen=True, kw_only=True)
class TargetCounts:
    """How many patients of each class there are, and how many events; what a task does not have is empty or 0."""

    by_class: Mapping[str, int] = field(default_factory=dict)
    n_events: int = 0
    time_unit: str | None = None  # of the follow-up that is predicted; None: that of the table


@dataclass(frozen=True, kw_only=True)
class AuditOutcome:
    """The outcome as the audit weighs sites and covariates against it."""

    class_of: Mapping[str, str]  # one group of each patient
    is_so: Mapping[str, Mapping[str, float]]  # what is predicted (a subtype, the event) to 1 or 0 of each patient
    times: Mapping[str, float] = field(default_factory=dict)  # follow-up, where the task has one
    others: Mapping[str, Mapping[str, str]] = field(
        default_factory=dict
    )  # further targets: the group of patients who have one


@dataclass(frozen=True, kw_only=True)
class ImageTable:
    """Predictions by image: column names and rows."""

    columns: list[str]
    rows: list[list[Any]]


@runtime_checkable
class TrainingTask(Protocol[Targets]):
    """What training asks of a task."""

    @property
    def name(self) -> str:
        """The task's name: --task, and the folder of its runs."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the clinical table that it predicts; they are never covariates."""

    @property
    def possible_covariates(self) -> tuple[str, ...]:
        """Columns with a meaning of their own that may all the same be named as covariates."""

    @property
    def learning_rate_factor(self) -> float:
        """What the learning rate is multiplied with."""

    @property
    def hidden(self) -> int:
        """The hidden width of a head where the user names none."""

    def find_targets(self, cohort: Cohort) -> tuple[Targets, dict[str, str]]:
        """Return what is known of each patient, and the patients left out, with the reason.

        Raises:
            StudyError: the table lacks the task's columns, or there is too little to learn from.
        """

    def classes(self, targets: Targets) -> list[str]:
        """Return the names of the classes; empty for a task without."""

    def n_outputs(self, targets: Targets) -> int:
        """Return the number of outputs of a head."""

    def known_of(self, targets: Targets, patients: Sequence[str]) -> list[Any]:
        """Return all that is known of these patients as plain values: a finished fold is done anew where it changes."""

    def counts(self, targets: Targets, patients: Sequence[str]) -> TargetCounts:
        """Return what the report says of the patients."""

    def check_usable(self, targets: Targets, usable: set[str], table: Path) -> None:
        """Refuse a run on patients that are too few or too much alike.

        Raises:
            StudyError: says what is missing.
        """

    def check_plan(self, targets: Targets, plan: FoldPlan) -> None:
        """Refuse a fold that cannot be trained; it has a training patient.

        Raises:
            StudyError: says what is missing.
        """

    def strata(self, targets: Targets) -> Mapping[str, int]:
        """Return the stratum of each patient: parts of the training patients keep their shares."""

    def audit_outcome(self, targets: Targets, patients: Sequence[str]) -> AuditOutcome:
        """Return the outcome of these patients as the audit wants it."""

    def train_epoch(
        self, head: Head, optimiser: torch.optim.Optimizer, fold: FoldInputs[Targets], rng: np.random.Generator
    ) -> float:
        """Train a head in training mode for one epoch and return the loss; the optimiser's rate is that of the epoch."""

    def validation_loss(self, head: Head, fold: FoldInputs[Targets]) -> float:
        """Return the loss of the inner validation part; without training patients that of these patients by themselves."""

    def prediction_columns(self, targets: Targets) -> list[str]:
        """Return the columns of the tables of predictions."""

    def predict_fold(self, head: Head, read: ReadBag, plan: FoldPlan, targets: Targets) -> FoldRows:
        """Return what a trained head predicts for the patients of a fold."""

    def baseline_rows(
        self, plan: FoldPlan, targets: Targets, inputs: Mapping[str, tuple[np.ndarray, np.ndarray]]
    ) -> list[Row]:
        """Return rows of the baselines for the test patients.

        Args:
            plan: the fold; it has a test patient.
            targets: of all patients.
            inputs: for each baseline by name the inputs of the training and of the test patients.
        """

    def predict_images(
        self, models: Iterable[tuple[FoldPlan, Model]], bags: BagStore, targets: Targets
    ) -> ImageTable | None:
        """Return predictions by image of the test patients of each fold by its model; None where the task has none."""


@runtime_checkable
class UsesHeldOut(Protocol):
    """A task whose rows rest on predictions of training patients by models that never saw them, where there are any."""

    def scaled_by_held_out(self, rows: FoldRows, parts: Sequence[FoldRows]) -> FoldRows:
        """Return the rows of a fold on the scale of its held-out training patients.

        Args:
            rows: as the fold's own model gives them.
            parts: what each inner model says of the patients it never saw (`validation`) and of its own (`training`).
        """


@runtime_checkable
class FollowsCohort(Protocol):
    """A task whose number of epochs follows from the size of the cohort, where the user names none."""

    def epochs_for(self, n_train: int, config: TrainConfig) -> int:
        """Return the epochs for so many training patients."""


@runtime_checkable
class RecordsTargets(Protocol):
    """A task whose model files say what its outputs mean beside the names of classes."""

    def record(self, targets: Any, train: Sequence[str]) -> list[dict[str, Any]]:
        """Return what a model file says of each target, in the order of the outputs; statistics are of training patients."""


@runtime_checkable
class StratifiesAmong(Protocol):
    """A task whose strata depend on who is looked at, such as quarters of numbers: they are made of training patients alone."""

    def strata_among(self, targets: Any, patients: Sequence[str]) -> Mapping[str, int]:
        """Return the stratum of each of these patients, from them alone."""


def strata_of_training(task: TrainingTask[Any], targets: Any, train: Sequence[str]) -> Mapping[str, int]:
    """Return the stratum of each training patient; no label of another patient has a say in it."""
    return task.strata_among(targets, train) if isinstance(task, StratifiesAmong) else task.strata(targets)


@runtime_checkable
class LearnsTargets(Protocol):
    """A task whose targets hold what is learnt of a model's training patients, such as intervals of time."""

    def learnt_of(self, targets: Any, train: Sequence[str]) -> Any:
        """Return the targets with what these patients alone teach; the number of outputs may follow from it."""


def learnt_targets(task: TrainingTask[Any], targets: Any, train: Sequence[str]) -> Any:
    """Return the targets as the head of these training patients is taught them."""
    return task.learnt_of(targets, train) if isinstance(task, LearnsTargets) else targets


@runtime_checkable
class CombinesModels(Protocol):
    """A task with models made of the scores of others."""

    def combined_rows(
        self,
        plan: FoldPlan,
        targets: Any,
        rows: FoldRows,
        baselines: Sequence[Row],
        inputs: Mapping[str, tuple[np.ndarray, np.ndarray]],
    ) -> list[Row]:
        """Return rows of these models for the test patients.

        Args:
            plan: the fold; it has a test patient.
            targets: of all patients.
            rows: of the fold's model; `validation` are training patients by models that never saw them.
            baselines: rows of the test patients by the baselines.
            inputs: of the baselines, of training and of test patients.
        """


@runtime_checkable
class KnowsPatients(Protocol):
    """A task whose evaluation needs more of the patients than their site and covariates."""

    def patient_columns(self, cohort: Cohort, targets: Any) -> Mapping[str, Mapping[str, object]]:
        """Return further columns of patients.csv: name, and the value of each patient that has one."""


@runtime_checkable
class FollowsSettings(Protocol):
    """A task whose targets follow from the settings of the run."""

    def with_settings(self, config: TrainConfig) -> TrainingTask[Any]:
        """Return the task as these settings want it."""
