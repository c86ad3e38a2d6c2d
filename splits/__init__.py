"""Patients to folds: stratified, repeated, patient-level, saved and checked against the cohort."""

from common.public_names import lazily

_PLACES = {  # name: the module that has it
    "FoldPlan": "splits.fold_plan",
    "SplitConfig": "splits.split_settings",
    "StudySplits": "splits.study_splits",
    "check_against_cohort": "splits.split_store",
    "make_study_splits": "splits.study_splits",
    "plan_folds": "splits.fold_plan",
    "read_plans": "splits.split_store",
    "read_splits": "splits.split_store",
}
__all__ = list(_PLACES)
__getattr__, __dir__ = lazily(__name__, _PLACES)
