"""The tables of a run proven to be what was written, and their rules: a changed digit looks like any other digit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.failures import StudyError
from common.files import content_sha256
from mil.runs.figure_names import LOG_ODDS
from mil.runs.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("repeat", "fold", "patient_id", "model")
SUM_ERROR = 1e-6
REMEDY = "train again with the same python mil/train.py (folds that are whole are kept)"


def table_sums(folder: RunFolder, shares: Sequence[float]) -> dict[str, str]:
    """Return the sha256 of every table of a run, by its path in the run's folder."""
    found = [path for path in _tables(folder, shares) if path.is_file()]
    return {path.relative_to(folder.root).as_posix(): content_sha256(path) for path in found}


def check_sums(folder: RunFolder, shares: Sequence[float], known: Mapping[str, str]) -> None:
    """Refuse tables that are not those that the run wrote.

    Args:
        folder: the run.
        shares: of its learning curve.
        known: what `table_sums` gave when the run was written.

    Raises:
        StudyError: a table is missing, changed or added; names the file and what to do.
    """
    found = table_sums(folder, shares)
    for name in sorted({*known, *found}):
        if found.get(name) != known.get(name):
            fault = (
                "is missing" if name not in found else "is not of this run" if name not in known
                else "is not what the run wrote (its checksum differs from that in run.json)"
            )  # fmt: skip
            raise StudyError(f"{folder.root / name} {fault}; {REMEDY}")


def check_rows(path: Path, table: pd.DataFrame, classes: Sequence[str], *, keys: Sequence[str] = KEYS) -> None:
    """Refuse predictions that cannot be: a patient twice, no number, a probability above 1.

    Args:
        path: the table's file, for the message.
        table: a row for each value of the keys; may be empty.
        classes: of the run; their probabilities make 1.
        keys: the columns that name a row.

    Raises:
        StudyError: names the file, the rule and a row that breaks it.
    """
    names = [f"p_{name}" for name in classes]
    wanted = (*keys, *names) if len(table) else ("patient_id", "model")  # what a table that is not there has
    if lacking := [name for name in wanted if name not in table]:
        raise StudyError(f"{path}: it lacks the column {', '.join(lacking)}; {REMEDY}")
    if not len(table):
        return
    refuse_rows(path, table, table.duplicated([*keys]), f"{', '.join(keys)} name one row, and here two", keys)
    for name in table.columns:
        if name not in (*keys, "truth") or name in ("repeat", "fold"):
            check_numbers(path, table, name, keys, may_be_empty=name.startswith(LOG_ODDS))
    if classes:
        values = table[names].to_numpy(dtype=np.float64)
        is_wrong = np.asarray(((values < 0) | (values > 1)).any(axis=1))
        refuse_rows(path, table, is_wrong, "a probability lies between 0 and 1", keys)
        is_wrong = np.asarray(abs(values.sum(axis=1) - 1) > SUM_ERROR)
        refuse_rows(path, table, is_wrong, "the probabilities of the classes make 1", keys)
        if "truth" in table:
            refuse_rows(path, table, ~table["truth"].isin([*classes]), f"truth is one of {', '.join(classes)}", keys)


def check_numbers(
    path: Path, table: pd.DataFrame, name: str, keys: Sequence[str] = KEYS, *, may_be_empty: bool = False
) -> None:
    """Refuse a column in which a value is no number, or cannot be.

    Raises:
        StudyError: names the file, the rule and the first row that breaks it.
    """
    values = np.array([_number(value) for value in table[name].tolist()], dtype=np.float64)
    if may_be_empty:
        values = np.where(table[name].isna() | (table[name].astype(str) == ""), 0.0, values)
    refuse_rows(path, table, ~np.isfinite(values), f"{name} is a number", keys)
    if name == "event":
        refuse_rows(path, table, ~np.isin(values, (0, 1)), "event is 0 or 1", keys)
    if name == "risk_group":
        refuse_rows(path, table, (values < 0) | (values % 1 != 0), "risk_group is a whole number from 0", keys)
    if name == "time":
        refuse_rows(path, table, np.asarray(values < 0), "a time is not negative", keys)


def _number(value: object) -> float:
    """Return a cell as a number; NaN where it is none. (pandas ends the process on an exponent of many digits.)"""
    try:
        return float(value)  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError):
        return float("nan")


def refuse_rows(
    path: Path, table: pd.DataFrame, is_wrong: np.ndarray | pd.Series, rule: str, keys: Sequence[str] = KEYS
) -> None:
    """Refuse a table where rows break a rule.

    Raises:
        StudyError: names the file, the rule and the first row that breaks it.
    """
    rows = np.flatnonzero(is_wrong)
    if len(rows):
        row = table.iloc[rows[0]]
        place = ", ".join(f"{key} {row[key]}" for key in keys)
        raise StudyError(
            f"{path}: {rule}; {len(rows)} rows break this, the first in line {rows[0] + 2} ({place}); {REMEDY}"
        )


def _tables(folder: RunFolder, shares: Sequence[float]) -> list[Path]:
    own = [folder.predictions, folder.validation, folder.follow_up, folder.patients, folder.image_predictions]
    for part in map(folder.share, shares):
        own += [part.predictions, part.validation, part.follow_up]
    return own
