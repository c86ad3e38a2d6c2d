"""A target's test patients, and its metrics in every resample of the run's patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Int64

from common.tables.target_columns import CLASSES, NUMBER, ORDERED
from mil.metrics.classification import Weights, classification_metrics, confusion_matrices, once
from mil.metrics.ordinal import median_class, ordinal_metrics
from mil.metrics.regression import regression_metrics
from mil.metrics.support import MIN_EVENTS, MIN_PATIENTS, Support, class_support
from mil.runs.figure_names import OF_TARGET
from mil.runs.targets_record import TargetColumns, is_of_classes

if TYPE_CHECKING:
    import pandas as pd

OF_KIND = {  # metrics by kind, the main one first
    CLASSES: ("macro_auroc", "balanced_accuracy", "accuracy", "macro_f1"),
    ORDERED: ("quadratic_kappa", "step_error", "threshold_auroc", "accuracy", "rps"),
    NUMBER: ("r2", "mae", "rmse", "pearson", "spearman", "slope"),
}
RANKED = {CLASSES: "auroc", ORDERED: "above"}
NO_CHANCE = {
    "r2": 0.0,
    "pearson": 0.0,
    "spearman": 0.0,
    "quadratic_kappa": 0.0,
    "threshold_auroc": 0.5,
    "macro_auroc": 0.5,
}
FROM_PRIOR = ("step_error", "rps", "mae", "rmse")  # chance is what shares or the mean of the training patients reach


@dataclass(frozen=True, kw_only=True)
class JudgedTarget:
    """The patients of a table who have a target, with what is known and what was predicted of them."""

    columns: TargetColumns
    places: Int64[np.ndarray, " n"]  # their rows in the table
    truth: Float64[np.ndarray, " n"]  # class numbers, or numbers
    predicted: Float64[np.ndarray, "n c"]

    @property
    def kind(self) -> str:
        """Classes, ordered or number."""
        return self.columns.target.kind

    @property
    def labels(self) -> Int64[np.ndarray, " n"]:
        """The numbers of the classes."""
        return self.truth.astype(np.int64)

    def named(self, name: str) -> str:
        """Return what a metric is called among those of the run."""
        return name if self.columns.is_alone else f"{self.columns.target.column}{OF_TARGET}{name}"

    def metrics(self, weights: Weights) -> Mapping[str, Float64[np.ndarray, " b"]]:
        """Return the metrics of the target by their own names; `weights` are of the target's patients."""
        if not len(self.truth):
            return dict.fromkeys(OF_KIND[self.kind], np.full(weights.shape[1], np.nan))
        if self.kind == NUMBER:
            return regression_metrics(self.predicted[:, 0], self.truth, weights)
        if self.kind == ORDERED:
            return ordinal_metrics(self.predicted, self.labels, weights)
        return classification_metrics(self.predicted, self.labels, weights, least=MIN_EVENTS)

    def support(self) -> dict[str, Support]:
        """Return what the metrics rest on, by their own names."""
        n_of = self.class_counts
        if self.kind == CLASSES and len(self.truth):
            return class_support(self.predicted, self.labels)
        is_enough = len(self.truth) >= MIN_PATIENTS
        known = {name: Support(is_enough) for name in OF_KIND[self.kind]}
        if self.kind != ORDERED:
            return known
        below = np.cumsum(n_of)[:-1]
        is_large = np.minimum(below, n_of.sum() - below) >= MIN_EVENTS  # both sides of each threshold
        known |= {f"above:{step}": Support(is_enough and bool(own)) for step, own in enumerate(is_large)}
        return known | {
            name: Support(is_enough and bool(is_large.any())) for name in ("quadratic_kappa", "threshold_auroc")
        }

    @property
    def class_counts(self) -> Int64[np.ndarray, " k"]:
        """How many patients each class has; empty for numbers."""
        return (
            np.bincount(self.labels, minlength=len(self.columns.target.classes))
            if self._has_classes
            else np.zeros(0, np.int64)
        )

    @property
    def _has_classes(self) -> bool:
        return is_of_classes(self.columns.target)

    @property
    def confusion(self) -> np.ndarray | None:
        """The counts of true against predicted classes; None for numbers."""
        if not self._has_classes:
            return None
        named = median_class(self.predicted) if self.kind == ORDERED else self.predicted.argmax(axis=1)
        k = len(self.columns.target.classes)
        return confusion_matrices(named, self.labels, k, once(len(self.truth)))[..., 0]

    def chance(self, prior: JudgedTarget | None) -> dict[str, float]:
        """Return what is reached without a look at the slides, by the names of the run.

        Args:
            prior: the same patients with the class shares, or the mean, of the training patients of their folds.
        """
        known = {name: value for name, value in NO_CHANCE.items() if name in OF_KIND[self.kind]}
        if self._has_classes and len(self.truth):
            share = self.class_counts / len(self.truth)
            known["accuracy"] = float(share.max())
            if self.kind == CLASSES:
                known["balanced_accuracy"] = float(1 / (share > 0).sum())
        if prior is not None and len(prior.truth):
            own = prior.metrics(once(len(prior.truth)))
            known |= {name: float(own[name][0]) for name in FROM_PRIOR if name in own}
        return {self.named(name): value for name, value in known.items()}


def judged(table: pd.DataFrame, columns: Sequence[TargetColumns]) -> tuple[JudgedTarget, ...]:
    """Return each target of a table of predictions, a row a patient."""
    import pandas as pd

    found = []
    for own in columns:
        truth = table[own.truth]
        if is_of_classes(own.target):
            numbers = truth.map({name: float(place) for place, name in enumerate(own.target.classes)})
        else:
            numbers = pd.to_numeric(truth, errors="coerce")
        values = numbers.to_numpy(dtype=np.float64)
        places = np.flatnonzero(np.isfinite(values))
        predicted = table[own.predicted].to_numpy(dtype=np.float64)
        found.append(JudgedTarget(columns=own, places=places, truth=values[places], predicted=predicted[places]))
    return tuple(found)


def skill(main: Sequence[tuple[JudgedTarget, Float64[np.ndarray, " b"]]]) -> Float64[np.ndarray, " b"]:
    """Return the mean over targets of their main metric on a scale on which 0 is chance and 1 perfect."""
    scaled = [2 * values - 1 if own.kind == CLASSES else values for own, values in main]
    return np.mean(scaled, axis=0)
