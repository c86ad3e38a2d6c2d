"""The clinical table, checked once at the door: one row a slide, every fault in one message with its row number.

Columns: patient_id and slide_id (the file's name without ending) are needed; subtype, time and event (0 or 1), site,
set (train, val or test), mpp, or mpp_x and mpp_y (µm a pixel) have a meaning, as has slide_url (where a slide lies that is not in
slides/; kept apart, for it may hold a password); all others are kept as covariates. Slides
with TCGA barcodes need no patient_id and no site: both stand in the barcode. Other names, words and units are mapped
in study.yaml (common/tables/column_mapping.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from common.conditions.rows import rows_that_hold
from common.conditions.tokens import ExpressionError, place_in, shown
from common.failures import StudyError
from common.guards.names import nearest
from common.remote.address import Address
from common.settings import SETTINGS_FILE, read_settings
from common.tables.clinical_table import TextTable, missing_note, read_text_table
from common.tables.cohort_columns import SCALE_COLUMNS, Numbered, Row, typed_with_faults, whole_labels, zero_notes
from common.tables.column_mapping import ColumnMapping, column_mapping, mapped_rows
from common.tables.given_sets import with_given_sets
from common.tables.patient_table import with_patient_table
from common.tables.study_notes import StudyNotes, study_notes
from common.tables.study_slides import taken_addresses

if TYPE_CHECKING:
    import pandas as pd

TCGA_BARCODE = re.compile(r"(?P<patient>TCGA-(?P<site>[A-Z0-9]{2})-[A-Z0-9]{4})(?:-|$)")
MAX_FAULTS_SHOWN = 30


@dataclass(frozen=True)
class Cohort:
    """The checked table: one row a slide, sorted by patient and slide, whatever the file's order was.

    Attributes:
        path: the table's file.
        columns: the names, ours.
        rows: column to value: text, float (time, mpp, a column of numbers), int (event, whole numbers) or None.
        left_out: slides of the table that `where` left out.
        notes: what was changed or seems odd in the table, for its reader.
        study: what study.yaml says of the study, such as what bears a label.
        addresses: slide id to where the slide lies, of those with a value in slide_url, which is no column here.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    left_out: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    study: StudyNotes = field(default_factory=StudyNotes)
    time_unit: str = ""  # of `time`; "" where the table's unit is not known
    months_a_unit: float | None = None  # how many months the table's unit of time is, for times in other columns
    addresses: Mapping[str, Address] = field(default_factory=dict)

    @cached_property
    def slides(self) -> pd.DataFrame:
        """The rows as a frame."""
        import pandas as pd

        columns = {}
        for name in self.columns:
            values = [float("nan") if row[name] is None else row[name] for row in self.rows]
            columns[name] = pd.Series(values, dtype="Int64" if name == "event" else _type_of(name, self.rows))
        return pd.DataFrame(columns)

    @property
    def patients(self) -> pd.DataFrame:
        """One row a patient, indexed and sorted by patient_id, without the columns of single slides.

        Where slides have subtypes of their own, a patient has the one of its slides that the fewest patients have.
        """
        columns = [name for name in self.slides.columns if name not in ("slide_id", *SCALE_COLUMNS)]
        patients = self.slides[columns].drop_duplicates("patient_id").set_index("patient_id")
        if self.study.unit == "slide" and "subtype" in columns:
            known = self.slides[["patient_id", "subtype"]].dropna().drop_duplicates()
            known["n"] = known.groupby("subtype")["patient_id"].transform("size")
            rarest = known.sort_values(["n", "subtype"], kind="stable").drop_duplicates("patient_id")
            patients["subtype"] = rarest.set_index("patient_id")["subtype"].reindex(patients.index)
        return patients

    @property
    def patients_of_several_subtypes(self) -> list[str]:
        """The patients whose slides have different subtypes, sorted; none where the subtype is the patient's."""
        seen: dict[str, set[str]] = {}
        for row in self.rows:
            if row.get("subtype") is not None:
                seen.setdefault(row["patient_id"], set()).add(row["subtype"])
        return sorted(patient for patient, subtypes in seen.items() if len(subtypes) > 1)

    @property
    def by_slide(self) -> Cohort:
        """The same rows with every slide as a patient of its own, for what looks at bags, not at persons."""
        rows = tuple(
            sorted(({**row, "patient_id": row["slide_id"]} for row in self.rows), key=lambda row: row["slide_id"])
        )
        return replace(self, rows=rows)


def read_cohort(path: Path, *, where: str | None = None, columns: Mapping[str, object] | None = None) -> Cohort:
    """Read and check a clinical table (CSV, TSV, Excel or Parquet, by its ending).

    Args:
        path: the table.
        where: keep the rows for which this condition holds (never for a missing value), such as "subtype == 'LMS'".
        columns: our name to the table's name, or more (common/tables/column_mapping.py); by default the part `columns` of
            study.yaml beside the table.

    Raises:
        StudyError: the table is missing or unreadable, or it has faults: all are listed with their row numbers
            (row 1 is the header).
    """
    settings = path.parent / SETTINGS_FILE
    content = read_settings(settings)
    study = study_notes(content, settings)
    mapping = _mapping(content, settings) if columns is None else column_mapping(dict(columns), path)
    table = _with_patients(read_text_table(path), content, settings, mapping)
    names, rows = _with_barcodes(*mapped_rows(table, mapping, path))
    faults = [
        f"no column {name}{nearest(name, list(names))}" for name in ("patient_id", "slide_id") if name not in names
    ]
    if faults:
        known = f"it has {', '.join(names)}. Rename them, or map them in study.yaml"
        raise StudyError(f"{path}: {'; '.join([*faults, known, *table.notes])}")
    if path.suffix.lower() == ".parquet":
        whole_labels(names, rows)
    names, elsewhere, of_addresses = taken_addresses(names, rows)
    names, of_sets = with_given_sets(names, rows)
    missing = [missing_note(table.missing_words)] if table.missing_words else []
    odd = zero_notes(names, rows)
    faults = [*of_addresses, *typed_with_faults(names, rows, unit=study.unit)]
    if mapping.months is not None:
        for _, row in rows if "time" in names else ():
            row["time"] *= mapping.months
    if faults:
        shown = "\n  ".join(faults[:MAX_FAULTS_SHOWN])
        more = f"\n  and {len(faults) - MAX_FAULTS_SHOWN} more" if len(faults) > MAX_FAULTS_SHOWN else ""
        raise StudyError("\n  ".join([f"{path} has {len(faults)} fault(s):", f"{shown}{more}", *missing]))
    ordered = sorted((row for _, row in rows), key=lambda row: (row["patient_id"], row["slide_id"]))
    cohort = Cohort(
        path,
        names,
        tuple(ordered),
        notes=(*table.notes, *missing, *odd, *of_sets),
        study=study,
        time_unit="" if mapping.months is None else "months",
        months_a_unit=mapping.months,
        addresses={row["slide_id"]: address for row, address in elsewhere},
    )
    return cohort if where is None else _restricted(cohort, where)


def _mapping(content: object, settings: Path) -> ColumnMapping:
    return column_mapping(content.get("columns", {}) if isinstance(content, dict) else {}, settings)


def _with_patients(table: TextTable, content: object, settings: Path, mapping: ColumnMapping) -> TextTable:
    """Join the table of patients that study.yaml names."""
    patient, slide = (
        mapping.sources[name].columns if name in mapping.sources else (name,) for name in ("patient_id", "slide_id")
    )

    def patient_of(row: Mapping[str, str | None]) -> str | None:
        if named := next((row[name] for name in patient if row.get(name)), None):
            return named
        match = TCGA_BARCODE.search(next((word for name in slide if (word := row.get(name))), ""))
        return match["patient"] if match else None

    return with_patient_table(table, content, settings, patient_column=patient[0], patient_of=patient_of)


def _with_barcodes(names: tuple[str, ...], rows: list[Numbered]) -> tuple[tuple[str, ...], list[Numbered]]:
    """Fill patient_id and site from TCGA barcodes where the table has no such column."""
    for name, part, source in (("patient_id", "patient", "slide_id"), ("site", "site", "patient_id")):
        if name not in names and source in names:
            barcodes = [TCGA_BARCODE.search(row[source] or "") for _, row in rows]
            if all(barcodes):
                names = (*names, name)
                for (_, row), match in zip(rows, barcodes, strict=True):
                    assert match is not None
                    row[name] = match[part]
    return names, rows


def _type_of(name: str, rows: Sequence[Row]) -> type:
    """Return float, int or object (text), by the first value that is there."""
    first = next((type(row[name]) for row in rows if row[name] is not None), object)
    return object if first is str else first


def rows_where(cohort: Cohort, expression: str, *, flag: str) -> list[bool]:
    """Return for which rows a condition holds (common/conditions); of a missing value none does.

    Raises:
        StudyError: it does not fit the table, or is not true or false for each row.
    """
    columns = f"columns: {', '.join(cohort.columns)}"
    try:
        holds = rows_that_hold(expression, cohort.columns, cohort.rows)
    except ExpressionError as error:
        where = f"at character {error.position + 1}:\n{place_in(expression, error.position)}\n"
        raise StudyError(
            f"{flag} {shown(expression)} does not fit {cohort.path}: {error.message}, {where}{columns}"
        ) from error
    if holds is None:
        raise StudyError(
            f"{flag} {shown(expression)} is not true or false for each row of {cohort.path}; write a comparison, such as "
            f'"{cohort.columns[-1]} == 1"; {columns}'
        )
    return holds


def _restricted(cohort: Cohort, where: str) -> Cohort:
    kept = rows_where(cohort, where, flag="--where")
    if not any(kept):
        raise StudyError(f"--where {where!r} keeps no row of {cohort.path}")
    rows = tuple(row for row, is_kept in zip(cohort.rows, kept, strict=True) if is_kept)
    left_out = {row["slide_id"] for row in cohort.rows} - {row["slide_id"] for row in rows}
    addresses = {slide: address for slide, address in cohort.addresses.items() if slide not in left_out}
    return replace(cohort, rows=rows, left_out=frozenset(left_out), addresses=addresses)
