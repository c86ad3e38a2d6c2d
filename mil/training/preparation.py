"""What a training run works on: the cohort's targets, its folds, its bags; every fault found before hours of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.cohort import Cohort, read_cohort
from common.failures import StudyError
from common.study import Study
from mil.bags.bags import BagStore, open_bags
from mil.training.covariates import Covariates, choose_covariates
from mil.training.cross_validation import check_plans
from mil.training.nested_plans import parse_shares
from mil.training.targets import MIN_EVENTS, Targets, find_targets
from mil.training.training_settings import TrainConfig
from splits.fold_plan import FoldPlan, plan_folds

if TYPE_CHECKING:
    import pandas as pd


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
