"""Classes as a task: the subtype, learnt by class-balanced cross-entropy, a few patients a step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64, Int

from common.cohort import Cohort
from common.failures import StudyError
from common.tables.target_columns import label_of
from mil.bags.bags import BagStore
from mil.heads.head import Head
from mil.runs.figure_names import ATTENTION, MEAN_POOL, PRIOR
from mil.runs.model_file import Model
from mil.training.baseline import fit_classifier
from mil.training.cohort_flow import known_patients
from mil.training.image_predictions import image_rows
from mil.training.packed import ReadBag, draw, predict
from mil.training.recipe.batches import stratified_batches
from mil.training.recipe.schedule import epochs_for_steps
from mil.training.task import AuditOutcome, FoldInputs, FoldRows, ImageTable, Row, TargetCounts
from mil.training.training_settings import TrainConfig
from splits.fold_plan import FoldPlan

MAX_GRADIENT = 5.0
STEPS = 450  # fewest of a training: 30 epochs of 120 patients, 8 a step


@dataclass(frozen=True, kw_only=True)
class ClassTargets:
    """The class of each patient, as a number, and the names of the classes."""

    labels: Mapping[str, int]
    classes: Sequence[str]

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return len(self.classes)

    def of(self, patients: Sequence[str]) -> Int[np.ndarray, " n"]:
        """Return the class numbers of patients."""
        return np.array([self.labels[patient] for patient in patients], dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class SubtypeTraining:
    """The class of each patient, such as its subtype (see `TrainingTask`)."""

    name: str
    column: str  # of the clinical table
    order: tuple[str, ...] = ()  # of the classes; empty: that of their names
    possible_covariates: tuple[str, ...] = ()
    learning_rate_factor: float = 1.0
    hidden: int = 128

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns wanted."""
        return (self.column,)

    def find_targets(self, cohort: Cohort) -> tuple[ClassTargets, dict[str, str]]:
        """Return the label of each patient, and the patients without.

        Raises:
            StudyError: the table has no such column, or fewer than two classes.
        """
        known, excluded = known_patients(cohort, self.columns, task=self.name)
        names = known[self.column].map(label_of)  # of a column of numbers, such as grades, too
        present = set(names)
        classes = [name for name in self.order if name in present] or sorted(present)
        if len(classes) < 2:
            raise StudyError(
                f"{cohort.path}: a {self.name} model needs two classes or more, found {', '.join(classes) or 'none'}"
            )
        labels = {str(patient): classes.index(name) for patient, name in names.items()}
        return ClassTargets(labels=labels, classes=classes), excluded

    def classes(self, targets: ClassTargets) -> list[str]:
        """Return the names of the classes."""
        return list(targets.classes)

    def n_outputs(self, targets: ClassTargets) -> int:
        """Return one output a class."""
        return targets.n_classes

    def known_of(self, targets: ClassTargets, patients: Sequence[str]) -> list[list[int]]:
        """Return the labels."""
        return [[targets.labels[patient] for patient in patients if patient in targets.labels], [], []]

    def counts(self, targets: ClassTargets, patients: Sequence[str]) -> TargetCounts:
        """Return the number of patients of each class."""
        numbers = np.bincount(targets.of(patients), minlength=targets.n_classes)
        return TargetCounts(by_class={name: int(n) for name, n in zip(targets.classes, numbers, strict=True)})

    def check_usable(self, targets: ClassTargets, usable: set[str], table: Path) -> None:
        """Refuse patients among whom a class is missing.

        Raises:
            StudyError: a class has no patient with features.
        """
        if len({targets.labels[patient] for patient in usable}) < targets.n_classes:
            raise StudyError(
                f"{table}: a {self.name} has no patient with features; run features/extract_features.py on all"
            )

    def check_plan(self, targets: ClassTargets, plan: FoldPlan) -> None:
        """Refuse a fold without a class.

        Raises:
            StudyError: names the classes without a training patient.
        """
        absent = set(range(targets.n_classes)) - {targets.labels[patient] for patient in plan.train}
        if absent:
            named = ", ".join(targets.classes[index] for index in sorted(absent))
            raise StudyError(f"{plan.place} has no training patient of {named}; make splits with fewer --folds")

    def strata(self, targets: ClassTargets) -> Mapping[str, int]:
        """Return the class of each patient."""
        return targets.labels

    def audit_outcome(self, targets: ClassTargets, patients: Sequence[str]) -> AuditOutcome:
        """Return the class of each patient, and each class as 1 or 0."""
        class_of = {patient: targets.classes[targets.labels[patient]] for patient in patients}
        is_so = {
            name: {patient: float(own == name) for patient, own in class_of.items()}
            for name in sorted(set(class_of.values()))
        }
        return AuditOutcome(class_of=class_of, is_so=is_so)

    def train_epoch(
        self, head: Head, optimiser: torch.optim.Optimizer, fold: FoldInputs[ClassTargets], rng: np.random.Generator
    ) -> float:
        """Train one epoch: class-balanced, smoothed cross-entropy, a few patients of all classes a step; return the mean loss."""
        targets, config, train = fold.targets, fold.config, fold.train
        weights = torch.from_numpy(class_weights(targets.of(train), targets.n_classes)).float()
        total = 0.0
        for batch in stratified_batches(train, targets.labels, config.batch_patients, rng):
            truth = torch.from_numpy(targets.of(batch))
            outputs, extra = head.taught(draw(fold.read, batch, config.max_tiles, rng), truth)
            losses = torch.nn.functional.cross_entropy(
                outputs, truth, reduction="none", label_smoothing=config.label_smoothing
            )
            loss = (weights[truth] * losses).sum() / len(batch) + extra
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), MAX_GRADIENT)
            optimiser.step()
            total += float(loss.detach()) * len(batch)
        return total / len(train)

    def validation_loss(self, head: Head, fold: FoldInputs[ClassTargets]) -> float:
        """Return the cross-entropy of the validation patients, weighted as in training, not smoothed."""
        targets = fold.targets
        weights = torch.from_numpy(class_weights(targets.of(fold.train or fold.val), targets.n_classes))
        truth = torch.from_numpy(targets.of(fold.val))
        outputs = torch.from_numpy(predict(head, fold.read, fold.val))
        losses = torch.nn.functional.cross_entropy(outputs, truth, reduction="none")
        return float((weights[truth] * losses).sum() / weights[truth].sum())

    def epochs_for(self, n_train: int, config: TrainConfig) -> int:
        """Return 30, and in small cohorts so many that there are 450 steps (measured: benchmarks/README.md)."""
        return epochs_for_steps(STEPS, n_train, config.batch_patients)

    def prediction_columns(self, targets: ClassTargets) -> list[str]:
        """Return the columns: the truth, and a probability a class."""
        return ["repeat", "fold", "patient_id", "model", "truth", *(f"p_{name}" for name in targets.classes)]

    def predict_fold(self, head: Head, read: ReadBag, plan: FoldPlan, targets: ClassTargets) -> FoldRows:
        """Return test and inner validation predictions."""
        tested, held = (
            subtype_rows(plan, part, targets, softmax(predict(head, read, part)), model=ATTENTION)
            for part in (plan.test, plan.val)
        )
        return FoldRows(predictions=tested, validation=held)

    def baseline_rows(
        self, plan: FoldPlan, targets: ClassTargets, inputs: Mapping[str, tuple[np.ndarray, np.ndarray]]
    ) -> list[Row]:
        """Return rows of logistic regressions, and of the classes' shares among the training patients."""
        labels, rows = targets.of(plan.train), []
        for model, (train, test) in inputs.items():
            probabilities = fit_classifier(train, labels, targets.n_classes).probabilities(test)
            rows += subtype_rows(plan, plan.test, targets, probabilities, model=model)
        shares = np.bincount(labels, minlength=targets.n_classes) / len(plan.train)
        prior = np.tile(shares, (len(plan.test), 1))
        return [*rows, *subtype_rows(plan, plan.test, targets, prior, model=PRIOR)]

    def predict_images(
        self, models: Iterable[tuple[FoldPlan, Model]], bags: BagStore, targets: ClassTargets
    ) -> ImageTable:
        """Return class probabilities of every image of every test patient, by the model of the fold that tested it."""
        columns = ["repeat", "fold", "patient_id", "image", "n_fields", "truth", *(f"p_{n}" for n in targets.classes)]
        columns += [f"{MEAN_POOL}_p_{name}" for name in targets.classes]
        truth_of = {patient: targets.classes[label] for patient, label in targets.labels.items()}
        return ImageTable(columns=columns, rows=image_rows(models, bags, truth_of, targets.classes))


def class_weights(labels: Int[np.ndarray, " n"], n_classes: int) -> Float64[np.ndarray, " k"]:
    """Return weights that make every class count alike: n / (k * n_class), so their mean over patients is 1.

    Raises:
        ValueError: a class has no patient.
    """
    counts = np.bincount(labels, minlength=n_classes)
    if (counts == 0).any():
        raise ValueError(f"class number {int(counts.argmin())} has no training patient")
    return len(labels) / (n_classes * counts)


def softmax(outputs: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
    """Return probabilities of logits."""
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(axis=1, keepdims=True)


def subtype_rows(
    plan: FoldPlan,
    patients: Sequence[str],
    targets: ClassTargets,
    probabilities: Float64[np.ndarray, "n k"],
    *,
    model: str,
) -> list[Row]:
    """Return a row a patient: class probabilities beside the truth."""
    return [
        {
            "repeat": plan.repeat, "fold": plan.fold, "patient_id": patient, "model": model,
            "truth": targets.classes[targets.labels[patient]],
            **{f"p_{name}": float(value) for name, value in zip(targets.classes, row, strict=True)},
        }
        for patient, row in zip(patients, probabilities, strict=True)
    ]  # fmt: skip
