"""What stands in a model beside its weights, as values: all that a prediction needs, and no patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mil.runs.facts import ScaleFacts

SCHEMA = "ensemble/3"


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldModel:
    """The head of one fold.

    `hazard` is Breslow's cumulative hazard on the grid, of a patient with log-hazard `hazard_shift`; it is multiplied by
    exp(hazard_slope (log-hazard - hazard_shift)). A head with a log-odds for each interval of time has none: `scale.intervals`
    says what its outputs mean.
    """

    repeat: int
    fold: int
    n_train: int
    sha256: str  # of the fold's own model file
    head: dict[str, Any]
    scale: ScaleFacts | None = None
    hazard_shift: float | None = None
    hazard_slope: float = 1.0
    hazard: tuple[float, ...] = ()

    @property
    def key(self) -> str:
        """What the names of its tensors begin with."""
        return f"repeat{self.repeat}_fold{self.fold}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The temperature that divides the mean logits, and how many patients it was fitted on, each predicted out of fold."""

    temperature: float
    n_patients: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionSets:
    """The highest 1 - probability with which a class still stands in a set; null: too few patients, it always does."""

    coverage: float
    thresholds: dict[str, float | None]
    n_patients: dict[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class SurvivalGrid:
    """The times at which S(t) is given; the unit is that of the training table's column `time`, "" where it is not known."""

    times: tuple[float, ...]
    unit: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StainReference:
    """The colours that slides were mapped to; not exact where only the rounded numbers of the feature files are known."""

    matrix: tuple[tuple[float, ...], ...]
    pink: tuple[float, ...]
    p99: tuple[float, ...]
    lab: tuple[tuple[float, ...], ...] | None
    is_exact: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class CohortSummary:
    """Who the model was trained on, in numbers."""

    n_patients: int
    n_slides: int
    n_tiles: int
    class_counts: dict[str, int]
    n_events: int
    is_synthetic: bool
    restriction: str  # the condition that chose the patients; "" for all
    source: str
    date: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Up to which distance a slide, and the most distant slide of a patient, is like those of the training cohort.

    `level` is the share of left-out training slides within: 0.975 where they are enough, else n / (n + 1), and then the limit is
    the most distant of them.
    """

    slide: float
    patient: float
    level: float
    n_slides: int
    n_patients: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FamiliarityFacts:
    """The limits of each measure; null where the training cohort says nothing of it."""

    embedding: Limits | None
    stain: Limits | None
    least_tiles: int  # of a training slide
    most_tiles: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Worth:
    """A metric of the run, out of fold, with its interval."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class EnsembleRecord:
    """All that stands in a model beside its weights."""

    task: str
    classes: tuple[str, ...]  # order of the outputs; empty for a hazard
    unit: str  # what a bag is of: patient or slide
    encoder: dict[str, Any]  # as in run.json: encoder, weights, transform, colours, tiles
    licence: str  # of the encoder
    tiling: (
        dict[str, Any] | None
    )  # settings of tile_slides.py behind the tiles; null where they are not known or not alike
    stain_reference: StainReference | None  # null: colours as they are
    folds: tuple[FoldModel, ...]
    calibration: Calibration | None
    prediction_sets: PredictionSets | None
    survival: SurvivalGrid | None
    cohort: CohortSummary
    familiarity: FamiliarityFacts
    worth: dict[str, Worth]  # of the single heads, out of fold
    settings: dict[str, Any]
    versions: dict[str, str]
