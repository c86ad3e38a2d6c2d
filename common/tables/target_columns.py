"""What a column of the clinical table is as something to predict: classes, ordered classes or numbers; found in words, or declared.

    few different texts, or few whole numbers      classes
    low, intermediate, high; G1, G2; stage I, II   ordered classes, lowest first
    other numbers                                  numbers

An id, a constant, and texts that are all but different for each patient are refused, with what to do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from common.failures import StudyError
from common.guards.names import nearest
from common.tables.cohort_columns import MOST_GRADES, SCALE_COLUMNS, Row

CLASSES, ORDERED, NUMBER = "classes", "ordered", "number"
KINDS = (CLASSES, ORDERED, NUMBER)
MOST_CLASSES = 20
PATIENTS_A_CLASS = 3  # on average, from which on whole numbers are classes
MAX_SHOWN = 5
NEVER = {
    **dict.fromkeys(("patient_id", "slide_id"), "an id says nothing of a patient"),
    **dict.fromkeys(("time", "event"), "a follow-up ends before the event for some patients; use --task survival"),
    "set": "the sets of the table are no outcome",
    **dict.fromkeys(SCALE_COLUMNS, "the scale of a slide is no outcome"),
}
SCALES = (  # words of one scale, the lowest first; words of one step in a row
    (("very low",), ("low",), ("intermediate", "medium", "moderate", "middle"), ("high",), ("very high",)),
    (("none", "absent", "negative"), ("mild", "weak"), ("moderate", "intermediate"), ("severe", "strong")),
)
GRADE = re.compile(r"(?P<word>g|grade|stage|fnclcc(?: grade)?)[ _-]*(?P<step>\d|i{1,3}|iv)", re.I)
ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4}
NUMERIC = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A column to predict: its kind, and its classes (of ordered ones the lowest first); `why` says how the kind was found."""

    column: str
    kind: str
    classes: tuple[str, ...] = ()
    why: str = ""

    @property
    def words(self) -> str:
        """What it is, for the screen and the report."""
        if self.kind == NUMBER:
            return f"{self.column}: numbers ({self.why})"
        if self.kind == ORDERED:
            return f"{self.column}: ordered classes {' < '.join(self.classes)} ({self.why})"
        return f"{self.column}: classes {', '.join(self.classes)} ({self.why})"


def label_of(value: object) -> str | None:
    """Return a value as the name of a class: 2.0 is 2; None where it is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, int | float) and float(value).is_integer():
        return str(int(value))
    return str(value)


def values_of_patients(rows: Sequence[Row], columns: Sequence[str], column: str, *, flag: str) -> dict[str, object]:
    """Return the value of each patient in a column; None where it is missing.

    Args:
        rows: of the checked table, a slide each.
        columns: of the table.
        column: the one asked for.
        flag: the option that named it, for the message.

    Raises:
        StudyError: there is no such column, it can be no target, or a patient has two values; names what to do.
    """
    if column not in columns:
        raise StudyError(
            f"{flag} {column!r}: no such column{nearest(column, columns)}; the table has {', '.join(columns)}"
        )
    if column in NEVER:
        raise StudyError(f"{flag} {column}: {NEVER[column]}")
    found: dict[str, object] = {}
    several: dict[str, set[str]] = {}
    for row in rows:
        patient, value = str(row["patient_id"]), row[column]
        value = None if label_of(value) is None else value
        if patient in found and found[patient] != value:
            several.setdefault(patient, {str(found[patient])}).add(str(value))
        found[patient] = value
    if several:
        shown = "; ".join(f"{name}: {', '.join(sorted(own))}" for name, own in sorted(several.items())[:MAX_SHOWN])
        more = f" and {len(several) - MAX_SHOWN} more" if len(several) > MAX_SHOWN else ""
        raise StudyError(
            f"{flag} {column}: {len(several)} patient(s) have several values ({shown}{more}); a target has one value a patient"
        )
    return found


def find_target(
    column: str,
    values: Iterable[object],
    *,
    kind: str | None = None,
    order: Sequence[object] = (),
    flag: str = "--target",
) -> Target:
    """Return what a column is, or check that it is what was declared.

    Args:
        column: its name.
        values: of each patient; None is missing.
        kind: declared; None: found.
        order: classes declared, the lowest first; it makes them ordered.
        flag: the option that named the column, for messages.

    Raises:
        StudyError: nothing can be learnt of it, or it is not of the declared kind; says what was found and what to do.
    """
    known = [value for value in values if label_of(value) is not None]
    labels = [str(label_of(value)) for value in known]
    distinct = sorted(set(labels), key=_by_number)
    where = f"{flag} {column}"
    if not known:
        raise StudyError(f"{where}: no patient has a value; fill the column in, or name another")
    if len(distinct) == 1:
        raise StudyError(
            f"{where}: all {len(known)} patients with a value have {distinct[0]!r}; there is nothing to tell apart"
        )
    if kind is not None and kind not in KINDS:
        raise StudyError(f"{where}: --kind {kind!r} is none{nearest(kind, KINDS)}; there are {', '.join(KINDS)}")
    if order and kind not in (None, ORDERED):
        raise StudyError(f"{where}: an order is of ordered classes, not of kind {kind!r}; leave one of the two out")
    if order or kind == ORDERED:
        return _ordered(column, distinct, order, where)
    numeric = [value for value in known if isinstance(value, int | float)]
    if kind == NUMBER or (kind is None and len(numeric) == len(known) and not _are_grades(known, distinct)):
        _check_numbers(known, labels, where, is_declared=kind == NUMBER)
        return Target(column=column, kind=NUMBER, why="declared" if kind else f"{len(distinct)} different numbers")
    if kind is None and (found := _natural_order(distinct)) and len(found) > 2:
        return Target(column=column, kind=ORDERED, classes=found, why="words of a scale")
    _check_classes(labels, distinct, where, is_declared=kind == CLASSES)
    found_why = "few whole numbers" if len(numeric) == len(known) else f"{len(distinct)} different texts"
    return Target(column=column, kind=CLASSES, classes=tuple(distinct), why="declared" if kind else found_why)


def quarters(values: Mapping[str, object]) -> dict[str, str | None]:
    """Return the quarter of each patient's number among all that are known: Q1, the lowest, to Q4; None is missing."""
    known = sorted(float(value) for value in values.values() if isinstance(value, int | float))
    cuts = [known[min(len(known) - 1, len(known) * part // 4)] for part in (1, 2, 3)] if known else []
    return {
        patient: f"Q{1 + sum(float(value) >= cut for cut in cuts)}" if isinstance(value, int | float) else None
        for patient, value in values.items()
    }


def _by_number(label: str) -> tuple[bool, float, str]:
    return (False, float(label), label) if NUMERIC.fullmatch(label) else (True, 0.0, label)


def _are_grades(known: Sequence[object], distinct: Sequence[str]) -> bool:
    is_whole = all(isinstance(value, int | float) and float(value).is_integer() for value in known)
    return is_whole and len(distinct) <= min(MOST_GRADES, len(known) // PATIENTS_A_CLASS)


def _ordered(column: str, distinct: Sequence[str], order: Sequence[object], where: str) -> Target:
    if order:
        named = [str(label_of(each)) for each in order]
        if len(set(named)) < len(named) or len(named) < 2:
            raise StudyError(f"{where}: the order {', '.join(named)} names a class twice, or fewer than two")
        if other := [each for each in distinct if each not in named]:
            raise StudyError(
                f"{where}: the order is {' < '.join(named)}, and the table has {', '.join(map(repr, other[:MAX_SHOWN]))}; name "
                "every class in it, or correct the table"
            )
        present = tuple(each for each in named if each in distinct)
        return Target(column=column, kind=ORDERED, classes=present, why="declared")
    found = tuple(distinct) if all(NUMERIC.fullmatch(each) for each in distinct) else _natural_order(distinct)
    if found is None:
        raise StudyError(
            f"{where}: in which order {', '.join(distinct[:MAX_SHOWN])} come is not known; say it with --order, the lowest first"
        )
    if len(found) > MOST_CLASSES:
        raise StudyError(
            f"{where}: {len(found)} different numbers are too many for ordered classes; use --kind {NUMBER}"
        )
    return Target(column=column, kind=ORDERED, classes=found, why="declared")


def _natural_order(distinct: Sequence[str]) -> tuple[str, ...] | None:
    """Return labels in the order that their words have, the lowest first; None where they have none."""
    for ranks in (*(_ranks_on(scale, distinct) for scale in SCALES), _grades(distinct)):
        if ranks is not None and len(set(ranks.values())) == len(distinct):
            return tuple(sorted(distinct, key=lambda label: ranks[label]))
    return None


def _ranks_on(scale: Sequence[Sequence[str]], distinct: Sequence[str]) -> dict[str, int] | None:
    step_of = {word: step for step, words in enumerate(scale) for word in words}
    plain = {label: " ".join(re.split(r"[\s_-]+", label.strip().casefold())) for label in distinct}
    return {label: step_of[word] for label, word in plain.items()} if set(plain.values()) <= set(step_of) else None


def _grades(distinct: Sequence[str]) -> dict[str, int] | None:
    found = {label: GRADE.fullmatch(label.strip()) for label in distinct}
    words = {match["word"].casefold() for match in found.values() if match}
    if len(words) != 1 or not all(found.values()):
        return None
    return {label: ROMAN.get(m["step"].casefold()) or int(m["step"]) for label, m in found.items() if m}


def _check_numbers(known: Sequence[object], labels: Sequence[str], where: str, *, is_declared: bool) -> None:
    texts = sorted({label for value, label in zip(known, labels, strict=True) if not isinstance(value, int | float)})
    if texts:
        bad = [text for text in texts if not NUMERIC.fullmatch(text)] or texts
        raise StudyError(
            f"{where}: wanted numbers, found the text{'s' if len(bad) > 1 else ''} {', '.join(map(repr, bad[:MAX_SHOWN]))}"
            f"{f' and {len(bad) - MAX_SHOWN} more' if len(bad) > MAX_SHOWN else ''}; correct the table, or leave these cells empty"
        )
    numbers = [float(label) for label in labels]
    if not all(map(math.isfinite, numbers)):
        raise StudyError(f"{where}: a number is infinite; correct the table")
    is_running = (
        len(numbers) > MOST_GRADES
        and len(set(numbers)) == len(numbers)
        and all(number.is_integer() for number in numbers)
        and max(numbers) - min(numbers) == len(numbers) - 1
    )
    if is_running and not is_declared:
        raise StudyError(
            f"{where}: its {len(numbers)} values number the patients from {min(numbers):g} to {max(numbers):g} without a gap, "
            f"as an id does; if they are measured, say --kind {NUMBER}"
        )


def _check_classes(labels: Sequence[str], distinct: Sequence[str], where: str, *, is_declared: bool) -> None:
    numbers = [each for each in distinct if NUMERIC.fullmatch(each)]
    texts = [each for each in distinct if not NUMERIC.fullmatch(each)]
    if numbers and texts and len(distinct) > MOST_GRADES:
        raise StudyError(
            f"{where}: numbers with text in them: {', '.join(map(repr, texts[:MAX_SHOWN]))} beside {len(numbers)} different numbers"
            "; correct the table, or leave these cells empty"
        )
    shown = ", ".join(map(repr, distinct[:MAX_SHOWN]))
    if len(distinct) == len(labels):
        raise StudyError(
            f"{where}: as many values as patients ({len(labels)}: {shown} ...), as an id has; nothing can be learnt of it. Name a "
            "column of classes or numbers"
        )
    most = len(labels) // 2 if is_declared else min(MOST_CLASSES, len(labels) // 2)
    if len(distinct) > most:
        hint = (
            f", or say --kind {CLASSES} if they are meant"
            if not is_declared and len(distinct) <= len(labels) // 2
            else ""
        )
        hint = f", or say --kind {NUMBER}" if len(numbers) == len(distinct) else hint
        raise StudyError(
            f"{where}: {len(distinct)} different values of {len(labels)} patients are too many for classes ({shown} ...); unite "
            f"some in the table{hint}"
        )
