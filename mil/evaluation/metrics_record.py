"""What metrics.json holds for every task, as values; each task adds its own beside its evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import numpy as np
from jaxtyping import Num

from mil.metrics.bootstrap import Interval
from mil.metrics.support import MIN_PATIENTS
from mil.runs.figure_names import BASELINES
from mil.runs.record import keyed, read_json, record_of, write_record
from mil.runs.run_folder import RunFolder

SCHEMA = "metrics/1"
EVALUATE_AGAIN = "evaluate again with python mil/evaluate.py"

Named = dict[str, Interval]  # metrics by name, as figure_names lists them


@dataclass(frozen=True, kw_only=True, slots=True)
class NotEvaluated:
    """The metrics of a run without test patients: none."""

    task: str
    evaluated: bool = False
    notes: tuple[str, ...] = ()
    is_synthetic: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldMetrics:
    """A fold's own metrics, without intervals: few patients, to show the spread."""

    repeat: int
    fold: int
    n: int

    @property
    def values(self) -> Mapping[str, float | None]:
        """The metrics by which two runs are compared; None where one is not defined."""
        return {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Subgroup:
    """The main metrics of a part of the cohort, or why there are none; `events` where the task has any."""

    column: str
    group: str
    n: int
    events: int | None
    metrics: Named | None = keyed("figures")
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SharePoint:
    """The main metric of a model trained on a share of the training patients."""

    share: float
    n_train: float
    attention: Interval
    mean_pool: Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """Counts: a row a true class, a column a predicted one."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


def confusion_of(counts: Num[np.ndarray, "k k"], classes: Sequence[str]) -> Confusion:
    """Return a confusion matrix as a record."""
    return Confusion(classes=tuple(classes), counts=tuple(tuple(map(int, row)) for row in counts))


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageClass:
    """One class's images."""

    n: int
    auroc: Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageBaseline:
    """A baseline's metrics by image, and the paired difference of the attention model to it."""

    figures: Named
    differences: Named


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageMetrics:
    """Metrics by image, for tile tables; the vote is of all images of a patient, `chance_accuracy` of the largest class."""

    n_images: int
    n_patients: int
    macro_auroc: Interval
    accuracy: Interval
    vote_accuracy: Interval
    chance_accuracy: float
    baselines: dict[str, ImageBaseline]
    per_class: dict[str, ImageClass]
    confusion: Confusion


@dataclass(frozen=True, kw_only=True, slots=True)
class BagCounts:
    """The bags of the run, trained on or tested, and those of one tile, where attention has nothing to choose."""

    n: int
    n_of_one_tile: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BootstrapFacts:
    """How often patients were drawn, the seed, and how much wider intervals are than the bootstrap's alone."""

    n: int
    seed: int
    n_drawn: int = 0  # patients; as many as there are test bags, or fewer where bags are slides
    widening: float = 1.0  # since models of folds share training patients


@dataclass(frozen=True, kw_only=True, slots=True)
class RunMetrics:
    """What every evaluated run has: metrics of each model, paired differences, chance, folds, subgroups, learning curve."""

    main: ClassVar[str]  # the metric that the verdict is about

    task: str
    evaluated: bool
    notes: tuple[str, ...]
    attention: Named
    mean_pool: Named | None
    clinical: Named | None
    differences: dict[str, Named]
    n_patients: int
    chance: dict[str, float]
    folds_tested: tuple[FoldMetrics, ...]
    images: ImageMetrics | None
    subgroups: tuple[Subgroup, ...]
    learning_curve: tuple[SharePoint, ...]
    bags: BagCounts
    bootstrap: BootstrapFacts
    unit: str = "patient"  # what a bag is of: a patient, or a slide
    is_synthetic: bool = False  # the slides are painted and the patients invented: figures of nobody

    @property
    def baselines(self) -> Mapping[str, Named]:
        """The metrics of each baseline that the run has."""
        known = dict(zip(BASELINES, (self.mean_pool, self.clinical), strict=True))
        return {model: own for model, own in known.items() if own is not None}

    @property
    def tested(self) -> str:
        """Who was tested, in words."""
        return f"{self.n_patients} test {self.unit}s"

    @property
    def remarks(self) -> str:
        """What a task says beside the verdict, in words; may be empty."""
        return ""

    @property
    def needed(self) -> str:
        """How many test patients it takes for an interval, in words."""
        return f"{MIN_PATIENTS} patients"


M = TypeVar("M", bound=RunMetrics)


def with_own(kind: type[M], shared: RunMetrics, **own: Any) -> M:
    """Return the metrics of a task: what every task has, and its own."""
    return kind(**{each.name: getattr(shared, each.name) for each in fields(RunMetrics)} | own)


def write_metrics(folder: RunFolder, metrics: RunMetrics | NotEvaluated) -> None:
    """Write metrics.json."""
    write_record(folder.metrics, metrics, SCHEMA)


def read_metrics(folder: RunFolder, kind: type[RunMetrics]) -> RunMetrics | NotEvaluated:
    """Read the metrics.json of a run whose task has metrics of this kind.

    Raises:
        StudyError: it is of another schema or damaged; names the file, the key and what to do.
    """
    known = read_json(folder.metrics, SCHEMA, EVALUATE_AGAIN)
    if not known.get("evaluated"):
        return record_of(NotEvaluated, known, folder.metrics, EVALUATE_AGAIN)
    return record_of(kind, known, folder.metrics, EVALUATE_AGAIN)
