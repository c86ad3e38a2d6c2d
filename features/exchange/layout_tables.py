"""The tables that CLAM, STAMP and slideflow want beside features, made from the clinical table: no column to guess.

| layout | file | columns |
|---|---|---|
| clam | dataset.csv | case_id, slide_id, label |
| stamp | slide.csv; clini.csv | PATIENT, FILENAME; PATIENT and the patient's columns |
| slideflow | annotations.csv | patient, slide and the patient's columns |

STAMP's rows are sorted by patient: its reader groups neighbouring rows and loses slides of a patient otherwise.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from common.cohort import Cohort
from common.files import write_table


def write_tables(out: Path, to: str, cohort: Cohort, slides: Collection[str]) -> list[Path]:
    """Write a tool's tables for the converted slides; a missing value is empty. Returns the files."""
    kept = cohort.slides[cohort.slides["slide_id"].isin(list(slides))]
    pairs = list(zip(kept["patient_id"], kept["slide_id"], strict=True))  # sorted by patient and slide
    clinical = cohort.patients.loc[sorted(set(kept["patient_id"]))]
    columns = [name for name in clinical.columns if name != "set"]
    known = clinical[columns].astype(object).where(clinical[columns].notna(), "")
    values = {str(patient): list(row) for patient, row in zip(known.index, known.to_numpy().tolist(), strict=True)}
    if to == "clam" and "subtype" in columns:
        label = {patient: row[columns.index("subtype")] for patient, row in values.items()}
        rows = [[patient, slide, label[patient]] for patient, slide in pairs if label[patient] != ""]
        return [_table(out / "dataset.csv", ["case_id", "slide_id", "label"], rows)]
    if to == "stamp":
        files = [[patient, f"{slide}.h5"] for patient, slide in pairs]
        people = [[patient, *row] for patient, row in sorted(values.items())]
        slide_table = _table(out / "slide.csv", ["PATIENT", "FILENAME"], files)
        return [slide_table, _table(out / "clini.csv", ["PATIENT", *columns], people)]
    if to == "slideflow":
        rows = [[patient, slide, *values[patient]] for patient, slide in pairs]
        return [_table(out / "annotations.csv", ["patient", "slide", *columns], rows)]
    return []


def _table(path: Path, names: list[str], rows: list[list[object]]) -> Path:
    write_table(path, names, rows)
    return path
