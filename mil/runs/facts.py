"""What is known of a training run beside its predictions: run.json, and a record a fold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mil.runs.record import Scalar, present

RUN_SCHEMA, FOLD_SCHEMA = "run/3", "fold/5"  # 3 and 4: trained to the last epoch, losses before and after, inner folds; 5: any number of risk groups
TRAIN_AGAIN = "train again with python mil/train.py"


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """One epoch of a fold."""

    epoch: int
    train_loss: float
    val_loss: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class IntervalFacts:
    """The intervals of time of a fold whose head has a log-odds for each: learnt of its training patients alone.

    `ends` are rising times in the run's unit; `base` the log-odds of the event in each by the life table, to which the head's
    outputs are added.
    """

    ends: tuple[float, ...]
    base: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleFacts:
    """What makes a fold's outputs risks, and puts these on one scale with those of other folds."""

    mean: float
    sd: float
    cutoffs: tuple[float, ...]  # of the risk groups, rising log-hazards
    intervals: IntervalFacts | None = present()  # of --loss logistic_hazard alone


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldFacts:
    """How one fold was trained; `scale` and `n_train_events` are of survival alone."""

    repeat: int
    fold: int
    n_train: int
    n_val: int
    n_test: int
    stopped_by: str
    best_epoch: int
    n_epochs: int
    history: tuple[Epoch, ...]
    model_file: str
    covariate_medians: dict[str, float]
    scale: ScaleFacts | None
    n_train_events: int | None
    model_sha256: str
    fingerprint: str
    untrained_loss: float | None = None  # of the training patients, evenly spaced tiles of each
    trained_loss: float | None = None
    n_inner_folds: int = 0  # whose models predicted the training patients out of fold


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldPatients:
    """Who trained, validated and tested a model; they stand here and not in the model file, which is given away."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldRecord(FoldFacts):
    """A finished fold: its facts, its patients and what it predicted; `training` is of survival alone."""

    patients: FoldPatients
    predictions: tuple[dict[str, Scalar], ...]
    validation: tuple[dict[str, Scalar], ...]
    training: tuple[dict[str, Scalar], ...] | None

    def facts(self) -> FoldFacts:
        """Return the fold without its patients, and its predictions, which are kept in tables of their own."""
        return FoldFacts(**{each.name: getattr(self, each.name) for each in fields(FoldFacts)})


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitFacts:
    """Which folds the run took."""

    name: str
    n_repeats: int
    n_folds: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Exclusion:
    """A patient left out, and why."""

    patient_id: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SlideLoss:
    """A slide without features: the step that lost it, and why."""

    slide_id: str
    step: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CovariateFacts:
    """The covariates of the clinical baseline: used, and left out for what reason."""

    used: tuple[str, ...]
    left_out: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShareFacts:
    """A share of the training patients that the run was also trained on, and how many a fold."""

    share: float
    n_train: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CohortFlow:
    """The counts from the clinical table to the analysis."""

    table_patients: int
    table_slides: int
    kept_patients: int
    kept_slides: int
    slides_lost: dict[str, int]  # by step
    patients_lost: dict[str, int]  # by reason


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """What the report says of a run, without clock times and machine names."""

    task: str
    run: str
    study: str  # its folder's name
    is_synthetic: bool  # the slides are painted and the patients invented
    encoder: dict[str, Any]  # as the feature files say: other tools' say less
    classes: tuple[str, ...]
    n_patients: int
    class_counts: dict[str, int]
    n_events: int
    split: SplitFacts
    settings: dict[str, Any]
    seed: int
    defaults: dict[str, Any]
    versions: dict[str, str]
    command: str
    n_slides: int
    n_tiles: int
    n_bags_of_one_tile: int
    excluded: tuple[Exclusion, ...]
    slides_without_features: tuple[str, ...]
    slide_losses: tuple[SlideLoss, ...]
    covariates: CovariateFacts
    learning_curve: tuple[ShareFacts, ...]
    folds: tuple[FoldFacts, ...]
    evaluated: bool
    flow: CohortFlow
    tables: dict[str, str]  # path from the run's folder to sha256
    patient_of: dict[str, str] = field(default_factory=dict)  # slide to patient, where bags are slides; else empty
    n_images: int = 0  # of a tile table; 0: bags are of slides
    time_unit: str = ""  # of the follow-up; "" where it is not known
    data_source: str = ""  # as study.yaml says
    data_date: str = ""

    @property
    def unit(self) -> str:
        """What a bag is of, and so every number: a patient, or a slide where slides have labels of their own."""
        return "slide" if self.patient_of else "patient"

    @property
    def encoder_name(self) -> str:
        """The encoder of the features; empty where the files do not say."""
        return str(self.encoder.get("encoder", ""))

    @property
    def encoder_licence(self) -> str:
        """The licence of the encoder."""
        return str(self.encoder.get("licence", "unknown"))

    @property
    def chosen_rows(self) -> str | None:
        """The condition that restricts the run to a part of the cohort."""
        return self.settings.get("where")

    def medians(self) -> Mapping[tuple[int, int], Mapping[str, float]]:
        """Return the covariates' medians among the training patients of each (repeat, fold)."""
        return {(fold.repeat, fold.fold): fold.covariate_medians for fold in self.folds}
