"""The metrics of a run with targets of its own: each by itself, of the test patients who have it; of several also their mean.

Fixed beforehand: the main metric of ordered classes is the quadratic-weighted kappa, of numbers R2, of several targets their
mean skill.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from common.tables.target_columns import ORDERED
from mil.evaluation.clusters import plan_of_bags, widening_of
from mil.evaluation.metrics_record import RunMetrics, confusion_of, with_own
from mil.evaluation.subtype_evaluation import status_notes
from mil.evaluation.targets.judged_targets import OF_KIND, RANKED, JudgedTarget, judged, skill
from mil.evaluation.targets.targets_metrics import (
    NumberMetrics,
    OrderedMetrics,
    Ranked,
    SeveralMetrics,
    TargetMetrics,
    TargetsFold,
    TargetsMetrics,
)
from mil.evaluation.task import GroupMetrics
from mil.metrics.bootstrap import Resamples, Resampling, intervals, resample, supported
from mil.metrics.classification import Weights, once
from mil.metrics.support import MIN_EVENTS, MIN_PATIENTS, Support
from mil.runs.figure_names import ATTENTION, PRIOR
from mil.runs.run_store import FinishedRun, by_patient
from mil.runs.targets_record import TargetColumns, Targets, columns_of

if TYPE_CHECKING:
    import pandas as pd

SKILL = "skill"


@dataclass(frozen=True, kw_only=True)
class TargetsEvaluation:
    """The evaluation of one or several targets."""

    known: Targets

    @property
    def columns(self) -> tuple[TargetColumns, ...]:
        """The columns of each target."""
        return columns_of(self.known.targets)

    @property
    def is_several(self) -> bool:
        """Whether there is more than one target."""
        return len(self.known.targets) > 1

    @property
    def named(self) -> tuple[str, ...]:
        """The metrics of every target, before them the mean skill of several."""
        empty = np.zeros(0)
        targets = [
            JudgedTarget(columns=own, places=empty.astype(np.int64), truth=empty, predicted=np.zeros((0, 1)))
            for own in self.columns
        ]
        own = tuple(each.named(name) for each in targets for name in OF_KIND[each.kind])
        return (SKILL, *own) if self.is_several else own

    @property
    def truth(self) -> tuple[str, ...]:
        """The columns of what is known."""
        return tuple(own.truth for own in self.columns)

    @property
    def metrics_kind(self) -> type[TargetsMetrics]:
        """The class of the metrics of a run."""
        if self.is_several:
            return SeveralMetrics
        return OrderedMetrics if self.known.targets[0].kind == ORDERED else NumberMetrics

    def _table(self, run: FinishedRun, model: str) -> pd.DataFrame:
        return by_patient(run.predictions, model, [name for own in self.columns for name in own.predicted], self.truth)

    def resampling_plan(self, run: FinishedRun, *, n_bootstrap: int, seed: int) -> Resampling:
        """Draw patients inside each class of the first target that has classes, and those with a number or without any target."""
        return self._plan(self._table(run, ATTENTION), run, n_bootstrap, np.random.default_rng([seed, 74]))

    def _plan(self, table: pd.DataFrame, run: FinishedRun, n_bootstrap: int, rng: np.random.Generator) -> Resampling:
        targets = judged(table, self.columns)
        of = next((own for own in targets if own.columns.target.classes), targets[0])
        strata = np.full(len(table), -1, dtype=np.int64)
        strata[of.places] = of.labels if of.columns.target.classes else 0
        codes = run.patient_codes(list(table.index))
        return plan_of_bags(strata + 1, codes, n_bootstrap, rng, widening_of(run, len(table)))

    def resampled_metrics(self, run: FinishedRun, model: str, plan: Resampling) -> Resamples:
        """Return the metrics of every target, and their mean skill, on a resampling plan."""
        return self._resampled(judged(self._table(run, model), self.columns), plan)

    def _resampled(self, targets: tuple[JudgedTarget, ...], plan: Resampling) -> Resamples:
        def metrics(weights: Weights) -> Mapping[str, Float64[np.ndarray, " b"]]:
            found: dict[str, Float64[np.ndarray, " b"]] = {}
            main = []
            for own in targets:
                values = own.metrics(weights[own.places])
                main.append((own, values[OF_KIND[own.kind][0]]))
                found |= {own.named(name): value for name, value in values.items()}
            return {SKILL: skill(main), **found} if self.is_several else found

        support: dict[str, Support] = {}
        is_enough = True
        for own in targets:
            parts = own.support()
            is_enough &= parts.get(OF_KIND[own.kind][0], Support(is_enough=False)).is_enough
            support |= {own.named(name): part for name, part in parts.items()}
        return supported(resample(metrics, plan), support | {SKILL: Support(is_enough)})

    def notes(self, run: FinishedRun) -> tuple[str, ...]:
        """Say whom each target is missing of, which classes have hardly a patient, and which is the end of follow-up's."""
        table = self._table(run, ATTENTION)
        found = []
        for own in judged(table, self.columns):
            name, counts = own.columns.target.column, own.class_counts
            if len(own.truth) < len(table):
                found.append(
                    f"{len(table) - len(own.truth)} test patient(s) have no {name}: its metrics are of the others"
                )
            few = [f"{c} ({n})" for c, n in zip(own.columns.target.classes, counts, strict=True) if n < MIN_EVENTS]
            if few:
                found.append(f"under {MIN_EVENTS} test patients of {', '.join(few)} ({name})")
        return (*found, *status_notes(run))

    def chance(self, run: FinishedRun) -> dict[str, float]:
        """Return what can be reached without a look at the slides."""
        targets = judged(self._table(run, ATTENTION), self.columns)
        of_prior = judged(self._table(run, PRIOR), self.columns) if PRIOR in run.models else (None,) * len(targets)
        known = {SKILL: 0.0} if self.is_several else {}
        for own, prior in zip(targets, of_prior, strict=True):
            known |= own.chance(prior)
        return known

    def metrics_of_fold(self, run: FinishedRun, place: tuple[int, int], rows: pd.DataFrame) -> TargetsFold:
        """Return a fold's metrics of every target."""
        found: dict[str, float | None] = {}
        for own in judged(rows, self.columns):
            values = own.metrics(once(len(own.truth)))
            for name in OF_KIND[own.kind][:2]:
                value = float(values[name][0])
                found[own.named(name)] = value if np.isfinite(value) else None
        return TargetsFold(repeat=place[0], fold=place[1], n=len(rows), of_targets=found)

    def metrics_of_group(
        self, run: FinishedRun, patients: pd.Index, n_bootstrap: int, rng: np.random.Generator
    ) -> GroupMetrics:
        """Return the main metric of every target of some patients."""
        table = self._table(run, ATTENTION).loc[patients]
        targets = judged(table, self.columns)
        wanted = {own.named(OF_KIND[own.kind][0]): own.support() for own in targets}
        if not any(parts[name.rpartition(": ")[2]].is_enough for name, parts in wanted.items()):
            why = f"too few: under {MIN_PATIENTS} patients, or {MIN_EVENTS} on one side of every class"
            return GroupMetrics(why=why)
        samples = self._resampled(targets, self._plan(table, run, n_bootstrap, rng))
        return GroupMetrics(metrics={name: own for name, own in intervals(samples).items() if name in wanted})

    def metrics_of_run(
        self, run: FinishedRun, shared: RunMetrics, attention: Resamples, plan: Resampling
    ) -> TargetsMetrics:
        """Return what every run has, and each target by itself."""
        table, spans = self._table(run, ATTENTION), intervals(attention)
        targets = {}
        for own in judged(table, self.columns):
            target, counts, confusion = own.columns.target, own.class_counts, own.confusion
            names = target.classes[:-1] if target.kind == ORDERED else target.classes
            n_of = [int(n) for n in (counts[::-1].cumsum()[::-1][1:] if target.kind == ORDERED else counts)]
            ranked = {
                name: Ranked(n=n_of[step], auroc=span)
                for step, name in enumerate(names)
                if (span := spans.get(own.named(f"{RANKED[target.kind]}:{step}"))) is not None
            }
            targets[target.column] = TargetMetrics(
                kind=target.kind, n=len(own.truth), n_missing=len(table) - len(own.truth),
                class_counts=dict(zip(target.classes, map(int, counts), strict=True)),
                confusion=None if confusion is None else confusion_of(confusion, target.classes), ranked=ranked,
                mean=float(own.truth.mean()) if not target.classes and len(own.truth) else None,
                sd=float(own.truth.std()) if not target.classes and len(own.truth) else None,
            )  # fmt: skip
        return with_own(self.metrics_kind, shared, targets=targets)

    def tests_by_class(self, first: FinishedRun, second: FinishedRun) -> None:
        """Nothing: differences are tested by the paired bootstrap."""
