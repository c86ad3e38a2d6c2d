"""The table of folds: `repeat, fold, patient_id, set`, one row a patient and fold, checked at every reading."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.artifacts import write_table
from common.cohort import SETS, Cohort
from common.failures import StudyError
from splits.folds import given_sets, k_fold_sets

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("repeat", "fold", "patient_id", "set")


def make_k_fold(cohort: Cohort, *, n_folds: int, n_repeats: int, val_fraction: float, seed: int) -> pd.DataFrame:
    """Deal a cohort's patients into repeated, stratified folds (by subtype, then event).

    Raises:
        StudyError: a subtype has fewer patients than there are folds, or events are too few to share out.
    """
    patients = cohort.patients
    if "subtype" in patients.columns:
        counts = patients["subtype"].value_counts()
        small = counts[counts < n_folds].sort_index()
        if len(small):
            named = ", ".join(f"{name} ({count})" for name, count in small.items())
            raise StudyError(
                f"{cohort.path}: fewer patients than the {n_folds} folds in {named}; use --folds "
                f"{max(2, int(small.min()))} or fewer, leave the class out (--where), or unite it with another"
            )
    if len(patients) < n_folds:
        raise StudyError(f"{cohort.path}: {len(patients)} patients cannot fill {n_folds} folds; use fewer --folds")
    folds = k_fold_sets(_strata(patients), n_folds=n_folds, n_repeats=n_repeats, val_fraction=val_fraction, seed=seed)
    return _table(patients, folds)


def make_given(cohort: Cohort, *, val_fraction: float, seed: int) -> pd.DataFrame:
    """Turn the table's own `set` column into one fold; there may be no test patient.

    Raises:
        StudyError: no patient is in the set "train".
    """
    patients = cohort.patients
    if "set" not in patients.columns or not (patients["set"] == "train").any():
        raise StudyError(f"{cohort.path}: no patient is in the set 'train'; wanted a column set with train, val, test")
    folds = given_sets(_strata(patients), patients["set"].tolist(), val_fraction=val_fraction, seed=seed)
    return _table(patients, folds)


def write_splits(path: Path, splits: pd.DataFrame) -> None:
    """Write a table of folds, sorted by repeat, fold and patient."""
    ordered = splits.sort_values(["repeat", "fold", "patient_id"], kind="stable")
    write_table(path, COLUMNS, ordered[list(COLUMNS)].itertuples(index=False, name=None))


def read_splits(path: Path) -> pd.DataFrame:
    """Read and check a table of folds.

    Raises:
        StudyError: it is missing, has other columns or sets, a patient twice in a fold, not the same patients in each
            fold, or a patient in two test sets of one repeat.
    """
    import pandas as pd

    if not path.is_file():
        raise StudyError(
            f"no splits at {path}; make them with: python splits/make_splits.py --study {path.parent.parent}"
        )
    try:
        table = pd.read_csv(path, dtype={"patient_id": str, "set": str}, keep_default_na=False)
    except ValueError as error:
        raise StudyError(f"{path}: not readable as a table ({error})") from error
    if list(table.columns) != list(COLUMNS):
        raise StudyError(f"{path}: wanted the columns {', '.join(COLUMNS)}, found {', '.join(map(str, table.columns))}")
    if not all(pd.api.types.is_integer_dtype(table[name]) for name in ("repeat", "fold")) or table.empty:
        raise StudyError(f"{path}: repeat and fold must be whole numbers, and there must be rows")
    unknown = sorted(set(table["set"]) - set(SETS))
    if unknown:
        raise StudyError(f"{path}: set must be train, val or test, found {', '.join(map(repr, unknown))}")
    _check_folds(path, table)
    return table.sort_values(["repeat", "fold", "patient_id"], kind="stable").reset_index(drop=True)


def check_against_cohort(path: Path, splits: pd.DataFrame, cohort: Cohort) -> None:
    """Refuse splits made from other patients than the cohort's.

    Raises:
        StudyError: patients stand in only one of the two; they are named.
    """
    in_splits, in_cohort = set(splits["patient_id"]), set(cohort.slides["patient_id"])
    for patients, where in (
        (in_splits - in_cohort, "the splits but not the cohort"),
        (in_cohort - in_splits, "the cohort but not the splits"),
    ):
        if patients:
            named = ", ".join(sorted(patients)[:10]) + (" ..." if len(patients) > 10 else "")
            raise StudyError(
                f"{path} and {cohort.path}: {len(patients)} patient(s) stand in {where}: {named}. Make the splits again"
            )


def _check_folds(path: Path, table: pd.DataFrame) -> None:
    everyone = set(table["patient_id"])
    for (repeat, fold), rows in table.groupby(["repeat", "fold"]):
        double = rows["patient_id"][rows["patient_id"].duplicated()]
        if len(double):
            raise StudyError(f"{path}: patient {double.iloc[0]} stands twice in repeat {repeat}, fold {fold}")
        absent = everyone - set(rows["patient_id"])
        if absent:
            raise StudyError(f"{path}: patient {min(absent)} is missing from repeat {repeat}, fold {fold}")
    tested = table[table["set"] == "test"]
    retested = tested[tested.duplicated(["repeat", "patient_id"])]
    if len(retested):
        raise StudyError(
            f"{path}: patient {retested['patient_id'].iloc[0]} is tested twice in repeat {retested['repeat'].iloc[0]}"
        )


def _strata(patients: pd.DataFrame) -> np.ndarray:
    """Code each patient by subtype, then event; a missing value is a stratum of its own."""
    keys = [patients[name].astype("string").fillna("") for name in ("subtype", "event") if name in patients.columns]
    codes = [np.unique(key.to_numpy(dtype=str), return_inverse=True)[1] for key in keys]
    return np.stack(codes or [np.zeros(len(patients), dtype=np.int64)], axis=1).astype(np.int64)


def _table(patients: pd.DataFrame, folds: list[tuple[int, int, np.ndarray]]) -> pd.DataFrame:
    import pandas as pd

    parts = [
        pd.DataFrame({"repeat": repeat, "fold": fold, "patient_id": patients.index, "set": sets})
        for repeat, fold, sets in folds
    ]
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]
