"""Of whom the cohort knows what a task wants to predict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.cohort import Cohort
from common.failures import StudyError

if TYPE_CHECKING:
    import pandas as pd


def known_patients(cohort: Cohort, columns: Sequence[str], *, task: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the rows of the patients with a value in every column, and the patients without, with the reason.

    Raises:
        StudyError: the table lacks a column.
    """
    patients = cohort.patients
    absent = [name for name in columns if name not in patients.columns]
    if absent:
        raise StudyError(
            f"{cohort.path}: --task {task} needs the column {' and '.join(absent)}; "
            f"it has {', '.join(patients.columns)}"
        )
    known = patients[patients[list(columns)].notna().all(axis=1)]
    excluded = {patient: f"no {' and '.join(columns)}" for patient in sorted(set(patients.index) - set(known.index))}
    return known, excluded
