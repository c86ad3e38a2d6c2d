"""What a training run works on: the cohort's targets, its folds, its bags; every fault found before hours of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.cohort import Cohort, read_cohort
from common.failures import StudyError
from common.study import Study
from mil.bags.bags import BagStore, open_bags
from mil.heads.registry import head_named
from mil.runs.run_folder import RunFolder
from mil.training.covariates import Covariates, choose_covariates
from mil.training.cross_validation import RunInputs, check_plans
from mil.training.nested_plans import parse_shares
from mil.training.search.space import SearchPlan, plan_search
from mil.training.task import FollowsSettings, TrainingTask
from mil.training.training_settings import TrainConfig
from splits.fold_plan import FoldPlan, plan_folds

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class KnownCohort:
    """What the clinical table and the folds say of a run, before any feature is looked for.

    Attributes:
        task: as the settings want it.
        table: as it was read.
        cohort: where slides have labels of their own, each slide under its own id, as a patient (Cohort.by_slide).
        patient_of: slide to patient, where bags are slides; else empty.
        targets: of the task's own kind.
        excluded: patients without a target, and why.
        splits: who is where in each fold.
        covariates: of the clinical baseline.
    """

    task: TrainingTask[Any]
    table: Cohort
    cohort: Cohort
    patient_of: dict[str, str]
    targets: Any
    excluded: dict[str, str]
    splits: pd.DataFrame
    covariates: Covariates


@dataclass(frozen=True, kw_only=True)
class PreparedRun:
    """A checked run: who trains on what, and who was left out why."""

    study: Study
    folder: RunFolder  # where its results go
    config: TrainConfig
    task: TrainingTask[Any]
    table: Cohort  # as it was read
    cohort: Cohort  # where slides have labels of their own, each slide under its own id, as a patient (Cohort.by_slide)
    patient_of: dict[str, str]  # slide to patient, where bags are slides; else empty
    targets: Any  # of the task's own kind
    excluded: dict[str, str]  # patient to reason
    splits: pd.DataFrame
    split_plans: list[FoldPlan]  # as the splits name the parts
    plans: list[FoldPlan]  # as they are trained: the inner validation part trains too, unless it is to choose the epoch
    bags: BagStore
    usable: list[str]
    missing_slides: list[str]
    covariates: Covariates
    shares: tuple[float, ...]  # of the learning curve
    search: SearchPlan | None = None  # what is searched in every fold

    @property
    def is_evaluated(self) -> bool:
        """Whether any patient is in a test set."""
        return any(plan.test for plan in self.plans)

    @property
    def classes(self) -> list[str]:
        """The names of the classes; empty for a task without."""
        return self.task.classes(self.targets)

    @property
    def inputs(self) -> RunInputs:
        """What every fold works on."""
        return RunInputs(
            task=self.task, targets=self.targets, bags=self.bags, config=self.config.with_widths(self.task.hidden),
            covariates=self.covariates, owners=self.patient_of, search=self.search,
        )  # fmt: skip


def prepare(study: Study, config: TrainConfig, task: TrainingTask[Any]) -> PreparedRun:
    """Read and check all that a run needs.

    Raises:
        StudyError: something is missing, faulty or too little; the message says what to do.
    """
    folder = RunFolder(study.run(task.name, config.name))  # first: a name that leaves its folder writes nothing
    head_named(config.head)
    known = known_cohort(study, config, task)
    task, cohort, targets = known.task, known.cohort, known.targets
    shares = parse_shares(config.learning_curve)
    search = plan_search(study, config, task, targets)
    bags, without_features, missing_slides = open_bags(
        study, cohort, config.encoder, features=config.features, limit_bytes=int(config.memory_gb * 1e9)
    )
    excluded = known.excluded | without_features
    usable = set(bags.patients) - set(excluded)
    task.check_usable(targets, usable, cohort.path)
    split_plans = plan_folds(known.splits, usable)
    plans = [_with_all_to_train(plan, config) for plan in split_plans]
    check_plans(plans, targets, task)
    return PreparedRun(
        study=study, folder=folder, config=config, task=task, table=known.table, cohort=cohort,
        patient_of=known.patient_of, targets=targets, excluded=excluded,
        splits=known.splits, split_plans=split_plans, plans=plans, bags=bags, usable=sorted(usable),
        missing_slides=missing_slides, covariates=known.covariates, shares=shares, search=search,
    )  # fmt: skip


def known_cohort(study: Study, config: TrainConfig, task: TrainingTask[Any]) -> KnownCohort:
    """Read and check what a run needs of the clinical table and the folds.

    Raises:
        StudyError: something is missing or faulty; the message says what to do.
    """
    task = task.with_settings(config) if isinstance(task, FollowsSettings) else task
    table = cohort = read_cohort(study.cohort_table, where=config.where)
    splits = _splits(study, cohort, config)
    patient_of = _owners(cohort, task)
    if patient_of:
        splits, cohort = _folds_of_slides(splits, cohort), cohort.by_slide
    targets, excluded = task.find_targets(cohort)
    covariates = choose_covariates(
        cohort.slides, config.covariates, targets=task.columns, allowed=task.possible_covariates
    )
    return KnownCohort(
        task=task, table=table, cohort=cohort, patient_of=patient_of, targets=targets, excluded=excluded, splits=splits,
        covariates=covariates,
    )  # fmt: skip


def _owners(cohort: Cohort, task: TrainingTask[Any]) -> dict[str, str]:
    """Return the patient of each slide where bags are slides; nothing where they are patients.

    Raises:
        StudyError: the task predicts what a slide has not of its own.
    """
    if cohort.study.unit == "patient":
        return {}
    if "subtype" not in task.columns:
        raise StudyError(
            f"{cohort.path}: study.yaml says 'unit: slide', and --task {task.name} predicts {' and '.join(task.columns[:2])}, "
            "which a patient has and a slide has not; train it in a study of its own without that line"
        )
    return {str(row["slide_id"]): str(row["patient_id"]) for row in cohort.rows}


def _folds_of_slides(splits: pd.DataFrame, cohort: Cohort) -> pd.DataFrame:
    """Return the folds with a row a slide under its own id: all slides of a patient stand where the patient stood."""
    slides = cohort.slides[["patient_id", "slide_id"]]
    own = splits.merge(slides, on="patient_id").drop(columns="patient_id").rename(columns={"slide_id": "patient_id"})
    return own.sort_values(["repeat", "fold", "patient_id"], kind="stable")[list(splits.columns)].reset_index(drop=True)


def _with_all_to_train(plan: FoldPlan, config: TrainConfig) -> FoldPlan:
    """Return a fold whose inner validation part trains like the rest, unless it is asked to choose the epoch."""
    return plan if config.patience else plan.all_to_train


def _splits(study: Study, cohort: Cohort, config: TrainConfig) -> pd.DataFrame:
    """Read the splits; a table with sets of its own needs none made."""
    from splits.split_methods import make_given
    from splits.split_store import check_against_cohort, read_splits, write_splits

    path = study.splits_file(config.splits)
    if not path.is_file() and "set" in cohort.slides.columns:
        whole = cohort if config.where is None else read_cohort(study.cohort_table)
        write_splits(path, *make_given(whole, val_fraction=0.2, seed=config.seed))
        print(f"{path}: made from the table's own sets")
    splits = read_splits(path)
    if config.where is not None:  # a part of the cohort keeps its places in the folds
        splits = splits[splits["patient_id"].isin(cohort.slides["patient_id"])].reset_index(drop=True)
    check_against_cohort(path, splits, cohort)
    return splits
