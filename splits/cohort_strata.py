"""What of a patient is kept even between folds: subtype, event, time, or another column."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

from common.cohort import Cohort
from common.failures import StudyError
from common.tables.target_columns import NUMBER, find_target, label_of, quarters, values_of_patients
from splits.folds import Strata

if TYPE_CHECKING:
    import pandas as pd

NOT_NAMED = ("no subtype", "censored")  # kept even, but no class that a fold must have


def dealt_cohort(cohort: Cohort, stratify: str) -> Cohort:
    """Return the cohort with what is kept even between folds in the place of the subtype.

    Args:
        cohort: as it was read.
        stratify: subtype (and event in it), event (no classes), or a column: its classes, or the quarters that its numbers fall
            into among all patients. With a column of its own, time and event are not looked at.

    Raises:
        StudyError: there is no such column, or nothing in it can be kept even.
    """
    if stratify == "subtype":
        return cohort
    if stratify == "event":
        if "event" not in cohort.columns:
            raise StudyError(f"{cohort.path}: --stratify event, and there is no column event; leave the option out")
        return dataclasses.replace(cohort, columns=tuple(name for name in cohort.columns if name != "subtype"))
    values = values_of_patients(cohort.rows, cohort.columns, stratify, flag="--stratify")
    is_number = find_target(stratify, values.values(), flag="--stratify").kind == NUMBER
    labels = quarters(values) if is_number else {patient: label_of(value) for patient, value in values.items()}
    columns = tuple(name for name in cohort.columns if name not in ("subtype", "time", "event"))
    rows = tuple({**row, "subtype": labels[str(row["patient_id"])]} for row in cohort.rows)
    return dataclasses.replace(cohort, columns=(*columns, "subtype"), rows=rows)


def strata_of(patients: pd.DataFrame) -> Strata:
    """Code each patient by subtype, event and time; a missing value is a stratum of its own."""
    import pandas as pd

    unknown = pd.Series(np.nan, index=patients.index)
    classes = np.zeros(len(patients), dtype=np.int64)
    if "subtype" in patients.columns:
        names = patients["subtype"].astype("string").fillna("").to_numpy(dtype=str)
        classes = np.unique(names, return_inverse=True)[1].astype(np.int64)
    event, time = (patients[name] if name in patients.columns else unknown for name in ("event", "time"))
    return Strata(
        classes=classes,
        events=event.astype("Float64").fillna(-1).to_numpy(dtype=np.int64),
        times=time.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan),
    )


def categories(patients: pd.DataFrame) -> dict[str, Bool[np.ndarray, " n"]]:
    """Return what is kept even between folds, as masks over the patients: classes, and events."""
    found: dict[str, Bool[np.ndarray, " n"]] = {}
    if "subtype" in patients.columns:
        for name in sorted(patients["subtype"].dropna().unique()):
            found[str(name)] = (patients["subtype"] == name).to_numpy(dtype=bool, na_value=False)
        if patients["subtype"].isna().any():
            found["no subtype"] = patients["subtype"].isna().to_numpy()
    if "event" in patients.columns:
        events = patients["event"].astype("Float64").fillna(-1).to_numpy(dtype=float)
        found["events"] = events == 1
        if "subtype" not in patients.columns:
            found["censored"] = events != 1
    return found or {"patients": np.ones(len(patients), dtype=bool)}
