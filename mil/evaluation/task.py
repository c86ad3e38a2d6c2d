"""What a task brings to the evaluation: its metrics, what they are drawn by, and what a fold and a subgroup show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from mil.evaluation.metrics_record import FoldMetrics, Named, RunMetrics
from mil.metrics.bootstrap import Resamples, Resampling
from mil.runs.comparison_record import ClassTest
from mil.runs.run_store import FinishedRun

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupMetrics:
    """The main metrics of some patients, or why there are none; `events` where the task has any."""

    events: int | None = None
    metrics: Named | None = None
    why: str = ""


@runtime_checkable  # the test run checks arguments
class EvaluationTask(Protocol):
    """A task as the evaluation sees it."""

    @property
    def named(self) -> tuple[str, ...]:
        """The names of the metrics that are reported of every model."""

    @property
    def truth(self) -> tuple[str, ...]:
        """The columns of predictions.csv that hold the truth."""

    @property
    def metrics_kind(self) -> type[RunMetrics]:
        """The class of the metrics of a run."""

    def resampling_plan(self, run: FinishedRun, *, n_bootstrap: int, seed: int) -> Resampling:
        """Return how often each test patient is drawn, inside the strata of the task, and the widening (`widening_of`)."""

    def resampled_metrics(self, run: FinishedRun, model: str, plan: Resampling) -> Resamples:
        """Return all metrics of a model on a resampling plan; patients are in the order of their ids."""

    def notes(self, run: FinishedRun) -> tuple[str, ...]:
        """Return what a reader of the metrics must know."""

    def chance(self, run: FinishedRun) -> dict[str, float]:
        """Return what a model that knows nothing of the patient would reach."""

    def metrics_of_fold(self, run: FinishedRun, place: tuple[int, int], rows: pd.DataFrame) -> FoldMetrics:
        """Return the metrics of the attention model's rows of one (repeat, fold)."""

    def metrics_of_group(
        self, run: FinishedRun, patients: pd.Index, n_bootstrap: int, rng: np.random.Generator
    ) -> GroupMetrics:
        """Return the main metrics of some of the test patients."""

    def metrics_of_run(
        self, run: FinishedRun, shared: RunMetrics, attention: Resamples, plan: Resampling
    ) -> RunMetrics:
        """Return the metrics of a run: what every task has, and the task's own."""

    def tests_by_class(self, first: FinishedRun, second: FinishedRun) -> tuple[ClassTest, ...] | None:
        """Return tests of the difference of two runs for each class; None for a task without classes."""
