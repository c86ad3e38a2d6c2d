"""A second table of one row a patient, joined to the table of slides: what a registry or cBioPortal has, beside a slide list.

patients: clinical.csv                                             # in study.yaml; joined by patient_id
patients: {file: clinical.xlsx, key: bcr_patient_barcode}          # the name of the patient's column there
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from common.failures import StudyError
from common.guards.names import nearest
from common.tables.clinical_table import TextTable, read_text_table

PART = "patients"
KEYS = ("file", "key")
MAX_SHOWN = 5


def with_patient_table(
    table: TextTable,
    content: object,
    settings: Path,
    *,
    patient_column: str,
    patient_of: Callable[[Mapping[str, str | None]], str | None],
) -> TextTable:
    """Return the table of slides with the columns of the table of patients that study.yaml names; without one, as it is.

    Args:
        table: of slides.
        content: study.yaml.
        settings: its path; the file is sought beside it.
        patient_column: what the patient's column is called in the table of slides.
        patient_of: the patient of a row of it; None where it names none.

    Raises:
        StudyError: there is no such table, a patient has two rows, or both tables have a column and differ in it.
    """
    part = content.get(PART) if isinstance(content, dict) else None
    if part is None:
        return table
    path, key = _named(part, settings)
    known = read_text_table(path)
    key = key or next((name for name in (patient_column, "patient_id") if name in known.columns), patient_column)
    if key not in known.columns:
        raise StudyError(
            f"{path}: no column {key} that names the patient{nearest(key, list(known.columns))}; name it in {settings}: "
            f"{PART}: {{file: {path.name}, key: COLUMN}}. It has {', '.join(known.columns)}"
        )
    rows_of = _by_patient(known, key, path)
    added = [name for name in known.columns if name != key and name not in table.columns]
    shared = [name for name in known.columns if name != key and name in table.columns]
    rows, unknown = [], set[str]()
    for number, row in table.rows:
        patient = patient_of(row)
        own = rows_of.get(patient or "")
        if own is None:
            unknown.add(patient or f"row {number}")
        values = {name: None if own is None else own[name] for name in added}
        for name in shared if own is not None else ():
            assert own is not None
            if row[name] is not None and own[name] is not None and row[name] != own[name]:
                raise StudyError(
                    f"{path}: patient {patient} has {name} {own[name]!r}, and {row[name]!r} in row {number} of the table of "
                    f"slides; take {name} out of one of the tables"
                )
        filled = {name: own[name] for name in shared if own is not None and row[name] is None}
        rows.append((number, {**row, **filled, **values}))
    without = sorted(set(rows_of) - {patient_of(row) for _, row in table.rows})
    notes = []
    if unknown:
        who = f"{len(unknown)} patients of the table of slides have no row in {path.name}"
        notes.append(f"{who}: {_some(sorted(unknown))}")
    if without:
        notes.append(f"{len(without)} patients of {path.name} have no slide in the table of slides: {_some(without)}")
    words = {**table.missing_words, **{place: n for place, n in known.missing_words.items() if place[0] in added}}
    return replace(
        table, columns=(*table.columns, *added), rows=tuple(rows), missing_words=words,
        notes=(*table.notes, *known.notes, *notes),
    )  # fmt: skip


def _named(part: object, settings: Path) -> tuple[Path, str]:
    """Return the file and the name of the patient's column in it; "" where none is named."""
    if isinstance(part, str):
        part = {"file": part}
    if not isinstance(part, dict) or not isinstance(part.get("file"), str):
        raise StudyError(f"{settings}: {PART} names a table of one row a patient, such as {PART}: clinical.csv")
    other = sorted(str(name) for name in part if name not in KEYS)
    if other:
        raise StudyError(f"{settings}: {PART} has {', '.join(other)}; it may have {', '.join(KEYS)}")
    return settings.parent / part["file"], str(part.get("key") or "")


def _by_patient(known: TextTable, key: str, path: Path) -> dict[str, Mapping[str, str | None]]:
    """Return the row of each patient; a row that names none is no patient's."""
    found: dict[str, Mapping[str, str | None]] = {}
    first: dict[str, int] = {}
    for number, row in known.rows:
        patient = row[key]
        if patient is None:
            continue
        if patient in found:
            raise StudyError(
                f"{path}: patient {patient} has two rows ({first[patient]} and {number}); wanted one row a patient"
            )
        found[patient], first[patient] = row, number
    return found


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return f"{', '.join(names[:MAX_SHOWN])}{more}"
