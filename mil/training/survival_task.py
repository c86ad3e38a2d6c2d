"""Survival as a task: one log-hazard by Cox's partial likelihood, or a log-odds for each interval of time (`--loss`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from common.cohort import Cohort
from common.failures import StudyError
from mil.bags.bags import BagStore
from mil.heads.head import Head
from mil.runs.facts import ScaleFacts
from mil.runs.figure_names import ATTENTION, COMPETING, log_odds_columns
from mil.runs.model_file import Model
from mil.survival.discrete_hazard import n_intervals
from mil.training.held_out.risk_scale import scale_of, scaled_by_held_out
from mil.training.packed import ReadBag, predict
from mil.training.recipe.schedule import EPOCHS
from mil.training.task import AuditOutcome, FoldInputs, FoldRows, Row, TargetCounts
from mil.training.time_to_event.cox_steps import cohort_gradient, cox_epoch, cox_validation_loss
from mil.training.time_to_event.end_points import EndPoint, find_end_point
from mil.training.time_to_event.interval_steps import (
    interval_epoch,
    interval_risks,
    interval_validation_loss,
    log_odds_of,
)
from mil.training.time_to_event.joint_models import (
    combined_scores,
    fit_linear_cox,
    held_out_risks,
    scale_of_linear,
)
from mil.training.time_to_event.linear_fit import is_linear
from mil.training.time_to_event.risk_rows import interval_facts, survival_rows
from mil.training.time_to_event.survival_targets import SurvivalTargets
from mil.training.training_settings import TrainConfig
from splits.fold_plan import FoldPlan

MIN_EVENTS = 2
__all__ = ["SurvivalTargets", "SurvivalTraining", "cohort_gradient", "survival_rows"]


@dataclass(frozen=True, kw_only=True)
class SurvivalTraining:
    """Time to an event (see `TrainingTask`)."""

    name: str
    columns: tuple[str, ...] = ("time", "event")
    possible_covariates: tuple[str, ...] = ()
    learning_rate_factor: float = 1 / 3  # a partial likelihood is noisier than a class
    hidden: int = 64  # and a wide head learns the noise (benchmarks/README.md)
    end_point: EndPoint = EndPoint()  # noqa: RUF009  a frozen value
    n_intervals: int = 0  # most intervals of the logistic hazard; 0: Cox

    def with_settings(self, config: TrainConfig) -> SurvivalTraining:
        """Return the task with the end point, ties, strata, entry, weights and loss of a run's settings."""
        own = EndPoint(
            name=config.endpoint, horizon=config.horizon, entry=config.entry, group=config.strata,
            weight=config.case_weights, competing=config.competing, ties=config.ties, risk_groups=config.risk_groups,
        )  # fmt: skip
        named = [
            name for name in (*config.endpoint.split("/"), config.entry, config.case_weights, config.competing) if name
        ]
        task = replace(self, end_point=own, columns=(*self.columns, *named))
        if config.loss == "cox":
            return task
        return replace(
            task, n_intervals=config.intervals, learning_rate_factor=1.0, hidden=128
        )  # a sum over patients, as of classes

    def patient_columns(self, cohort: Cohort, targets: SurvivalTargets) -> dict[str, Mapping[str, object]]:
        """Return the groups of patients under their column's name, and who had a competing event, where they are known."""
        group = self.end_point.group or ("subtype" if "subtype" in cohort.columns else "")
        own: dict[str, Mapping[str, object]] = {group: targets.groups} if group else {}
        return own | ({COMPETING: targets.competing} if targets.competing else {})

    def find_targets(self, cohort: Cohort) -> tuple[SurvivalTargets, dict[str, str]]:
        """Return time and event of each patient, and the patients without.

        Raises:
            StudyError: the table has no such columns, or fewer than two events.
        """
        targets, excluded = find_end_point(cohort, self.end_point, task=self.name)
        n_events = sum(map(targets.counts, targets.times))
        if n_events < MIN_EVENTS:
            raise StudyError(
                f"{cohort.path}: a {self.name} model needs two events or more, found {n_events} among {len(targets.times)} "
                "patients"
            )
        return replace(targets, n_intervals=self.n_intervals), excluded

    def classes(self, targets: SurvivalTargets) -> list[str]:
        """Return none."""
        return []

    def n_outputs(self, targets: SurvivalTargets) -> int:
        """Return one, the log-hazard; or one for each interval learnt of the training patients."""
        return 1 if targets.intervals is None else len(targets.intervals)

    def known_of(self, targets: SurvivalTargets, patients: Sequence[str]) -> list[Any]:
        """Return all that is known of them: times, events, entries, weights, strata, ties, unit."""
        return targets.known_of(patients)

    def counts(self, targets: SurvivalTargets, patients: Sequence[str]) -> TargetCounts:
        """Return the number of events."""
        return TargetCounts(
            n_events=sum(targets.events[patient] for patient in patients), time_unit=targets.time_unit
        )  # fmt: skip

    def check_usable(self, targets: SurvivalTargets, usable: set[str], table: Path) -> None:
        """Refuse patients with too few events.

        Raises:
            StudyError: there are fewer than two.
        """
        if sum(map(targets.counts, usable)) < MIN_EVENTS:
            raise StudyError(f"{table}: fewer than two events among the {len(usable)} patients with features")

    def check_plan(self, targets: SurvivalTargets, plan: FoldPlan) -> None:
        """Refuse a fold without an event, or, where intervals are wanted, without one after time 0.

        Raises:
            StudyError: there is none to learn from.
        """
        if not any(map(targets.counts, plan.train)):
            raise StudyError(f"{plan.place} has no event among its training patients; make splits with fewer --folds")
        try:
            targets.learnt_of(plan.train)
        except ValueError as error:
            raise StudyError(
                f"{plan.place}: --loss logistic_hazard: {error} among its training patients; give --loss cox"
            ) from error

    def epochs_for(self, n_train: int, config: TrainConfig) -> int:
        """Return the epochs where the user names none: Cox fits the linear head exactly, in one."""
        return 1 if is_linear(config.head) and not self.n_intervals else EPOCHS

    def strata(self, targets: SurvivalTargets) -> Mapping[str, int]:
        """Return whether each patient had the event."""
        return targets.events

    def audit_outcome(self, targets: SurvivalTargets, patients: Sequence[str]) -> AuditOutcome:
        """Return censored or event of each patient, the event as 1 or 0, and the times."""
        events = {patient: float(targets.events[patient]) for patient in patients}
        return AuditOutcome(
            class_of={patient: "event" if event else "censored" for patient, event in events.items()},
            is_so={"the event": events},
            times={patient: targets.times[patient] for patient in patients},
        )

    def train_epoch(
        self, head: Head, optimiser: torch.optim.Optimizer, fold: FoldInputs[SurvivalTargets], rng: np.random.Generator
    ) -> float:
        """Train one epoch by the loss of the task; return it."""
        return (interval_epoch if self.n_intervals else cox_epoch)(head, optimiser, fold, rng)

    def validation_loss(self, head: Head, fold: FoldInputs[SurvivalTargets]) -> float:
        """Return the loss of the inner validation part; without training patients of these patients by themselves."""
        return (interval_validation_loss if self.n_intervals else cox_validation_loss)(head, fold)

    def learnt_of(self, targets: SurvivalTargets, train: Sequence[str]) -> SurvivalTargets:
        """Return the targets with the intervals of these training patients, where the loss has any."""
        return targets.learnt_of(train)

    def prediction_columns(self, targets: SurvivalTargets) -> list[str]:
        """Return the columns: time and event, log-hazard, score and risk group, and the log-odds of each interval, if any."""
        first = ["repeat", "fold", "patient_id", "model", "time", "event", "log_hazard", "score", "risk_group"]
        most = n_intervals(sum(targets.events.values()), self.n_intervals) if self.n_intervals else 0
        return [*first, *log_odds_columns(most)]

    def predict_fold(self, head: Head, read: ReadBag, plan: FoldPlan, targets: SurvivalTargets) -> FoldRows:
        """Return test and held-out predictions, and the training risks that put them on a scale."""
        own = targets.learnt_of(plan.train)
        outputs = {part: predict(head, read, part) for part in (plan.train, plan.test, plan.val)}
        risks = {part: self._risks(said, own) for part, said in outputs.items()}
        scale = scale_of(risks[plan.train], targets.risk_groups)
        log_odds = log_odds_of(outputs[plan.test], own) if self.n_intervals else None
        tested = survival_rows(
            plan, plan.test, targets, risks[plan.test], model=ATTENTION, scale=scale, log_odds=log_odds
        )
        held, trained = (
            survival_rows(plan, part, targets, risks[part], model=ATTENTION, scale=scale)
            for part in (plan.val, plan.train)
        )
        n_events = sum(targets.events[patient] for patient in plan.train)
        return FoldRows(
            predictions=tested, validation=held, training=trained, n_train_events=n_events,
            scale=ScaleFacts(**scale, intervals=interval_facts(own.intervals)),
        )  # fmt: skip

    def _risks(self, outputs: Float64[np.ndarray, "n out"], targets: SurvivalTargets) -> Float64[np.ndarray, " n"]:
        """Return what patients are ranked by."""
        return interval_risks(outputs, targets) if self.n_intervals else outputs[:, 0]

    def scaled_by_held_out(self, rows: FoldRows, parts: Sequence[FoldRows]) -> FoldRows:
        """Return the rows of a fold with scale, cut-offs and training risks of its held-out training patients."""
        return scaled_by_held_out(rows, parts, self.end_point.risk_groups)

    def baseline_rows(
        self, plan: FoldPlan, targets: SurvivalTargets, inputs: Mapping[str, tuple[np.ndarray, np.ndarray]]
    ) -> list[Row]:
        """Return rows of penalised Cox models."""
        rows: list[Row] = []
        for model, (train, test) in inputs.items():
            cox = fit_linear_cox(train, plan.train, targets)
            scale = scale_of_linear(cox, train, held_out_risks(train, plan, targets), targets.risk_groups)
            rows += survival_rows(plan, plan.test, targets, cox.log_hazard(test), model=model, scale=scale)
        return rows

    def combined_rows(
        self,
        plan: FoldPlan,
        targets: SurvivalTargets,
        rows: FoldRows,
        baselines: Sequence[Row],
        inputs: Mapping[str, tuple[np.ndarray, np.ndarray]],
    ) -> list[Row]:
        """Return rows of the average of attention and mean pool, and of Cox on image score and clinical covariates."""
        models = combined_scores(plan, targets, rows.predictions, rows.validation, baselines, inputs)
        return [
            row
            for model, (risks, scale) in models.items()
            for row in survival_rows(plan, plan.test, targets, risks, model=model, scale=scale)
        ]

    def predict_images(
        self, models: Iterable[tuple[FoldPlan, Model]], bags: BagStore, targets: SurvivalTargets
    ) -> None:
        """Predict no images: a time is known of a patient alone."""
