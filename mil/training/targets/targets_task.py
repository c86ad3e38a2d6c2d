"""Targets as a task: ordered classes, numbers, or several columns at once, learnt by one head.

A patient with a missing label in one target still teaches the others; one with none is left out with the reason. Every target
weighs alike in a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.cohort import Cohort
from common.failures import StudyError
from common.tables.target_columns import label_of, values_of_patients
from mil.bags.bags import BagStore
from mil.heads.head import Head
from mil.runs.figure_names import ATTENTION, PRIOR
from mil.runs.model_file import Model
from mil.runs.targets_record import Targets, columns_of, is_of_classes
from mil.training.classification_task import MAX_GRADIENT, STEPS
from mil.training.packed import ReadBag, draw, predict
from mil.training.recipe.batches import stratified_batches
from mil.training.recipe.schedule import epochs_for_steps
from mil.training.targets.parts import Part, known_values, part_of
from mil.training.task import AuditOutcome, FoldInputs, FoldRows, Row, TargetCounts
from mil.training.training_settings import TrainConfig
from splits.fold_plan import FoldPlan

LEAST_NUMBERS = 2  # different ones among training patients


@dataclass(frozen=True, kw_only=True)
class KnownTargets:
    """What is known of each patient: for each target the number of its class, or its number; a missing one stands in none."""

    values: tuple[Mapping[str, float], ...]

    def known(self, index: int, patients: Sequence[str]) -> list[int]:
        """Return the places of those patients that have a value in a target."""
        return [place for place, patient in enumerate(patients) if patient in self.values[index]]


@dataclass(frozen=True, kw_only=True)
class TargetsTraining:
    """One or several targets (see `TrainingTask`)."""

    known: Targets
    possible_covariates: tuple[str, ...] = ()
    learning_rate_factor: float = 1.0
    hidden: int = 128

    @property
    def name(self) -> str:
        """The task's name."""
        return self.known.task

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns wanted."""
        return tuple(target.column for target in self.known.targets)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """How each target is learnt."""
        return tuple(map(part_of, self.known.targets))

    def find_targets(self, cohort: Cohort) -> tuple[KnownTargets, dict[str, str]]:
        """Return what is known of each patient, and the patients of whom nothing is.

        Raises:
            StudyError: a column is gone, or holds what it did not when the task was made.
        """
        found = []
        for target in self.known.targets:
            values = values_of_patients(cohort.rows, cohort.columns, target.column, flag="--target")
            labels = {patient: label for patient, value in values.items() if (label := label_of(value)) is not None}
            place = {name: float(index) for index, name in enumerate(target.classes)}
            is_class = is_of_classes(target)
            found.append({p: place[label] if is_class else float(label) for p, label in labels.items()})
        everyone = {str(row["patient_id"]) for row in cohort.rows}
        without = sorted(everyone - {patient for values in found for patient in values})
        words = " and no ".join(self.columns)
        return KnownTargets(values=tuple(found)), dict.fromkeys(without, f"no {words}")

    def classes(self, targets: KnownTargets) -> list[str]:
        """Return the classes of a single target, the lowest first; none of numbers, or of several."""
        return list(self.known.targets[0].classes) if len(self.parts) == 1 else []

    def n_outputs(self, targets: KnownTargets) -> int:
        """Return the outputs of all targets."""
        return sum(part.n_outputs for part in self.parts)

    def known_of(self, targets: KnownTargets, patients: Sequence[str]) -> list[Any]:
        """Return what each target is, and its values."""
        kinds = [[each.column, each.kind, list(each.classes)] for each in self.known.targets]
        return [kinds, [[values.get(patient) for patient in patients] for values in targets.values]]

    def counts(self, targets: KnownTargets, patients: Sequence[str]) -> TargetCounts:
        """Return how many patients each class has, and, of several targets, how many have a number."""
        found = {}
        for part, columns, values in zip(self.parts, columns_of(self.known.targets), targets.values, strict=True):
            own = known_values(values, patients)
            prefix = "" if columns.is_alone else f"{part.target.column}: "
            for index, name in enumerate(part.target.classes):
                found[f"{prefix}{name}"] = int((own == index).sum())
            if not part.target.classes and not columns.is_alone:
                found[f"{prefix}a number"] = len(own)
        return TargetCounts(by_class=found)

    def check_usable(self, targets: KnownTargets, usable: set[str], table: Path) -> None:
        """Refuse patients of whom there is nothing to learn.

        Raises:
            StudyError: a class has no patient with features, or numbers do not differ.
        """
        for part, values in zip(self.parts, targets.values, strict=True):
            if fault := _fault(part, known_values(values, sorted(usable))):
                raise StudyError(
                    f"{table}: {part.target.column}: {fault} among the {len(usable)} patients with features; run "
                    "features/extract_features.py on all"
                )

    def check_plan(self, targets: KnownTargets, plan: FoldPlan) -> None:
        """Refuse a fold that cannot be learnt from.

        Raises:
            StudyError: a class has no training patient, or their numbers do not differ.
        """
        for part, values in zip(self.parts, targets.values, strict=True):
            if fault := _fault(part, known_values(values, plan.train)):
                raise StudyError(
                    f"{plan.place}: {part.target.column}: {fault} among its training patients; make splits with fewer --folds or "
                    f"--stratify {part.target.column}"
                )

    def strata(self, targets: KnownTargets) -> Mapping[str, int]:
        """Return the class, or the quarter, of each patient in the first target; those without are a stratum of their own."""
        return self.strata_among(targets, sorted({patient for values in targets.values for patient in values}))

    def strata_among(self, targets: KnownTargets, patients: Sequence[str]) -> Mapping[str, int]:
        """Return the same, with the quarters of these patients' numbers alone."""
        values = targets.values[0]
        groups = self.parts[0].groups({patient: values[patient] for patient in patients if patient in values})
        names = sorted(set(groups.values()))
        return {patient: names.index(groups[patient]) if patient in groups else len(names) for patient in patients}

    def audit_outcome(self, targets: KnownTargets, patients: Sequence[str]) -> AuditOutcome:
        """Return class or quarter of each patient in each target, and each of them as 1 or 0."""
        is_so: dict[str, dict[str, float]] = {}
        groups_of: dict[str, dict[str, str]] = {}
        for part, values in zip(self.parts, targets.values, strict=True):
            groups = part.groups({patient: values[patient] for patient in patients if patient in values})
            groups_of[part.target.column] = groups
            prefix = "" if len(self.parts) == 1 and part.target.classes else f"{part.target.column} "
            for name in sorted(set(groups.values())):
                is_so[f"{prefix}{name}"] = {patient: float(own == name) for patient, own in groups.items()}
            if not part.target.classes:  # half against half, too: an outer quarter hides a number that goes with it
                halves = {patient: float(own in ("Q3", "Q4")) for patient, own in groups.items()}
                is_so[f"{prefix}above its median"] = halves
        first, *others = groups_of.items()
        class_of = {patient: first[1].get(patient, f"no {first[0]}") for patient in patients}
        return AuditOutcome(class_of=class_of, is_so=is_so, others=dict(others))

    def train_epoch(
        self, head: Head, optimiser: torch.optim.Optimizer, fold: FoldInputs[KnownTargets], rng: np.random.Generator
    ) -> float:
        """Train one epoch, a few patients of all strata a step; return the mean loss."""
        config, total, strata = fold.config, 0.0, self.strata_among(fold.targets, fold.train)
        for batch in stratified_batches(fold.train, strata, config.batch_patients, rng):
            outputs, extra = head.taught(draw(fold.read, batch, config.max_tiles, rng), None)
            loss = self._loss(outputs, batch, fold.train, fold.targets, config.label_smoothing) + extra
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), MAX_GRADIENT)
            optimiser.step()
            total += float(loss.detach()) * len(batch)
        return total / len(fold.train)

    def _loss(
        self, outputs: Tensor, patients: Sequence[str], train: Sequence[str], targets: KnownTargets, smoothing: float
    ) -> Tensor:
        """Return the mean over targets of the mean loss of the patients who have it."""
        losses, start = [], 0
        for index, (part, values) in enumerate(zip(self.parts, targets.values, strict=True)):
            own = outputs[:, start : start + part.n_outputs]
            start += part.n_outputs
            if places := targets.known(index, patients):
                truth, learnt = known_values(values, patients), known_values(values, train)
                losses.append(part.losses(own[places], truth, learnt, smoothing).mean())
        return torch.stack(losses).sum() / len(self.parts)

    def validation_loss(self, head: Head, fold: FoldInputs[KnownTargets]) -> float:
        """Return the loss of the validation patients as in training, labels not smoothed."""
        outputs = torch.from_numpy(predict(head, fold.read, fold.val))
        return float(self._loss(outputs, fold.val, fold.train or fold.val, fold.targets, 0.0))

    def epochs_for(self, n_train: int, config: TrainConfig) -> int:
        """Return as many as for classes."""
        return epochs_for_steps(STEPS, n_train, config.batch_patients)

    def prediction_columns(self, targets: KnownTargets) -> list[str]:
        """Return the columns: for each target what is known, and a probability a class or the number predicted."""
        own = [name for columns in columns_of(self.known.targets) for name in (columns.truth, *columns.predicted)]
        return ["repeat", "fold", "patient_id", "model", *own]

    def predict_fold(self, head: Head, read: ReadBag, plan: FoldPlan, targets: KnownTargets) -> FoldRows:
        """Return test and held-out predictions."""
        tested, held = (self._rows_of_head(head, read, plan, part, targets) for part in (plan.test, plan.val))
        return FoldRows(predictions=tested, validation=held)

    def _rows_of_head(
        self, head: Head, read: ReadBag, plan: FoldPlan, patients: Sequence[str], targets: KnownTargets
    ) -> list[Row]:
        outputs, predictions, start = predict(head, read, patients), [], 0
        for part, values in zip(self.parts, targets.values, strict=True):
            own = outputs[:, start : start + part.n_outputs]
            start += part.n_outputs
            predictions.append(part.predictions(own, known_values(values, plan.train)))
        return self._rows(plan, patients, targets, predictions, model=ATTENTION)

    def _rows(
        self,
        plan: FoldPlan,
        patients: Sequence[str],
        targets: KnownTargets,
        predictions: Sequence[np.ndarray],
        *,
        model: str,
    ) -> list[Row]:
        rows: list[Row] = []
        for place, patient in enumerate(patients):
            row: Row = {"repeat": plan.repeat, "fold": plan.fold, "patient_id": patient, "model": model}
            for columns, values, own in zip(columns_of(self.known.targets), targets.values, predictions, strict=True):
                value, classes = values.get(patient), columns.target.classes
                row[columns.truth] = None if value is None else classes[int(value)] if classes else value
                row |= dict(zip(columns.predicted, map(float, own[place]), strict=True))
            rows.append(row)
        return rows

    def baseline_rows(
        self, plan: FoldPlan, targets: KnownTargets, inputs: Mapping[str, tuple[np.ndarray, np.ndarray]]
    ) -> list[Row]:
        """Return rows of penalised linear models, and of shares or means of the training patients."""
        rows: list[Row] = []
        for model, (train, test) in inputs.items():
            predictions = [
                part.linear(train[targets.known(index, plan.train)], known_values(values, plan.train), test)
                for index, (part, values) in enumerate(zip(self.parts, targets.values, strict=True))
            ]
            rows += self._rows(plan, plan.test, targets, predictions, model=model)
        known = [known_values(values, plan.train) for values in targets.values]
        prior = [part.prior(own, len(plan.test)) for part, own in zip(self.parts, known, strict=True)]
        return [*rows, *self._rows(plan, plan.test, targets, prior, model=PRIOR)]

    def predict_images(self, models: Iterable[tuple[FoldPlan, Model]], bags: BagStore, targets: KnownTargets) -> None:
        """Predict no images."""

    def record(self, targets: KnownTargets, train: Sequence[str]) -> list[dict[str, Any]]:
        """Return what a model file says of each target."""
        return [
            part.record(known_values(values, train)) for part, values in zip(self.parts, targets.values, strict=True)
        ]


def _fault(part: Part, values: np.ndarray) -> str:
    """Say what is missing in values to be learnt from; empty where nothing is."""
    if part.target.classes:
        absent = [name for index, name in enumerate(part.target.classes) if not (values == index).any()]
        return f"nobody is of {', '.join(absent)}" if absent else ""
    return "" if len(np.unique(values)) >= LEAST_NUMBERS else "there are no two different numbers"
