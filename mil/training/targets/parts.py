"""One target of a model, by its kind: how many outputs it has, what a patient's loss is, what its outputs mean, its baselines.

Outputs of several targets stand side by side; each part gets its own. Statistics come from the training patients it is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from common.tables.target_columns import CLASSES, ORDERED, Target, quarters
from mil.training.baseline import fit_classifier
from mil.training.classification_task import softmax
from mil.training.targets.linear_models import predict_number, predict_ordered
from mil.training.targets.ordinal_loss import class_probabilities, corn_losses

LEAST_SD = 1e-9
Values = Float64[np.ndarray, " n"]  # class numbers, or numbers
Train = Float64[np.ndarray, " train"]  # the same of all training patients
Predictions = Float64[np.ndarray, "n c"]  # a column a class, or one of numbers
Tested = Float64[np.ndarray, "m c"]  # the same of test patients


@runtime_checkable  # the test run checks arguments
class Part(Protocol):
    """What training asks of a target."""

    @property
    def target(self) -> Target:
        """The column it predicts."""

    @property
    def n_outputs(self) -> int:
        """How many outputs of the head are its own."""

    def losses(
        self, outputs: Float[Tensor, "n o"], values: Values, train: Train, smoothing: float
    ) -> Float[Tensor, " n"]:
        """Return the loss of each patient; `train` are the values of all training patients."""

    def predictions(self, outputs: Float64[np.ndarray, "n o"], train: Train) -> Predictions:
        """Return what the outputs of a head say."""

    def linear(self, train: np.ndarray, values: Train, test: np.ndarray) -> Tested:
        """Return what a penalised linear model of the training patients says of the test patients."""

    def prior(self, train: Train, n: int) -> Tested:
        """Return what is said without a look at n patients."""

    def groups(self, values: Mapping[str, float]) -> dict[str, str]:
        """Return the group of each patient, as the audit weighs sites against it: class, or quarter of a number."""

    def record(self, train: Train) -> dict[str, Any]:
        """Return what a model file must say of it."""


@dataclass(frozen=True, kw_only=True)
class _OfClasses:
    """What classes have in common, ordered or not."""

    target: Target

    def prior(self, train: Train, n: int) -> Tested:
        """Return the classes' shares among the training patients."""
        return shares(self.target, train, n)

    def groups(self, values: Mapping[str, float]) -> dict[str, str]:
        """Return the class of each patient."""
        return {patient: self.target.classes[int(value)] for patient, value in values.items()}

    def record(self, train: Train) -> dict[str, Any]:
        """Return column, kind and classes."""
        return record_of(self.target)


@dataclass(frozen=True, kw_only=True)
class ClassesPart(_OfClasses):
    """Classes: cross-entropy in which all classes weigh alike."""

    @property
    def n_outputs(self) -> int:
        """One a class."""
        return len(self.target.classes)

    def losses(
        self, outputs: Float[Tensor, "n o"], values: Values, train: Train, smoothing: float
    ) -> Float[Tensor, " n"]:
        """Return cross-entropies, weighted by n / (k * n_class)."""
        counts = np.bincount(train.astype(np.int64), minlength=self.n_outputs)
        weights = torch.from_numpy(len(train) / (self.n_outputs * np.maximum(counts, 1))).to(outputs.dtype)
        truth = torch.from_numpy(values.astype(np.int64))
        losses = torch.nn.functional.cross_entropy(outputs, truth, reduction="none", label_smoothing=smoothing)
        return weights[truth] * losses

    def predictions(self, outputs: Float64[np.ndarray, "n o"], train: Train) -> Predictions:
        """Return class probabilities."""
        return softmax(outputs)

    def linear(self, train: np.ndarray, values: Train, test: np.ndarray) -> Tested:
        """Return class probabilities of a logistic regression."""
        return fit_classifier(train, values.astype(np.int64), self.n_outputs).probabilities(test)


@dataclass(frozen=True, kw_only=True)
class OrderedPart(_OfClasses):
    """Ordered classes: CORN, unweighted, so that probabilities are those of a cohort like the training patients."""

    @property
    def n_outputs(self) -> int:
        """One a threshold."""
        return len(self.target.classes) - 1

    def losses(
        self, outputs: Float[Tensor, "n o"], values: Values, train: Train, smoothing: float
    ) -> Float[Tensor, " n"]:
        """Return negative log-likelihoods; labels are not smoothed."""
        return corn_losses(outputs, torch.from_numpy(values.astype(np.int64)))

    def predictions(self, outputs: Float64[np.ndarray, "n o"], train: Train) -> Predictions:
        """Return class probabilities."""
        return class_probabilities(outputs)

    def linear(self, train: np.ndarray, values: Train, test: np.ndarray) -> Tested:
        """Return class probabilities of logistic regressions in a chain."""
        return predict_ordered(train, values.astype(np.int64), test, len(self.target.classes))


@dataclass(frozen=True, kw_only=True)
class NumberPart:
    """Numbers: smooth L1 (Huber 1964, Ann Math Stat 35:73) of values standardised by the training patients."""

    target: Target
    n_outputs: int = 1

    def losses(
        self, outputs: Float[Tensor, "n o"], values: Values, train: Train, smoothing: float
    ) -> Float[Tensor, " n"]:
        """Return smooth L1 losses, quadratic up to one standard deviation."""
        mean, sd = scale_of(train)
        truth = torch.from_numpy((values - mean) / sd).to(outputs.dtype)
        return torch.nn.functional.smooth_l1_loss(outputs[:, 0], truth, reduction="none")

    def predictions(self, outputs: Float64[np.ndarray, "n o"], train: Train) -> Predictions:
        """Return numbers in the unit of the column."""
        mean, sd = scale_of(train)
        return mean + sd * outputs

    def linear(self, train: np.ndarray, values: Train, test: np.ndarray) -> Tested:
        """Return numbers of a ridge regression."""
        return predict_number(train, values, test)[:, None]

    def prior(self, train: Train, n: int) -> Tested:
        """Return the mean of the training patients."""
        return np.full((n, 1), train.mean())

    def groups(self, values: Mapping[str, float]) -> dict[str, str]:
        """Return the quarter of each patient's number."""
        return {patient: str(quarter) for patient, quarter in quarters(values).items()}

    def record(self, train: Train) -> dict[str, Any]:
        """Return column, kind, and what an output is multiplied with and added to."""
        mean, sd = scale_of(train)
        return record_of(self.target) | {"mean": mean, "sd": sd}


def part_of(target: Target) -> Part:
    """Return how a target is learnt."""
    if target.kind == CLASSES:
        return ClassesPart(target=target)
    return OrderedPart(target=target) if target.kind == ORDERED else NumberPart(target=target)


def scale_of(train: Train) -> tuple[float, float]:
    """Return mean and standard deviation of the training patients' numbers; 0 and 1 where nobody has one."""
    if not len(train):
        return 0.0, 1.0
    return float(train.mean()), float(max(train.std(), LEAST_SD))


def shares(target: Target, train: Train, n: int) -> Tested:
    """Return the classes' shares among the training patients, a row a patient."""
    counts = np.bincount(train.astype(np.int64), minlength=len(target.classes))
    return np.tile(counts / len(train), (n, 1))


def record_of(target: Target) -> dict[str, Any]:
    """Return column, kind and classes."""
    return {"column": target.column, "kind": target.kind, "classes": list(target.classes), "mean": None, "sd": None}


def known_values(values: Mapping[str, float], patients: Sequence[str]) -> Values:
    """Return the values of those patients that have one."""
    return np.array([values[patient] for patient in patients if patient in values], dtype=np.float64)
