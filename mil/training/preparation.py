"""What a training run works on: the cohort's targets, its folds, its bags; every fault found before hours of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.cohort import Cohort, read_cohort
from common.failures import StudyError
from common.study import Study
from mil.bags.bags import BagStore, open_bags
from mil.training.covariates import Covariates, choose_covariates
from mil.training.cross_validation import check_plans, plan_folds
from mil.training.fitting import Targets
from mil.training.fold_predictions import FoldPlan
from mil.training.nested_plans import parse_shares
from mil.training.training_settings import TrainConfig

if TYPE_CHECKING:
    import pandas as pd

MIN_EVENTS = 2


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A checked run: who trains on what, and who was left out why."""

    study: Study
    config: TrainConfig
    cohort: Cohort
    targets: Targets
    classes: list[str]  # empty for survival
    excluded: dict[str, str]  # patient to reason
    splits: pd.DataFrame
    plans: list[FoldPlan]
    bags: BagStore
    usable: list[str]
    missing_slides: list[str]
    covariates: Covariates
    shares: tuple[float, ...]  # of the learning curve

    @property
    def is_evaluated(self) -> bool:
        """Whether any patient is in a test set."""
        return any(plan.test for plan in self.plans)


def prepare(study: Study, config: TrainConfig) -> Prepared:
    """Read and check all that a run needs.

    Raises:
        StudyError: something is missing, faulty or too little; the message says what to do.
    """
    cohort = read_cohort(study.cohort_table, where=config.where)
    targets, classes, excluded = find_targets(cohort, config.task)
    splits = _splits(study, cohort, config)
    shares = parse_shares(config.learning_curve)
    covariates = choose_covariates(cohort.slides, config.covariates, task=config.task)
    bags, without_features, missing_slides = open_bags(
        study, cohort, config.encoder, features=config.features, limit_bytes=int(config.memory_gb * 1e9)
    )
    excluded |= without_features
    usable = set(bags.patients) - set(excluded)
    _check_usable(usable, targets, config.task, cohort)
    plans = plan_folds(splits, usable)
    check_plans(plans, targets, classes)
    return Prepared(
        study=study, config=config, cohort=cohort, targets=targets, classes=classes, excluded=excluded, splits=splits,
        plans=plans, bags=bags, usable=sorted(usable), missing_slides=missing_slides, covariates=covariates, shares=shares,
    )  # fmt: skip


def find_targets(cohort: Cohort, task: str) -> tuple[Targets, list[str], dict[str, str]]:
    """Return labels (or times and events), the class names, and the patients without, with the reason.

    Raises:
        StudyError: the table lacks the task's columns, or has fewer than two classes, or two events.
    """
    patients, path = cohort.patients, cohort.path
    wanted = ("subtype",) if task == "subtype" else ("time", "event")
    absent = [name for name in wanted if name not in patients.columns]
    if absent:
        raise StudyError(
            f"{path}: --task {task} needs the column {' and '.join(absent)}; it has {', '.join(patients.columns)}"
        )
    known = patients[patients[list(wanted)].notna().all(axis=1)]
    excluded = {patient: f"no {' and '.join(wanted)}" for patient in sorted(set(patients.index) - set(known.index))}
    if task == "subtype":
        classes = sorted(known["subtype"].unique())
        if len(classes) < 2:
            raise StudyError(f"{path}: a subtype model needs two classes or more, found {', '.join(classes) or 'none'}")
        labels = {str(patient): classes.index(name) for patient, name in known["subtype"].items()}
        return Targets(labels=labels, n_classes=len(classes)), classes, excluded
    n_events = int(known["event"].sum())
    if n_events < MIN_EVENTS:
        raise StudyError(
            f"{path}: a survival model needs two events or more, found {n_events} among {len(known)} patients"
        )
    times = {str(patient): float(time) for patient, time in known["time"].items()}
    events = {str(patient): int(event) for patient, event in known["event"].items()}
    return Targets(times=times, events=events), [], excluded


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


def _check_usable(usable: set[str], targets: Targets, task: str, cohort: Cohort) -> None:
    if task == "survival" and sum(targets.events[patient] for patient in usable) < MIN_EVENTS:
        raise StudyError(f"{cohort.path}: fewer than two events among the {len(usable)} patients with features")
    if task == "subtype" and len({targets.labels[patient] for patient in usable}) < targets.n_classes:
        raise StudyError(
            f"{cohort.path}: a subtype has no patient with features; run features/extract_features.py on all"
        )
