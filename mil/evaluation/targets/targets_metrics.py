"""What metrics.json holds for a run with targets of its own beside what every run has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mil.evaluation.metrics_record import Confusion, FoldMetrics, RunMetrics
from mil.metrics.bootstrap import Interval
from mil.metrics.support import MIN_EVENTS, MIN_PATIENTS
from mil.runs.record import keyed


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetsFold(FoldMetrics):
    """A fold's metrics of every target; None where one is not defined."""

    of_targets: dict[str, float | None] = keyed("figures")

    @property
    def values(self) -> Mapping[str, float | None]:
        """The fold's metrics by name."""
        return self.of_targets


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """A class against the rest, or what lies above a class against what does not."""

    n: int  # patients of the class, or above it
    auroc: Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetMetrics:
    """One target: how many test patients have it, and what is shown of it; `mean` and `sd` are of numbers."""

    kind: str
    n: int
    n_missing: int
    class_counts: dict[str, int]
    confusion: Confusion | None
    ranked: dict[str, Ranked]  # by class: of ordered ones, all but the highest
    mean: float | None
    sd: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetsMetrics(RunMetrics):
    """The metrics of a run with targets of its own."""

    folds_tested: tuple[TargetsFold, ...]
    targets: dict[str, TargetMetrics]

    @property
    def tested(self) -> str:
        """Who was tested, in words."""
        known = ", ".join(f"{name} {own.n}" for name, own in self.targets.items())
        return f"{self.n_patients} test {self.unit}s" + (f" ({known})" if len(self.targets) > 1 else "")

    @property
    def needed(self) -> str:
        """How many test patients it takes for an interval, in words."""
        has_classes = any(own.class_counts for own in self.targets.values())
        return (
            f"{MIN_PATIENTS}, with {MIN_EVENTS} on both sides of a class" if has_classes else f"{MIN_PATIENTS} patients"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberMetrics(TargetsMetrics):
    """Of one number."""

    main: ClassVar[str] = "r2"


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderedMetrics(TargetsMetrics):
    """Of one column of ordered classes."""

    main: ClassVar[str] = "quadratic_kappa"


@dataclass(frozen=True, kw_only=True, slots=True)
class SeveralMetrics(TargetsMetrics):
    """Of several columns: the mean over them of kappa, R2 or twice the macro AUROC less 1, so that 0 is chance and 1 perfect."""

    main: ClassVar[str] = "skill"
