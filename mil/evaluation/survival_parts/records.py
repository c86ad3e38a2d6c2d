"""What metrics.json holds of a survival run's further models, hazard ratios, groups, follow-up and calibration."""

from __future__ import annotations

from dataclasses import dataclass

from mil.evaluation.metrics_record import Named
from mil.metrics.bootstrap import Interval
from mil.metrics.survival_curves import MedianTime
from mil.runs.record import present
from mil.survival.calibration import CalibrationAt, DCalibration


@dataclass(frozen=True, kw_only=True, slots=True)
class FurtherModel:
    """A model made of the scores of others: its metrics, and the paired differences to these."""

    figures: Named
    differences: dict[str, Named]


@dataclass(frozen=True, kw_only=True, slots=True)
class HazardRatio:
    """The hazard ratio for one more of an input (of a number: one standard deviation), with Wald's limits and p.

    `proportional_p` tests that it does not change with time. All None where the likelihood has no maximum.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    proportional_p: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CoxTable:
    """A Cox regression on the tested patients: the score alone, or with the clinical covariates.

    `proportional_p` is of all inputs together.
    """

    n: int
    events: int
    rows: tuple[HazardRatio, ...]
    proportional_p: float | None
    events_per_input: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LikelihoodRatio:
    """Whether the image score adds to the clinical covariates: of two regressions with and without it."""

    statistic: float
    p: float


@dataclass(frozen=True, kw_only=True, slots=True)
class InsideGroups:
    """C of pairs of one group (one subtype, say), by model; a model that only tells groups apart is at 0.5 there."""

    column: str
    n: int
    groups: dict[str, int]  # patients of each
    c_index: dict[str, Interval]


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionPoint:
    """Net benefit a patient of treating those whose predicted risk is the threshold or more, and of treating everybody."""

    threshold: float
    model: float
    everybody: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RunCalibration:
    """Calibration at some times, over all times, and the decision curve at the middle one of the times."""

    at: tuple[CalibrationAt, ...]
    over_all: DCalibration | None
    decision: tuple[DecisionPoint, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class IncidenceAt:
    """Cumulative incidence by a time in one risk group, by Aalen and Johansen, and 1 less Kaplan-Meier, which says too much."""

    group: str
    time: float
    own: float
    low: float | None
    high: float | None
    competing: float
    kaplan_meier: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SurvivalParts:
    """All of it; what a run has not is None or empty.

    `follow_up` is the median follow-up by reverse Kaplan-Meier; `n_intervals` how many intervals of time the head of each fold has,
    where it has any.
    """

    models: dict[str, FurtherModel]
    alone: CoxTable | None
    adjusted: CoxTable | None
    likelihood_ratio: LikelihoodRatio | None
    inside_groups: InsideGroups | None
    follow_up: MedianTime
    calibration: tuple[CalibrationAt, ...]
    d_calibration: DCalibration | None
    incidence: tuple[IncidenceAt, ...]  # where competing events are known
    decision: tuple[DecisionPoint, ...]  # at the middle one of the times of `calibration`
    n_intervals: tuple[int, ...] | None = present()
