"""The clinical table, checked once at the door: one row a slide, every fault in one message with its row number.

Columns: patient_id and slide_id (the file's name without ending) are needed; subtype, time and event (0 or 1), site,
set (train, val or test), mpp, or mpp_x and mpp_y (µm a pixel) have a meaning; all others are kept as covariates. Slides
with TCGA barcodes need no patient_id and no site: both stand in the barcode. Other names are mapped in study.yaml:

    columns:
      patient_id: bcr_patient_barcode
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from common.failures import StudyError
from common.settings import SETTINGS_FILE
from common.study import DICOM_ENDING, SLIDE_ENDINGS

if TYPE_CHECKING:
    import pandas as pd

SETS = ("train", "val", "test")
PATIENT_COLUMNS = ("subtype", "time", "event", "site", "set")  # one value a patient
SCALE_COLUMNS = ("mpp", "mpp_x", "mpp_y")  # of a slide
EVENT_VALUES = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
TCGA_BARCODE = re.compile(r"(?P<patient>TCGA-(?P<site>[A-Z0-9]{2})-[A-Z0-9]{4})(?:-|$)")
MAX_FAULTS_SHOWN = 30


@dataclass(frozen=True)
class Cohort:
    """The checked table: `slides` has one row a slide, sorted by patient and slide, whatever the file's order was."""

    path: Path
    slides: pd.DataFrame

    @property
    def patients(self) -> pd.DataFrame:
        """One row a patient, indexed and sorted by patient_id, without the columns of single slides."""
        columns = [name for name in self.slides.columns if name not in ("slide_id", *SCALE_COLUMNS)]
        return self.slides[columns].drop_duplicates("patient_id").set_index("patient_id")


def read_cohort(path: Path, *, where: str | None = None, columns: Mapping[str, str] | None = None) -> Cohort:
    """Read and check a clinical table (CSV, TSV, Excel or Parquet, by its ending).

    Args:
        path: the table.
        where: keep the rows for which this pandas expression holds, such as "subtype == 'LMS'".
        columns: our name to the table's name; by default the part `columns` of study.yaml beside the table.

    Raises:
        StudyError: the table is missing or unreadable, or it has faults: all are listed with their row numbers
            (row 1 is the header).
    """
    table = _read_table(path)
    mapping = _mapped_columns(path.parent / SETTINGS_FILE) if columns is None else columns
    absent = [theirs for theirs in mapping.values() if theirs not in table.columns]
    if absent:
        raise StudyError(
            f"{path}: no column {', '.join(absent)}, named under 'columns'; it has {', '.join(table.columns)}"
        )
    table = table.drop(columns=[ours for ours in mapping if ours in table.columns and mapping[ours] != ours])
    table = _with_barcodes(table.rename(columns={theirs: ours for ours, theirs in mapping.items()}))
    faults = [f"no column {name}" for name in ("patient_id", "slide_id") if name not in table.columns]
    if faults:
        raise StudyError(
            f"{path}: {'; '.join(faults)}; it has {', '.join(table.columns)}. Rename them, or map them in study.yaml"
        )
    table, faults = _converted(table)
    faults += _row_faults(table) + _scale_faults(table) + _patient_faults(table)
    if faults:
        shown = "\n  ".join(faults[:MAX_FAULTS_SHOWN])
        more = f"\n  and {len(faults) - MAX_FAULTS_SHOWN} more" if len(faults) > MAX_FAULTS_SHOWN else ""
        raise StudyError(f"{path} has {len(faults)} fault(s):\n  {shown}{more}")
    table = table.sort_values(["patient_id", "slide_id"], kind="stable").reset_index(drop=True)
    return Cohort(path, table if where is None else _restricted(table, where, path))


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not path.is_file():
        raise StudyError(
            f"no clinical table at {path}; wanted one row a slide with the columns patient_id, slide_id, and "
            f"subtype (for --task subtype) or time and event (for --task survival)"
        )
    ending = path.suffix.lower()
    try:
        if ending in {".xlsx", ".xls"}:
            table = pd.read_excel(path, dtype=str)
        elif ending == ".parquet":
            table = pd.read_parquet(path).astype("string").astype(object)
        else:
            table = pd.read_csv(path, dtype=str, sep="\t" if ending == ".tsv" else ",", encoding="utf-8-sig")
    except (ValueError, OSError, ImportError) as error:
        raise StudyError(f"{path}: not readable as a table ({error})") from error
    table.columns = [str(name).strip() for name in table.columns]
    double = sorted({name for name in table.columns if list(table.columns).count(name) > 1})
    if double:
        raise StudyError(f"{path}: two columns have the name {', '.join(double)}; rename one")
    table = table.dropna(how="all")
    if table.empty:
        raise StudyError(f"{path}: the table has no rows; wanted one row a slide")
    return table.apply(lambda column: column.str.strip().replace("", None))


def _mapped_columns(settings: Path) -> Mapping[str, str]:
    if not settings.is_file():
        return {}
    try:
        content = yaml.safe_load(settings.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise StudyError(f"{settings}: not readable as YAML ({error})") from error
    mapping = content.get("columns", {}) if isinstance(content, dict) else {}
    if not isinstance(mapping, dict):
        raise StudyError(f"{settings}: 'columns' must map our names to the table's, such as patient_id: case_id")
    return {str(ours): str(theirs) for ours, theirs in mapping.items()}


def _with_barcodes(table: pd.DataFrame) -> pd.DataFrame:
    """Fill patient_id and site from TCGA barcodes where the table has no such column."""
    for name, part, source in (("patient_id", "patient", "slide_id"), ("site", "site", "patient_id")):
        if name not in table.columns and source in table.columns:
            found = table[source].str.extract(TCGA_BARCODE)[part]
            if found.notna().all():
                table = table.assign(**{name: found})
    return table


def _converted(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Give every known column its type; values that do not fit become missing and a fault."""
    import pandas as pd

    faults: list[str] = []
    table = table.assign(slide_id=table["slide_id"].map(_without_ending, na_action="ignore"))
    for name in ("time", *SCALE_COLUMNS):
        if name in table.columns:
            numbers = pd.to_numeric(table[name], errors="coerce")
            bad = (table[name].notna() & numbers.isna()) | numbers.isin([float("inf"), float("-inf")])
            faults += _faults_at(table, bad, lambda row, name=name: f"{name} {row[name]!r} is not a number")
            table = table.assign(**{name: numbers})
    if "event" in table.columns:
        events = table["event"].str.lower().map(EVENT_VALUES)
        bad = table["event"].notna() & events.isna()
        faults += _faults_at(table, bad, lambda row: f"event {row['event']!r} is not 0 (censored) or 1 (event)")
        table = table.assign(event=events.astype("Int64"))
    if "set" in table.columns:
        table = table.assign(set=table["set"].str.lower())
        bad = ~table["set"].isin(SETS)
        faults += _faults_at(table, bad, lambda row: f"set {row['set']!r} is not train, val or test")
    known = {"patient_id", "slide_id", *PATIENT_COLUMNS, *SCALE_COLUMNS}
    for name in table.columns.difference(sorted(known)):
        numbers = pd.to_numeric(table[name], errors="coerce")
        if numbers.isna().equals(table[name].isna()):
            table = table.assign(**{name: numbers})
    return table, faults


def _row_faults(table: pd.DataFrame) -> list[str]:
    faults = []
    for name in ("patient_id", "slide_id"):
        faults += _faults_at(table, table[name].isna(), lambda row, name=name: f"no {name}")
        unsafe = table[name].str.contains(r"[/\\\x00-\x1f]|^\.", regex=True, na=False)
        faults += _faults_at(table, unsafe, lambda row, name=name: f"{name} {row[name]!r} cannot be a file name")
    double = table["slide_id"].duplicated(keep="first") & table["slide_id"].notna()
    faults += _faults_at(table, double, lambda row: f"slide {row['slide_id']} stands in the table twice")
    if "time" in table.columns:
        negative = table["time"] < 0
        faults += _faults_at(table, negative, lambda row: f"time {row['time']:g} is negative")
    if ("time" in table.columns) != ("event" in table.columns):
        faults.append("time and event belong together, and only one of the two columns is there")
    elif "time" in table.columns:
        half = table["time"].isna() != table["event"].isna()
        faults += _faults_at(table, half, lambda row: "time and event belong together, and one is missing")
    return faults


def _scale_faults(table: pd.DataFrame) -> list[str]:
    """Find scales that are no positive number, half given, or given twice and differently."""
    faults = []
    for name in table.columns.intersection(list(SCALE_COLUMNS)):
        message = f"{name} is µm a pixel, above 0, got "
        faults += _faults_at(table, table[name] <= 0, lambda row, n=name, m=message: f"{m}{row[n]:g}")
    if ("mpp_x" in table.columns) != ("mpp_y" in table.columns):
        faults.append("mpp_x and mpp_y belong together, and only one of the two columns is there")
    elif "mpp_x" in table.columns:
        half = table["mpp_x"].isna() != table["mpp_y"].isna()
        faults += _faults_at(table, half, lambda row: "mpp_x and mpp_y belong together, and one is missing")
        if "mpp" in table.columns:
            two = table["mpp"].notna() & table["mpp_x"].notna()
            differ = two & ((table["mpp"] != table["mpp_x"]) | (table["mpp"] != table["mpp_y"]))
            faults += _faults_at(table, differ, lambda row: "mpp says another scale than mpp_x and mpp_y; keep one")
    return faults


def _patient_faults(table: pd.DataFrame) -> list[str]:
    faults = []
    for name in PATIENT_COLUMNS:
        if name not in table.columns:
            continue
        for patient, rows in table.groupby("patient_id", sort=True):
            values = rows[name].drop_duplicates()
            if len(values) > 1:
                seen = ", ".join(
                    f"{value} (row {index})"
                    for index, value in zip(_row_numbers(values.dropna()), values.dropna(), strict=True)
                )
                blank = " and a missing value" if values.isna().any() else ""
                faults.append(f"patient {patient} has two values of {name}: {seen}{blank}")
    return faults


def _faults_at(table: pd.DataFrame, bad: pd.Series, message: object) -> list[str]:
    assert callable(message)
    rows = table[bad.fillna(False).astype(bool)]
    numbered = zip(_row_numbers(rows), rows.iterrows(), strict=True)
    return [f"row {number}: {message(row)}" for number, (_, row) in numbered]


def _row_numbers(rows: pd.DataFrame | pd.Series) -> list[int]:
    """Return row numbers as a spreadsheet shows them: the header is row 1."""
    return [int(index) + 2 for index in rows.index.tolist()]


def _without_ending(slide: str) -> str:
    path = Path(slide)
    return path.stem if path.suffix.lower() in SLIDE_ENDINGS | {DICOM_ENDING} else slide


def _restricted(table: pd.DataFrame, where: str, path: Path) -> pd.DataFrame:
    try:
        kept = table.query(where, engine="python")
    except Exception as error:  # pandas raises whatever the expression raises
        raise StudyError(
            f"--where {where!r} does not fit {path}: {error}; columns: {', '.join(table.columns)}"
        ) from error
    if kept.empty:
        raise StudyError(f"--where {where!r} keeps no row of {path}")
    return kept.reset_index(drop=True)
