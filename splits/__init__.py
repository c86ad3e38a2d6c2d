"""Patients to folds: stratified, repeated, patient-level, saved and checked against the cohort."""

from importlib import import_module

_PUBLIC = {  # name to its module, which is imported when the name is first asked for
    "FoldPlan": "splits.fold_plan",
    "SplitConfig": "splits.split_settings",
    "StudySplits": "splits.study_splits",
    "check_against_cohort": "splits.split_store",
    "make_study_splits": "splits.study_splits",
    "plan_folds": "splits.fold_plan",
    "read_plans": "splits.split_store",
    "read_splits": "splits.split_store",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
