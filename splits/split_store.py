"""The table of folds, `repeat, fold, patient_id, set`, one row a patient and fold, and beside it the record of its making.

Both are checked at every reading: splits/<name>.csv for its rows, splits/<name>.json (when it is there) for belonging to it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.cohort import Cohort, rows_where
from common.failures import StudyError
from common.files import write_json, write_table
from common.table_cells import with_texts
from common.tables.cohort_columns import SETS
from splits.fold_plan import FoldPlan, plan_folds

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("repeat", "fold", "patient_id", "set")
RECORD_SCHEMA = "splits/1"
KEEPS_SITES = ("site_preserved", "leave_one_site_out")  # methods under which a site is never divided


def record_file(path: Path) -> Path:
    """Return where the record of a table of folds stands."""
    return path.with_suffix(".json")


def write_splits(path: Path, splits: pd.DataFrame, record: Mapping[str, Any] | None = None) -> None:
    """Write a table of folds, sorted by repeat, fold and patient, then its record.

    The old record goes first: a process killed in between leaves a table without one, never with another's.
    """
    ordered = splits.sort_values(["repeat", "fold", "patient_id"], kind="stable")
    record_file(path).unlink(missing_ok=True)
    write_table(path, COLUMNS, ordered[list(COLUMNS)].itertuples(index=False, name=None))
    if record is not None:
        write_json(record_file(path), record)


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the record of a table of folds, or None where it has none (a table made by hand).

    Raises:
        StudyError: it is not readable, or of another format.
    """
    if not record_file(path).exists():
        return None
    try:
        record = json.loads(record_file(path).read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise StudyError(f"{record_file(path)}: not readable as JSON ({error}); make the splits again") from error
    if not isinstance(record, dict) or record.get("schema") != RECORD_SCHEMA:
        raise StudyError(f"{record_file(path)}: not a record of format {RECORD_SCHEMA}; make the splits again")
    if fault := _record_fault(record):
        raise StudyError(f"{record_file(path)}: damaged, {fault}; make the splits again")
    return record


def _record_fault(record: Mapping[str, Any]) -> str:
    """Say which of the keys that are asked for later is missing or of another kind; empty where none is."""
    for key, kind, word in (("table_sha256", str, "text"), ("method", str, "text"), ("settings", dict, "mapping")):
        if not isinstance(record.get(key), kind):
            return f"{key} is {'missing' if key not in record else f'no {word}'}"
    if record["method"] == "external" and not isinstance(record["settings"].get("external"), str):
        return "settings.external is missing or no text"
    return ""


def read_splits(path: Path) -> pd.DataFrame:
    """Read and check a table of folds.

    Raises:
        StudyError: it is missing, has other columns or sets, a patient twice in a fold, not the same patients in each
            fold, or a patient in two test sets of one repeat; or it is not the table its record was made with.
    """
    import pandas as pd

    if not path.is_file():
        raise StudyError(
            f"no splits at {path}; make them with: python splits/make_splits.py --study {path.parent.parent}"
        )
    try:
        table = with_texts(
            pd.read_csv(
                path, dtype={"patient_id": str, "set": str}, keep_default_na=False, float_precision="round_trip"
            )
        )
    except (ValueError, OSError, OverflowError) as error:
        raise StudyError(f"{path}: not readable as a table ({error})") from error
    if list(table.columns) != list(COLUMNS):
        raise StudyError(f"{path}: wanted the columns {', '.join(COLUMNS)}, found {', '.join(map(str, table.columns))}")
    if not all(pd.api.types.is_integer_dtype(table[name]) for name in ("repeat", "fold")) or table.empty:
        raise StudyError(f"{path}: repeat and fold must be whole numbers, and there must be rows")
    unknown = sorted(set(table["set"]) - set(SETS))
    if unknown:
        raise StudyError(f"{path}: set must be train, val or test, found {', '.join(map(repr, unknown))}")
    _check_folds(path, table)
    record = read_record(path)
    if record is not None and record["table_sha256"] != table_sha256(table):
        raise StudyError(
            f"{path}: it was changed after it was made, and what {record_file(path).name} says of it may no longer hold; "
            f"make the splits again, or, if the change is meant, remove {record_file(path).name}"
        )
    return table.sort_values(["repeat", "fold", "patient_id"], kind="stable").reset_index(drop=True)


def read_plans(path: Path, usable: Collection[str] | None = None) -> list[FoldPlan]:
    """Read and check a table of folds, and return a plan for each fold, over the usable patients or over all.

    Raises:
        StudyError: as `read_splits` says.
    """
    return plan_folds(read_splits(path), usable)


def check_against_cohort(path: Path, splits: pd.DataFrame, cohort: Cohort) -> None:
    """Refuse splits that no longer are what the cohort's table says.

    Raises:
        StudyError: patients stand in only one of the two; a site that was kept whole is tested in two folds; the table's
            own sets, or whom --external chooses, are others than when the splits were made. They are named.
    """
    in_splits, in_cohort = set(splits["patient_id"]), set(cohort.slides["patient_id"])
    for patients, where in (
        (in_splits - in_cohort, "the splits but not the cohort"),
        (in_cohort - in_splits, "the cohort but not the splits"),
    ):
        if patients:
            raise StudyError(
                f"{path} and {cohort.path}: {len(patients)} patient(s) stand in {where}: {_few(patients)}. Make the splits again"
            )
    record = read_record(path)
    if record is None:
        return
    method = str(record["method"])
    if method in KEEPS_SITES:
        _check_sites(path, splits, cohort, method)
    elif method == "given":
        _check_given(path, splits, cohort)
    elif method == "external":
        expression = str(record["settings"]["external"])
        wanted = set(cohort.slides.loc[rows_where(cohort, expression, flag="--external"), "patient_id"])
        _check_members(path, splits, cohort, {"test": wanted}, f"--external {expression!r}")


def _few(patients: Collection[str]) -> str:
    return ", ".join(sorted(patients)[:10]) + (" ..." if len(patients) > 10 else "")


def _check_given(path: Path, splits: pd.DataFrame, cohort: Cohort) -> None:
    if "set" not in cohort.patients.columns:
        raise StudyError(f"{cohort.path}: no column set, and {path} was made from it; make the splits again")
    given = cohort.patients["set"]
    parts = ("test", "val") if (given == "val").any() else ("test",)  # else val was drawn from train
    _check_members(path, splits, cohort, {part: set(given.index[given == part]) for part in parts}, "the column set")


def _check_members(
    path: Path, splits: pd.DataFrame, cohort: Cohort, wanted: Mapping[str, set[str]], source: str
) -> None:
    for part, patients in wanted.items():
        other = patients ^ set(splits.loc[splits["set"] == part, "patient_id"])
        if other:
            raise StudyError(
                f"{path}: by {source} of {cohort.path} other patients are in the set {part} now than when it was made: "
                f"{len(other)} changed ({_few(other)}). Make the splits again (splits/make_splits.py --overwrite true)"
            )


def table_sha256(table: pd.DataFrame) -> str:
    """Identify a table of folds, whatever the order of its rows."""
    return _sha256(sorted(",".join(map(str, row)) for row in table[list(COLUMNS)].itertuples(index=False, name=None)))


def cohort_sha256(cohort: Cohort, stratify: str = "subtype") -> str:
    """Identify the patients with what the folds were balanced by: subtype, event, time, site, and the column of --stratify."""
    patients = cohort.patients
    columns = [name for name in ("subtype", "event", "time", "site") if name in patients.columns]
    columns += [stratify] if stratify not in columns and stratify in patients.columns else []
    texts = patients[columns].astype("string").fillna("")
    lines = [f"patient_id,{','.join(columns)}"]
    lines += [",".join([str(patient), *row]) for patient, row in zip(texts.index, texts.to_numpy(), strict=True)]
    return _sha256(lines)


def _sha256(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


def _check_sites(path: Path, splits: pd.DataFrame, cohort: Cohort, method: str) -> None:
    if "site" not in cohort.patients.columns:
        raise StudyError(f"{cohort.path}: no column site, and {path} was made by {method}; make the splits again")
    tested = splits[splits["set"] == "test"].join(cohort.patients["site"], on="patient_id")
    for (repeat, site), rows in tested.groupby(["repeat", "site"], sort=True):
        own = rows.groupby("fold")["patient_id"].min()
        if len(own) > 1:
            named = ", ".join(f"{patient} in fold {fold}" for fold, patient in own.items())
            raise StudyError(
                f"{path}: made by {method}, but site {site} is tested in {len(own)} folds of repeat {repeat} ({named}): the "
                f"sites in {cohort.path} changed since. Make the splits again"
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
