"""Survival as a task: Cox's partial likelihood (Efron ties) of event-stratified batches, or of the whole cohort at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int
from torch import Tensor

from common.cohort import Cohort
from common.failures import StudyError
from mil.bags.bags import BagStore
from mil.heads.head import Head
from mil.runs.facts import ScaleFacts
from mil.runs.figure_names import ATTENTION, COMPETING
from mil.runs.model_file import Model
from mil.survival.partial_likelihood import loss, loss_and_gradient
from mil.training.held_out.risk_scale import scale_of, scaled_by_held_out
from mil.training.packed import ReadBag, draw, in_blocks, predict
from mil.training.recipe.batches import risk_set_size, stratified_batches
from mil.training.recipe.schedule import EPOCHS
from mil.training.task import AuditOutcome, FoldInputs, FoldRows, Row, TargetCounts
from mil.training.time_to_event.end_points import EndPoint, find_end_point
from mil.training.time_to_event.joint_models import (
    combined_scores,
    fit_linear_cox,
    held_out_risks,
    scale_of_linear,
)
from mil.training.time_to_event.linear_fit import fit_linear, is_linear
from mil.training.time_to_event.risk_rows import survival_rows
from mil.training.time_to_event.survival_targets import SurvivalTargets
from mil.training.training_settings import TrainConfig
from splits.fold_plan import FoldPlan

MIN_EVENTS = 2
MAX_GRADIENT = 5.0


@dataclass(frozen=True, kw_only=True)
class SurvivalTraining:
    """Time to an event (see `TrainingTask`)."""

    name: str
    columns: tuple[str, ...] = ("time", "event")
    possible_covariates: tuple[str, ...] = ()
    learning_rate_factor: float = 1 / 3  # a partial likelihood is noisier than a class
    end_point: EndPoint = EndPoint()  # noqa: RUF009  a frozen value

    def with_settings(self, config: TrainConfig) -> SurvivalTraining:
        """Return the task with the end point, ties, strata, entry and weights of a run's settings."""
        own = EndPoint(
            name=config.endpoint, horizon=config.horizon, entry=config.entry, group=config.strata,
            weight=config.case_weights, competing=config.competing, ties=config.ties, risk_groups=config.risk_groups,
        )  # fmt: skip
        named = [
            name for name in (*config.endpoint.split("/"), config.entry, config.case_weights, config.competing) if name
        ]
        return replace(self, end_point=own, columns=(*self.columns, *named))

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
        return targets, excluded

    def classes(self, targets: SurvivalTargets) -> list[str]:
        """Return none."""
        return []

    def n_outputs(self, targets: SurvivalTargets) -> int:
        """Return one: the log-hazard."""
        return 1

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
        """Refuse a fold without an event.

        Raises:
            StudyError: there is none to learn from.
        """
        if not any(map(targets.counts, plan.train)):
            raise StudyError(f"{plan.place} has no event among its training patients; make splits with fewer --folds")

    def epochs_for(self, n_train: int, config: TrainConfig) -> int:
        """Return the epochs where the user names none: the linear head is fitted exactly, in one."""
        return 1 if is_linear(config.head) else EPOCHS

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
        """Train one epoch: a step for each batch of patients at risk together, or one for the whole cohort; return the loss.

        Every patient is in one batch; events are spread evenly over them, and each has one.
        """
        if is_linear(head.name):
            fit_linear(head, fold)
            return self._loss_of(fold.targets, fold.train, predict(head, fold.read, fold.train)[:, 0])
        if not fold.config.risk_set_patients:
            return self._exact_step(head, optimiser, fold, rng)
        events, total, weight = fold.targets.events, 0.0, 0.0
        size = risk_set_size(fold.config.risk_set_patients, len(fold.train), sum(events[each] for each in fold.train))
        for batch in stratified_batches(fold.train, events, size, rng):
            sets = fold.targets.risk_sets(batch)
            if sets is None:
                continue
            outputs, extra = head.taught(draw(fold.read, batch, fold.config.max_tiles, rng), None)
            risks = outputs[:, 0].detach().double().numpy()
            if not np.isfinite(risks).all():
                return float("nan")
            own, gradient = loss_and_gradient(risks, sets)
            optimiser.zero_grad()
            ((outputs[:, 0] * torch.from_numpy(gradient).to(outputs.dtype)).sum() + extra).backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), MAX_GRADIENT)
            optimiser.step()
            total, weight = total + own * sets.total_weight, weight + sets.total_weight
        return total / weight

    def _exact_step(
        self, head: Head, optimiser: torch.optim.Optimizer, fold: FoldInputs[SurvivalTargets], rng: np.random.Generator
    ) -> float:
        """Take one step along the exact gradient of the whole cohort."""
        seeds = rng.integers(2**31, size=(len(fold.train), 2))
        optimiser.zero_grad()
        loss = cohort_gradient(head, fold, seeds)
        torch.nn.utils.clip_grad_norm_(head.parameters(), MAX_GRADIENT)
        optimiser.step()
        return loss

    def validation_loss(self, head: Head, fold: FoldInputs[SurvivalTargets]) -> float:
        """Return the cross-validated partial likelihood (Verweij and van Houwelingen 1993, Stat Med 12:2305), negative.

        l(training and validation) - l(training): a few validation patients alone have hardly an event to rank. Without
        training patients it is that of the validation patients by themselves.
        """

        def total(patients: Sequence[str], risks: Float64[np.ndarray, " n"]) -> float:
            sets = fold.targets.risk_sets(patients)
            return 0.0 if sets is None else loss(risks, sets) * sets.total_weight

        both = [*fold.train, *fold.val]
        risks = predict(head, fold.read, both)[:, 0]
        if not np.isfinite(risks).all():
            return float("nan")
        return float((total(both, risks) - total(fold.train, risks[: len(fold.train)])) / len(fold.val))

    def _loss_of(self, targets: SurvivalTargets, patients: Sequence[str], risks: Float64[np.ndarray, " n"]) -> float:
        sets = targets.risk_sets(patients)
        return float("nan") if sets is None or not np.isfinite(risks).all() else loss(risks, sets)

    def prediction_columns(self, targets: SurvivalTargets) -> list[str]:
        """Return the columns: time and event, log-hazard, score and risk group."""
        return ["repeat", "fold", "patient_id", "model", "time", "event", "log_hazard", "score", "risk_group"]

    def predict_fold(self, head: Head, read: ReadBag, plan: FoldPlan, targets: SurvivalTargets) -> FoldRows:
        """Return test and held-out predictions, and the training risks that put them on a scale."""
        train_risk = predict(head, read, plan.train)[:, 0]
        scale = scale_of(train_risk, targets.risk_groups)
        tested, held, trained = (
            survival_rows(plan, part, targets, risk, model=ATTENTION, scale=scale)
            for part, risk in (
                (plan.test, predict(head, read, plan.test)[:, 0]),
                (plan.val, predict(head, read, plan.val)[:, 0]),
                (plan.train, train_risk),
            )
        )
        n_events = sum(targets.events[patient] for patient in plan.train)
        return FoldRows(
            predictions=tested, validation=held, training=trained, scale=ScaleFacts(**scale), n_train_events=n_events
        )

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


def cohort_gradient(head: Head, fold: FoldInputs[SurvivalTargets], seeds: Int[np.ndarray, "n 2"]) -> float:
    """Add the exact gradient of the whole cohort's Cox loss to the head's parameters, block by block.

    Args:
        head: in training mode.
        fold: its training patients are those of the partial likelihood.
        seeds: for each block (its first patient's row) the seeds of the drawn tiles and of dropout.

    Returns:
        The loss.
    """
    train, config = fold.train, fold.config

    def forward(start: int, block: list[str]) -> Tensor:
        bags = draw(fold.read, block, config.max_tiles, np.random.default_rng(seeds[start, 0]))
        torch.manual_seed(int(seeds[start, 1]))  # the same dropout in both passes
        return head.of_bags(bags)[:, 0]

    starts = range(0, len(train), config.batch_patients)
    blocks = list(in_blocks(train, config.batch_patients))
    with torch.no_grad():
        risks = np.concatenate(
            [forward(start, block).double().numpy() for start, block in zip(starts, blocks, strict=True)]
        )
    if not np.isfinite(risks).all():
        return float("nan")  # `fit` says what to do
    sets = fold.targets.risk_sets(train)
    assert sets is not None, "a fold has an event among its training patients"
    own, gradient = loss_and_gradient(risks, sets)
    coefficients = torch.from_numpy(gradient).float()
    for start, block in zip(starts, blocks, strict=True):
        (forward(start, block) * coefficients[start : start + len(block)]).sum().backward()
    return own
