"""The columns of the clinical table: what each may hold, its type, and every fault in its rows.

Rows are changed in place while faults are looked for: text becomes numbers, sets lower case, slide ids lose their ending.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from common.guards.names import name_fault
from common.slide_files import DICOM_ENDING, SLIDE_ENDINGS
from common.tables.clinical_table import rows_text

SETS = ("train", "val", "test")
SET_WORDS = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
PATIENT_COLUMNS = ("subtype", "time", "event", "site", "set")  # one value a patient
SCALE_COLUMNS = ("mpp", "mpp_x", "mpp_y")  # of a slide
KNOWN_COLUMNS = frozenset({"patient_id", "slide_id", *PATIENT_COLUMNS, *SCALE_COLUMNS})
EVENT_VALUES = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
SAID = {
    0: re.compile(r"0\W|alive|living|censored", re.I),
    1: re.compile(r"1\W|dead|deceased|died", re.I),
}  # by an event
LABELS = ("patient_id", "slide_id", "subtype", "site")
MOST_GRADES = 10  # classes that are numbers, such as grades
WHOLE = re.compile(r"\d+\.0")
SHORTENED = re.compile(r"\d(\.\d+)?[eE]\+\d+")  # what a spreadsheet makes of a long number
THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?")
FEATURE_ENDINGS = frozenset({".pt", ".h5"})  # tables of other tools name feature files
MAX_GROUPS = 5  # in a note
ZEROS = re.compile(r"(?<![\d.,])0+(?=\d)")  # before a number
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")

OF_TWO_LESIONS = (
    ". If each slide has a subtype of its own (two lesions), write 'unit: slide' in study.yaml: a bag is then a slide, and "
    "folds keep patients whole"
)

Row = dict[str, Any]
Numbered = tuple[int, Row]  # with the row's number in a spreadsheet
Unread = set[tuple[int, str]]  # row and column of values that were a fault already


def typed_with_faults(names: Sequence[str], rows: Sequence[Numbered], *, unit: str = "patient") -> list[str]:
    """Give the values of all rows their types, in place, and return every fault, most with the number of its row.

    Args:
        names: of the columns.
        rows: with their numbers.
        unit: "patient", or "slide" where slides of one patient may have subtypes of their own.
    """
    unread: Unread = set()
    return [
        *_pair_faults(names),
        *_likeness_faults(names, rows),
        *_convert(names, rows, unread),
        *grouped_faults(list(_row_faults(rows, unread))),
        *_patient_faults([name for name in names if unit == "patient" or name != "subtype"], rows, unread),
    ]


def whole_labels(names: Sequence[str], rows: Sequence[Numbered]) -> None:
    """Take the .0 off ids and labels that were stored as floating-point numbers, in place: 7.0 is 7."""
    for name in (name for name in names if name in LABELS):
        if all(row[name] is None or WHOLE.fullmatch(row[name]) for _, row in rows):
            for _, row in rows:
                row[name] = None if row[name] is None else row[name].removesuffix(".0")


def grouped_faults(faults: Sequence[tuple[int, str]]) -> list[str]:
    """Return faults with their rows as text, one a cause."""
    rows_of: dict[str, list[int]] = {}
    for number, fault in faults:
        rows_of.setdefault(fault, []).append(number)
    return [f"{rows_text(numbers)}: {fault}" for fault, numbers in rows_of.items()]


def zero_notes(names: Sequence[str], rows: Sequence[Numbered]) -> list[str]:
    """Say which ids and labels, still text, differ by leading zeros alone; a spreadsheet takes zeros off."""
    notes = []
    for name in (name for name in names if name in LABELS or name not in KNOWN_COLUMNS):
        groups = [" and ".join(map(repr, alike)) for alike in _alike(name, rows, without_zeros)]
        if groups:
            more = f" and {len(groups) - MAX_GROUPS} more" if len(groups) > MAX_GROUPS else ""
            is_number = name not in LABELS and all(_is_number(row[name]) for _, row in rows)
            one = "they are one number here" if is_number else "if they are one, write it in one way"
            notes.append(f"{name} {', '.join(groups[:MAX_GROUPS])}{more} differ by leading zeros alone; {one}")
    return notes


def number_fault(labels: Sequence[str]) -> str:
    """Say that a column of labels holds numbers, no classes; empty where it does not: a few whole numbers are grades."""
    distinct = sorted(set(labels))
    if len(distinct) <= MOST_GRADES or not all(map(_is_number, distinct)):
        return ""
    least, most = min(distinct, key=float), max(distinct, key=float)
    return f"is a column of numbers ({len(distinct)} different, {least} to {most}), no classes"


def _is_number(text: str | None) -> bool:
    return text is None or NUMBER.fullmatch(text) is not None


def without_zeros(text: str) -> str:
    """Return a text whose numbers have no zeros before them: P007 becomes P7."""
    return ZEROS.sub("", text)


def _alike(name: str, rows: Sequence[Numbered], key: Callable[[str], str]) -> list[list[str]]:
    """Return the groups of a column's texts that are one under a key, in their order."""
    groups: dict[str, list[str]] = {}
    for text in sorted({row[name] for _, row in rows if row[name] is not None}):
        groups.setdefault(key(text), []).append(text)
    return [group for group in groups.values() if len(group) > 1]


def _likeness_faults(names: Sequence[str], rows: Sequence[Numbered]) -> Iterator[str]:
    """Find labels, and persons, that differ by case or by their Unicode form alone: they are one, typed differently."""
    for name in (name for name in names if name in ("patient_id", "subtype", "site")):
        for alike in _alike(name, rows, _form if name == "patient_id" else lambda text: _form(text).casefold()):
            how = "Unicode form" if len({_form(text) for text in alike}) == 1 else "case"
            first = {text: next(number for number, row in rows if row[name] == text) for text in alike}
            shown = " and ".join(f"{text!r} (row {number})" for text, number in first.items())
            yield f"{name} {shown} differ by {how} alone; write one of them in all rows"


def _form(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _pair_faults(names: Sequence[str]) -> Iterator[str]:
    for one, other in (("time", "event"), ("mpp_x", "mpp_y")):
        if (one in names) != (other in names):
            yield f"{one} and {other} belong together, and only one of the two columns is there"


def _convert(names: Sequence[str], rows: Sequence[Numbered], unread: Unread) -> Iterator[str]:
    """Give every column its type in place; yield a fault where a value does not fit and becomes missing."""
    for name in names:
        if name in ("time", *SCALE_COLUMNS):
            yield from _converted(name, rows, _finite, unread, rule="is not a number", missing=float("nan"))
        elif name == "event":
            rule = "is not 0 (censored) or 1 (event)"
            yield from _converted(name, rows, _event, unread, rule=rule, missing=None)
        elif name not in KNOWN_COLUMNS:
            yield from _convert_covariate(name, rows)
    faults = []
    for number, row in rows:
        row["slide_id"] = None if row["slide_id"] is None else _without_ending(row["slide_id"])
        if "set" in names:
            word = None if row["set"] is None else row["set"].lower()
            row["set"] = None if word is None else SET_WORDS.get(word, word)
            if row["set"] not in SETS:
                faults.append((number, f"set {row['set']!r} is not train, val or test"))
    yield from grouped_faults(faults)


def _converted(
    name: str,
    rows: Iterable[Numbered],
    convert: Callable[[str], Any],
    unread: Unread,
    *,
    rule: str,
    missing: float | None,
) -> Iterator[str]:
    words: dict[str, None] = {}
    numbers = []
    for number, row in rows:
        text = row[name]
        value = None if text is None else convert(text)
        if text is not None and value is None:
            words[text] = None
            numbers.append(number)
            unread.add((number, name))
        row[name] = missing if value is None else value
    if words:
        more = f" and {len(words) - MAX_GROUPS} more" if len(words) > MAX_GROUPS else ""
        hint = _event_hint(list(words)) if name == "event" else ""
        yield f"{rows_text(numbers)}: {name} {', '.join(map(repr, list(words)[:MAX_GROUPS]))}{more} {rule}{hint}"


def _event_hint(words: Sequence[str]) -> str:
    """Return what to write in study.yaml for words that say plainly what they mean; empty for others."""
    meant = {word: next((value for value, said in SAID.items() if said.match(word)), None) for word in words}
    if None in meant.values():
        return ""
    values = ", ".join(f'"{word}": {value}' for word, value in meant.items())
    return f"; say so in study.yaml, under columns: event: {{column: NAME IN THE TABLE, values: {{{values}}}}}"


def _convert_covariate(name: str, rows: Sequence[Numbered]) -> Iterator[str]:
    """Make numbers of a column that holds nothing else; whole ones stay whole where none is missing."""
    texts = [row[name] for _, row in rows]
    if not all(map(_is_number, texts)):
        if all(text is None or _is_number(text.replace(",", ".", 1)) or THOUSANDS.fullmatch(text) for text in texts):
            number, text = next((number, row[name]) for number, row in rows if "," in (row[name] or ""))
            rule = "has a comma for its decimal point; write points in the whole column"
            if THOUSANDS.fullmatch(text):
                rule = (
                    "has a comma, for thousands or for its decimal point; write numbers with a point and without commas"
                )
            yield f"row {number}: {name} {text!r} {rule}"
        return
    is_whole = all(text is not None and text.lstrip("+-").isdigit() and len(text) < 18 for text in texts)
    for _, row in rows:
        row[name] = float("nan") if row[name] is None else (int if is_whole else float)(row[name])


def _finite(text: str) -> float | None:
    return float(text) if NUMBER.fullmatch(text) and abs(float(text)) != float("inf") else None


def _event(text: str) -> int | None:
    return EVENT_VALUES.get(text.lower())


def _row_faults(rows: Sequence[Numbered], unread: Unread) -> Iterator[tuple[int, str]]:
    seen: set[str | None] = set()
    for number, row in rows:
        read = {name: value for name, value in row.items() if (number, name) not in unread}
        for fault in (*_name_faults(row, seen), *_time_faults(read), *_scale_faults(read)):
            yield number, fault
        seen.add(row["slide_id"])


def _name_faults(row: Row, seen: set[str | None]) -> Iterator[str]:
    for name in ("patient_id", "slide_id"):
        if row[name] is None:
            yield f"no {name}"
        elif SHORTENED.fullmatch(row[name]):
            yield f"{name} {row[name]!r} is a number that a spreadsheet shortened; make the column text and fill it in anew"
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


def _patient_faults(names: Sequence[str], rows: Sequence[Numbered], unread: Unread) -> Iterator[str]:
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
                if (number, name) in unread:
                    continue
                first_row.setdefault(None if _is_missing(row[name]) else row[name], number)
            if len(first_row) > 1:
                blank = " and a missing value" if None in first_row else ""
                values = ", ".join(
                    f"{value} (row {number})" for value, number in first_row.items() if value is not None
                )
                hint = OF_TWO_LESIONS if name == "subtype" and None not in first_row else ""
                yield f"patient {patient} has two values of {name}: {values}{blank}{hint}"


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _without_ending(slide: str) -> str:
    path = Path(slide)
    return path.stem if path.suffix.lower() in SLIDE_ENDINGS | FEATURE_ENDINGS | {DICOM_ENDING} else slide
