"""The rules of the tables of predictions of a run with targets of its own: numbers, or several columns at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.failures import StudyError
from mil.runs.run_tables import KEYS, REMEDY, SUM_ERROR, check_numbers, refuse_rows
from mil.runs.targets_record import TargetColumns, is_of_classes

if TYPE_CHECKING:
    import pandas as pd


def check_target_rows(path: Path, table: pd.DataFrame, columns: Sequence[TargetColumns]) -> None:
    """Refuse predictions that cannot be: a patient twice, no number, probabilities that do not make 1, an unknown class.

    Args:
        path: the table's file, for the message.
        table: a row a patient, fold and model; may be empty.
        columns: of each target; what is known may be missing in each of several.

    Raises:
        StudyError: names the file, the rule and a row that breaks it.
    """
    if not len(table):
        return
    wanted = [*KEYS, *(name for own in columns for name in (own.truth, *own.predicted))]
    if lacking := [name for name in wanted if name not in table]:
        raise StudyError(f"{path}: it lacks the column {', '.join(lacking)}; {REMEDY}")
    refuse_rows(path, table, table.duplicated([*KEYS]), f"{', '.join(KEYS)} name one row, and here two")
    for own in columns:
        for name in own.predicted:
            check_numbers(path, table, name)
        if is_of_classes(own.target):
            _check_classes(path, table, own)
        else:
            check_numbers(path, table, own.truth, may_be_empty=not own.is_alone)


def _check_classes(path: Path, table: pd.DataFrame, own: TargetColumns) -> None:
    values = table[own.predicted].to_numpy(dtype=np.float64)
    is_wrong = np.asarray(((values < 0) | (values > 1)).any(axis=1))
    refuse_rows(path, table, is_wrong, "a probability lies between 0 and 1")
    is_wrong = np.asarray(abs(values.sum(axis=1) - 1) > SUM_ERROR)
    refuse_rows(path, table, is_wrong, f"the probabilities of {own.target.column} make 1")
    known = table[own.truth].isin([*own.target.classes]) | (table[own.truth] == "")
    refuse_rows(path, table, ~known, f"{own.truth} is one of {', '.join(own.target.classes)}, or empty")
