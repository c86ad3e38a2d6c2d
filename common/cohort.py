"""The clinical table, checked once at the door: one row a slide, every fault in one message with its row number.

Columns: patient_id and slide_id (the file's name without ending) are needed; subtype, time and event (0 or 1), site,
set (train, val or test), mpp, or mpp_x and mpp_y (µm a pixel) have a meaning; all others are kept as covariates. Slides
with TCGA barcodes need no patient_id and no site: both stand in the barcode. Other names are mapped in study.yaml:

    columns:
      patient_id: bcr_patient_barcode
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.clinical_table import TextTable, read_text_table
from common.conditions import rows_that_hold
from common.expression_tokens import ExpressionError, place_in, shown
from common.failures import StudyError
from common.names import name_fault
from common.settings import SETTINGS_FILE, read_settings
from common.slide_files import DICOM_ENDING, SLIDE_ENDINGS

if TYPE_CHECKING:
    import pandas as pd

SETS = ("train", "val", "test")
PATIENT_COLUMNS = ("subtype", "time", "event", "site", "set")  # one value a patient
SCALE_COLUMNS = ("mpp", "mpp_x", "mpp_y")  # of a slide
KNOWN_COLUMNS = frozenset({"patient_id", "slide_id", *PATIENT_COLUMNS, *SCALE_COLUMNS})
EVENT_VALUES = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
TCGA_BARCODE = re.compile(r"(?P<patient>TCGA-(?P<site>[A-Z0-9]{2})-[A-Z0-9]{4})(?:-|$)")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
MAX_FAULTS_SHOWN = 30

Row = dict[str, Any]
Numbered = tuple[int, Row]  # with the row's number in a spreadsheet


@dataclass(frozen=True)
class Cohort:
    """The checked table: one row a slide, sorted by patient and slide, whatever the file's order was.

    Attributes:
        path: the table's file.
        columns: the names, ours.
        rows: column to value: text, float (time, mpp, a column of numbers), int (event, whole numbers) or None.
        left_out: slides of the table that `where` left out.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    left_out: frozenset[str] = frozenset()

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
        """One row a patient, indexed and sorted by patient_id, without the columns of single slides."""
        columns = [name for name in self.slides.columns if name not in ("slide_id", *SCALE_COLUMNS)]
        return self.slides[columns].drop_duplicates("patient_id").set_index("patient_id")


def read_cohort(path: Path, *, where: str | None = None, columns: Mapping[str, str] | None = None) -> Cohort:
    """Read and check a clinical table (CSV, TSV, Excel or Parquet, by its ending).

    Args:
        path: the table.
        where: keep the rows for which this condition holds (never for a missing value), such as "subtype == 'LMS'".
        columns: our name to the table's name; by default the part `columns` of study.yaml beside the table.

    Raises:
        StudyError: the table is missing or unreadable, or it has faults: all are listed with their row numbers
            (row 1 is the header).
    """
    mapping = _mapped_columns(path.parent / SETTINGS_FILE) if columns is None else columns
    names, rows = _with_barcodes(*_renamed(read_text_table(path), mapping, path))
    faults = [f"no column {name}" for name in ("patient_id", "slide_id") if name not in names]
    if faults:
        raise StudyError(
            f"{path}: {'; '.join(faults)}; it has {', '.join(names)}. Rename them, or map them in study.yaml"
        )
    faults = [*_pair_faults(names), *_convert(names, rows), *_row_faults(names, rows), *_patient_faults(names, rows)]
    if faults:
        shown = "\n  ".join(faults[:MAX_FAULTS_SHOWN])
        more = f"\n  and {len(faults) - MAX_FAULTS_SHOWN} more" if len(faults) > MAX_FAULTS_SHOWN else ""
        raise StudyError(f"{path} has {len(faults)} fault(s):\n  {shown}{more}")
    ordered = sorted((row for _, row in rows), key=lambda row: (row["patient_id"], row["slide_id"]))
    cohort = Cohort(path, names, tuple(ordered))
    return cohort if where is None else _restricted(cohort, where)


def _mapped_columns(settings: Path) -> Mapping[str, str]:
    content = read_settings(settings)
    mapping = content.get("columns", {}) if isinstance(content, dict) else {}
    if not isinstance(mapping, dict):
        raise StudyError(f"{settings}: 'columns' must map our names to the table's, such as patient_id: case_id")
    return {str(ours): str(theirs) for ours, theirs in mapping.items()}


def _renamed(table: TextTable, mapping: Mapping[str, str], path: Path) -> tuple[tuple[str, ...], list[Numbered]]:
    """Return our names and the rows under them; a column that bears a name now given to another one goes."""
    absent = [theirs for theirs in mapping.values() if theirs not in table.columns]
    if absent:
        raise StudyError(
            f"{path}: no column {', '.join(absent)}, named under 'columns'; it has {', '.join(table.columns)}"
        )
    taken = set(mapping.values())
    source = {name: name for name in table.columns if name not in taken and name not in mapping} | dict(mapping)
    place = {name: index for index, name in enumerate(table.columns)}
    names = tuple(sorted(source, key=lambda ours: place[source[ours]]))  # one column may have two meanings
    return names, [(number, {ours: row[source[ours]] for ours in names}) for number, row in table.rows]


def _with_barcodes(names: tuple[str, ...], rows: list[Numbered]) -> tuple[tuple[str, ...], list[Numbered]]:
    """Fill patient_id and site from TCGA barcodes where the table has no such column."""
    for name, part, source in (("patient_id", "patient", "slide_id"), ("site", "site", "patient_id")):
        if name not in names and source in names:
            found = [TCGA_BARCODE.search(row[source] or "") for _, row in rows]
            if all(found):
                names = (*names, name)
                for (_, row), match in zip(rows, found, strict=True):
                    assert match is not None
                    row[name] = match[part]
    return names, rows


def _pair_faults(names: Sequence[str]) -> Iterator[str]:
    for one, other in (("time", "event"), ("mpp_x", "mpp_y")):
        if (one in names) != (other in names):
            yield f"{one} and {other} belong together, and only one of the two columns is there"


def _convert(names: Sequence[str], rows: Sequence[Numbered]) -> Iterator[str]:
    """Give every column its type in place; yield a fault where a value does not fit and becomes missing."""
    for name in names:
        if name in ("time", *SCALE_COLUMNS):
            yield from _converted(name, rows, _finite, "is not a number", missing=float("nan"))
        elif name == "event":
            yield from _converted(name, rows, _event, "is not 0 (censored) or 1 (event)", missing=None)
        elif name not in KNOWN_COLUMNS:
            yield from _convert_covariate(name, rows)
    for number, row in rows:
        row["slide_id"] = None if row["slide_id"] is None else _without_ending(row["slide_id"])
        if "set" in names:
            row["set"] = None if row["set"] is None else row["set"].lower()
            if row["set"] not in SETS:
                yield f"row {number}: set {row['set']!r} is not train, val or test"


def _converted(
    name: str, rows: Iterable[Numbered], convert: Callable[[str], Any], rule: str, *, missing: float | None
) -> Iterator[str]:
    for number, row in rows:
        text = row[name]
        value = None if text is None else convert(text)
        if text is not None and value is None:
            yield f"row {number}: {name} {text!r} {rule}"
        row[name] = missing if value is None else value


def _convert_covariate(name: str, rows: Sequence[Numbered]) -> Iterator[str]:
    """Make numbers of a column that holds nothing else; whole ones stay whole where none is missing."""
    texts = [row[name] for _, row in rows]
    if not all(text is None or NUMBER.fullmatch(text) for text in texts):
        if all(text is None or NUMBER.fullmatch(text.replace(",", ".", 1)) for text in texts):
            number, text = next((number, row[name]) for number, row in rows if "," in (row[name] or ""))
            yield f"row {number}: {name} {text!r} has a comma for its decimal point; write points in the whole column"
        return
    is_whole = all(text is not None and text.lstrip("+-").isdigit() and len(text) < 18 for text in texts)
    for _, row in rows:
        row[name] = float("nan") if row[name] is None else (int if is_whole else float)(row[name])


def _finite(text: str) -> float | None:
    return float(text) if NUMBER.fullmatch(text) and abs(float(text)) != float("inf") else None


def _event(text: str) -> int | None:
    return EVENT_VALUES.get(text.lower())


def _row_faults(names: Sequence[str], rows: Sequence[Numbered]) -> Iterator[str]:
    seen: set[str | None] = set()
    for number, row in rows:
        found = [*_name_faults(row, seen), *_time_faults(row), *_scale_faults(row)]
        yield from (f"row {number}: {fault}" for fault in found)
        seen.add(row["slide_id"])


def _name_faults(row: Row, seen: set[str | None]) -> Iterator[str]:
    for name in ("patient_id", "slide_id"):
        if row[name] is None:
            yield f"no {name}"
        elif fault := name_fault(row[name]):
            yield f"{name} {row[name]!r} cannot be a file name: it {fault}"
    if row["slide_id"] is not None and row["slide_id"] in seen:
        yield f"slide {row['slide_id']} stands in the table twice"


def _time_faults(row: Row) -> Iterator[str]:
    if row.get("time", 0.0) < 0:
        yield f"time {row['time']:g} is negative"
    if "time" in row and "event" in row and _is_missing(row["time"]) != _is_missing(row["event"]):
        yield "time and event belong together, and one is missing"


def _scale_faults(row: Row) -> Iterator[str]:
    """Find scales that are no positive number, half given, or given twice and differently."""
    given = {name: row[name] for name in SCALE_COLUMNS if not _is_missing(row.get(name))}
    for name, value in given.items():
        if value <= 0:
            yield f"{name} is µm a pixel, above 0, got {value:g}"
    if "mpp_x" in row and "mpp_y" in row and ("mpp_x" in given) != ("mpp_y" in given):
        yield "mpp_x and mpp_y belong together, and one is missing"
    elif {"mpp", "mpp_x", "mpp_y"} <= set(given) and len(set(given.values())) > 1:
        yield "mpp says another scale than mpp_x and mpp_y; keep one"


def _patient_faults(names: Sequence[str], rows: Sequence[Numbered]) -> Iterator[str]:
    of_patient: dict[str, list[Numbered]] = {}
    for number, row in rows:
        if row["patient_id"] is not None:
            of_patient.setdefault(row["patient_id"], []).append((number, row))
    for name in PATIENT_COLUMNS:
        if name not in names:
            continue
        for patient, own in sorted(of_patient.items()):
            first_row: dict[Any, int] = {}
            for number, row in own:
                first_row.setdefault(None if _is_missing(row[name]) else row[name], number)
            if len(first_row) > 1:
                blank = " and a missing value" if None in first_row else ""
                values = ", ".join(
                    f"{value} (row {number})" for value, number in first_row.items() if value is not None
                )
                yield f"patient {patient} has two values of {name}: {values}{blank}"


def _type_of(name: str, rows: Sequence[Row]) -> type:
    """Return float, int or object (text), by the first value that is there."""
    found = next((type(row[name]) for row in rows if row[name] is not None), object)
    return object if found is str else found


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _without_ending(slide: str) -> str:
    path = Path(slide)
    return path.stem if path.suffix.lower() in SLIDE_ENDINGS | {DICOM_ENDING} else slide


def rows_where(cohort: Cohort, expression: str, *, flag: str) -> list[bool]:
    """Return for which rows a condition holds (common/conditions.py); of a missing value none does.

    Raises:
        StudyError: it does not fit the table, or is not true or false for each row.
    """
    columns = f"columns: {', '.join(cohort.columns)}"
    try:
        found = rows_that_hold(expression, cohort.columns, cohort.rows)
    except ExpressionError as error:
        where = f"at character {error.position + 1}:\n{place_in(expression, error.position)}\n"
        raise StudyError(
            f"{flag} {shown(expression)} does not fit {cohort.path}: {error.message}, {where}{columns}"
        ) from error
    if found is None:
        raise StudyError(
            f"{flag} {shown(expression)} is not true or false for each row of {cohort.path}; write a comparison, such as "
            f'"{cohort.columns[-1]} == 1"; {columns}'
        )
    return found


def _restricted(cohort: Cohort, where: str) -> Cohort:
    kept = rows_where(cohort, where, flag="--where")
    if not any(kept):
        raise StudyError(f"--where {where!r} keeps no row of {cohort.path}")
    rows = tuple(row for row, is_kept in zip(cohort.rows, kept, strict=True) if is_kept)
    left_out = {row["slide_id"] for row in cohort.rows} - {row["slide_id"] for row in rows}
    return Cohort(cohort.path, cohort.columns, rows, frozenset(left_out))
