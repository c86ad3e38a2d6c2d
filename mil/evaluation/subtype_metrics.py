"""What metrics.json holds for a subtype run beside what every run has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mil.evaluation.metrics_record import Confusion, FoldMetrics, Named, RunMetrics
from mil.metrics.bootstrap import Interval
from mil.metrics.calibration import ReliabilityBin
from mil.metrics.support import MIN_EVENTS, MIN_PATIENTS


@dataclass(frozen=True, kw_only=True, slots=True)
class SubtypeFold(FoldMetrics):
    """A fold's discrimination; None where it is not defined."""

    macro_auroc: float | None
    balanced_accuracy: float | None
    accuracy: float | None

    @property
    def values(self) -> Mapping[str, float | None]:
        """The fold's metrics by name."""
        return {
            "macro_auroc": self.macro_auroc, "balanced_accuracy": self.balanced_accuracy, "accuracy": self.accuracy,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassMetrics:
    """One class against the rest."""

    n: int
    auroc: Interval
    average_precision: Interval
    calibration_intercept: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """The bins of the probabilities as the model gives them."""

    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaled:
    """The probabilities scaled by each fold's temperature."""

    bins: tuple[ReliabilityBin, ...]
    macro_auroc: Interval
    brier: Interval
    log_loss: Interval
    ece: Interval
    calibration_slope: Interval

    @property
    def calibration(self) -> Named:
        """The calibration metrics by name."""
        return {
            "brier": self.brier, "log_loss": self.log_loss, "ece": self.ece,
            "calibration_slope": self.calibration_slope,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldTemperature:
    """A fold's temperature and on how many training patients, held out of training, it was fitted."""

    repeat: int
    fold: int
    temperature: float
    n_val: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Reliability before and after temperature scaling; `calibrated` is None where nobody was held out."""

    n_bins: int
    raw: Reliability
    temperatures: tuple[FoldTemperature, ...]
    calibrated: Scaled | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SetMetrics:
    """Prediction sets of one kind of threshold: how often they hold the truth, and how large they are."""

    covered: Interval
    size: Interval
    single: Interval
    empty: Interval
    covered_by_class: tuple[float | None, ...]
    always_included: int
    n_thresholds: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Conformal:
    """Prediction sets with a threshold a class, and with one for all."""

    coverage_wanted: float
    least_patients: int
    by_class: SetMetrics
    common: SetMetrics


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracyAt:
    """The accuracy among the most certain patients."""

    coverage: float
    accuracy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Selective:
    """Selective prediction: (coverage, accuracy) of every threshold, some of them by name, and the area under the risk."""

    curve: tuple[tuple[float, float], ...]
    at: tuple[AccuracyAt, ...]
    area_under_risk: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SubtypeMetrics(RunMetrics):
    """The metrics of a subtype run; `conformal` is None where nobody was held out."""

    main: ClassVar[str] = "macro_auroc"

    folds_tested: tuple[SubtypeFold, ...]
    per_class: dict[str, ClassMetrics]
    confusion: Confusion
    calibration: Calibration
    conformal: Conformal | None
    selective: Selective

    @property
    def tested(self) -> str:
        """Who was tested, in words."""
        classes = ", ".join(f"{name} {own.n}" for name, own in self.per_class.items())
        return f"{self.n_patients} test {self.unit}s ({classes})"

    @property
    def needed(self) -> str:
        """How many test patients it takes for an interval, in words."""
        return f"{MIN_PATIENTS}, with a class of {MIN_EVENTS} beside {MIN_EVENTS} others"
