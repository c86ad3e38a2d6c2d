"""What metrics.json holds for a survival run beside what every run has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mil.evaluation.metrics_record import FoldMetrics, RunMetrics
from mil.evaluation.survival_parts.records import SurvivalParts
from mil.metrics.bootstrap import Interval
from mil.metrics.support import MIN_EVENTS, MIN_PATIENTS
from mil.runs.figure_names import COMBINED, JOINT

FEW_EVENTS = 50
REACHED = {COMBINED: "Averaged with the mean pool it reaches", JOINT: "image and clinical covariates together reach"}


@dataclass(frozen=True, kw_only=True, slots=True)
class SurvivalFold(FoldMetrics):
    """A fold's concordance; None where no pair can be compared."""

    events: int
    c_index: float | None

    @property
    def values(self) -> Mapping[str, float | None]:
        """The fold's metric by name."""
        return {"c_index": self.c_index}


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskGroup:
    """The tested patients of one risk group."""

    name: str
    n: int
    events: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskGroups:
    """Patients parted by their fold's cut-offs, the lowest risk first; `log_rank_p` tests that their curves are one."""

    groups: tuple[RiskGroup, ...]
    parted_by: str  # the setting risk_groups
    log_rank_p: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeAuc:
    """The AUC at one time, with its interval."""

    time: float
    value: float | None
    low: float | None
    high: float | None
    method: str

    @property
    def interval(self) -> Interval:
        """The AUC without its time."""
        return Interval(self.value, self.low, self.high, self.method)


@dataclass(frozen=True, kw_only=True, slots=True)
class OverTimeMetrics:
    """Predicted survival probabilities: Brier score beside that of the Kaplan-Meier curve, AUC at quartiles of events."""

    integrated_brier: Interval
    reference: Interval
    difference: Interval
    auc: tuple[TimeAuc, ...]
    brier: tuple[tuple[float, float, float], ...]  # time, the model's, the reference's
    horizon: float
    time_unit: str = ""  # of all times; "" where it is not known


@dataclass(frozen=True, kw_only=True, slots=True)
class SurvivalMetrics(RunMetrics):
    """The metrics of a survival run; `over_time` is None for a run that kept no training follow-up."""

    main: ClassVar[str] = "c_index"

    folds_tested: tuple[SurvivalFold, ...]
    n_events: int
    over_time: OverTimeMetrics | None
    risk_groups: RiskGroups
    parts: SurvivalParts | None = None  # a run of an earlier version has none

    @property
    def tested(self) -> str:
        """Who was tested, in words."""
        return f"{self.n_patients} test patients with {self.n_events} events"

    @property
    def remarks(self) -> str:
        """What models of several scores reach, and what few events do to the figures."""
        models = {} if self.parts is None else self.parts.models
        said = [
            f"{words} {value.value:.3f}"
            for model, words in REACHED.items()
            if model in models and (value := models[model].figures[self.main]).value is not None
        ]
        reached = f"{'; '.join(said)}." if said else ""
        own = self.attention[self.main]
        if self.n_events >= FEW_EVENTS or own.low is None or own.high is None:
            return reached
        few = (
            f"{self.n_events} events are few: the 95 % interval of the C-index is {own.high - own.low:.2f} wide, so smaller "
            f"differences cannot be seen here, and regressions carry at most {max(1, self.n_events // 10)} at ten events an input."
        )
        return f"{reached} {few}".strip()

    @property
    def needed(self) -> str:
        """How many test patients it takes for an interval, in words."""
        return f"{MIN_PATIENTS} patients and {MIN_EVENTS} events"
