"""What study.yaml says of the clinical table's columns: names, words for values, several columns for one, the unit of time.

columns:
  patient_id: bcr_patient_barcode
  event: {column: OS_STATUS, values: {"0:LIVING": 0, "1:DECEASED": 1}}
  time: {column: [days_to_death, days_to_last_follow_up]}   # the first that has a value
  time_unit: days                                           # times become months
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from common.failures import StudyError
from common.guards.names import nearest
from common.tables.clinical_table import TextTable
from common.tables.cohort_columns import Numbered, grouped_faults

TIME_UNIT = "time_unit"
DAYS_A_MONTH = 365.25 / 12
MONTHS = {"days": 1 / DAYS_A_MONTH, "weeks": 7 / DAYS_A_MONTH, "months": 1.0, "years": 12.0}
PARTS = ("column", "values")
URL_COLUMN = "slide_url"  # its words are shown nowhere: an address may hold a password


@dataclass(frozen=True)
class Source:
    """The columns of the table that hold one of ours, the first with a value first, and what their words mean."""

    columns: tuple[str, ...]
    values: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class ColumnMapping:
    """Where our columns come from, by our names, and how many months the table's unit of time is."""

    sources: Mapping[str, Source] = field(default_factory=dict)
    months: float | None = None


def column_mapping(content: object, where: object) -> ColumnMapping:
    """Read the part `columns` of study.yaml.

    Raises:
        StudyError: it is no such mapping; the message begins with `where`.
    """
    if not isinstance(content, dict):
        raise StudyError(f"{where}: 'columns' must map our names to the table's, such as patient_id: case_id")
    unit = content.get(TIME_UNIT)
    if unit is not None and unit not in MONTHS:
        raise StudyError(f"{where}: {TIME_UNIT} is days, weeks, months or years, not {unit!r}")
    sources = {str(ours): _source(str(ours), part, where) for ours, part in content.items() if ours != TIME_UNIT}
    return ColumnMapping(sources, None if unit is None else MONTHS[unit])


def _source(ours: str, part: object, where: object) -> Source:
    if not isinstance(part, dict):
        return Source((str(part),))
    other = sorted(str(name) for name in part if name not in PARTS)
    if other:
        raise StudyError(f"{where}: {ours} has {', '.join(map(repr, other))}; it may have {', '.join(PARTS)}")
    columns = part.get("column")
    if not columns:
        raise StudyError(f"{where}: {ours} names no column; wanted {ours}: {{column: NAME, values: {{...}}}}")
    values = part.get("values") or {}
    if values and ours == URL_COLUMN:
        raise StudyError(f"{where}: {ours} is an address as it stands and has no 'values'; name its column alone")
    if not isinstance(values, dict):
        raise StudyError(f"{where}: values of {ours} must map the table's words to ours, such as {{Alive: 0, Dead: 1}}")
    words = {str(theirs): None if meant is None else str(meant) for theirs, meant in values.items()}
    return Source(tuple(map(str, columns)) if isinstance(columns, list) else (str(columns),), words)


def mapped_rows(table: TextTable, mapping: ColumnMapping, path: object) -> tuple[tuple[str, ...], list[Numbered]]:
    """Return our names and the rows under them; a column that bears a name now given to another one goes.

    Raises:
        StudyError: the table has no such column, or a word that the mapping does not know.
    """
    taken = {theirs for source in mapping.sources.values() for theirs in source.columns}
    absent = sorted(taken - set(table.columns))
    if absent:
        near = nearest(absent[0], list(table.columns))
        raise StudyError(
            f"{path}: no column {', '.join(absent)}, named under 'columns'{near}; it has {', '.join(table.columns)}"
        )
    own = {name: Source((name,)) for name in table.columns if name not in taken and name not in mapping.sources}
    sources = own | dict(mapping.sources)
    place = {name: index for index, name in enumerate(table.columns)}
    names = tuple(sorted(sources, key=lambda ours: place[sources[ours].columns[0]]))  # one column may have two meanings
    if mapping.months is not None and not any(name.lower().endswith("time") for name in names):  # OS.time is one, too
        raise StudyError(f"{path}: {TIME_UNIT} is given, and there is no column time; map it under 'columns'")
    rows = [(number, {ours: _first(row, sources[ours]) for ours in names}) for number, row in table.rows]
    faults = grouped_faults(list(_unknown_words(rows, mapping)))
    if faults:
        raise StudyError("\n  ".join([f"{path} has {len(faults)} fault(s):", *faults]))
    for _, row in rows:
        for ours, source in mapping.sources.items():
            if source.values and (word := row[ours]) is not None:
                row[ours] = source.values[word]
    return names, rows


def _first(row: Mapping[str, str | None], source: Source) -> str | None:
    return next((row[theirs] for theirs in source.columns if row[theirs] is not None), None)


def _unknown_words(rows: list[Numbered], mapping: ColumnMapping) -> Iterator[tuple[int, str]]:
    for ours, source in mapping.sources.items():
        for number, row in rows:
            if source.values and row[ours] is not None and row[ours] not in source.values:
                known = ", ".join(map(repr, source.values))
                yield number, f"{ours} {row[ours]!r} is not among the 'values' of study.yaml: {known}"
