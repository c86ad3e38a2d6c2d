"""The columns of an end point out of the clinical table, in months where the table's unit is known, cut at a horizon.

`--endpoint OS` takes the pair of columns that bears the name, as TCGA's and cBioPortal's tables have it (OS.time and OS,
OS_MONTHS and OS_STATUS, OS_time and OS_event); `--endpoint TIME/EVENT` names the two.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.failures import StudyError
from common.guards.names import nearest
from common.tables.column_mapping import MONTHS
from mil.training.time_to_event.survival_targets import SurvivalTargets

if TYPE_CHECKING:
    from common.cohort import Cohort

UNITS = tuple(MONTHS)  # days, weeks, months, years
TIMES = ("time", *UNITS)
EVENTS = ("event", "status", "")
EVENT_WORD = re.compile(r"\s*([01])(\.0)?\s*(:.*)?")  # 1, 0.0, "1:DECEASED"


@dataclass(frozen=True, kw_only=True)
class EndPoint:
    """What is predicted of whom, by the settings of a run."""

    name: str = ""  # --endpoint
    horizon: float = 0.0  # in the unit of the times; 0: none
    entry: str = ""  # a column
    group: str = ""  # a column; "": the subtype, where the table has it
    weight: str = ""  # a column
    competing: str = ""  # a column of any event
    ties: str = "efron"
    risk_groups: str = "median"

    def columns(self, table: Sequence[str], path: object) -> tuple[str, str]:
        """Return the names of the columns of time and event.

        Raises:
            StudyError: the table has none of that name, or several.
        """
        if not self.name:
            return "time", "event"
        if "/" in self.name:
            pair = [part.strip() for part in self.name.split("/")]
            absent = [name for name in pair if name not in table]
            if len(pair) != 2 or absent:
                near = nearest(absent[0], list(table)) if absent else ""
                raise StudyError(
                    f"--endpoint {self.name}: wanted TIME/EVENT, two columns of {path}{near}; it has {', '.join(table)}"
                )
            return pair[0], pair[1]
        found = [
            [name for name in table for ending in endings if _plain(name) == _plain(self.name) + ending]
            for endings in (TIMES, EVENTS)
        ]
        if [len(names) for names in found] != [1, 1]:
            what = ["time", "event"]
            said = [f"{what[i]}: {', '.join(names) or 'none'}" for i, names in enumerate(found)]
            raise StudyError(
                f"--endpoint {self.name}: {path} must have one column of its time and one of its event, and has "
                f"{'; '.join(said)}. Name them as --endpoint TIME/EVENT; the table has {', '.join(table)}"
            )
        return found[0][0], found[1][0]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def find_end_point(cohort: Cohort, own: EndPoint, *, task: str) -> tuple[SurvivalTargets, dict[str, str]]:
    """Return the follow-up of each patient, and the patients without, with the reason.

    Raises:
        StudyError: a column is missing, holds what it cannot, or differs between slides of one patient.
    """
    table = [name for name in cohort.columns if name not in ("patient_id", "slide_id")]
    time, event = own.columns(table, cohort.path)
    group = own.group or ("subtype" if "subtype" in table else "")
    wanted = {
        "time": time, "event": event, "entry": own.entry, "weight": own.weight, "group": group if own.group else "",
        "competing": own.competing,
    }  # fmt: skip
    absent = [name for name in (time, event) if name not in table]
    if absent:
        raise StudyError(
            f"{cohort.path}: --task {task} needs the column {' and '.join(absent)}; it has {', '.join(table)}"
        )
    for part, name in wanted.items():
        if name and name not in table:
            flag = {"weight": "--case_weights", "group": "--strata"}.get(part, f"--{part}")
            raise StudyError(
                f"{cohort.path}: {flag} needs the column {name}{nearest(name, table)}; it has {', '.join(table)}"
            )
    months = _months_of(time, cohort)
    entry_months = _months_of(own.entry, cohort) if own.entry else 1.0
    known: dict[str, dict[str, Any]] = {}
    excluded: dict[str, str] = {}
    for patient, row in _by_patient(cohort, [*filter(None, wanted.values())]).items():
        absent = [name for name in wanted.values() if name and _is_missing(row[name])]
        if absent:
            excluded[patient] = f"no {' and '.join(absent)}"
            continue
        values = {
            "time": _number(row[time], time, patient, cohort) * (months or 1.0),
            "event": _event(row[event], event, patient, cohort),
        }
        if own.entry:
            values["entry"] = _number(row[own.entry], own.entry, patient, cohort) * (entry_months or 1.0)
        if own.weight:
            values["weight"] = _number(row[own.weight], own.weight, patient, cohort)
        if own.competing:
            values["competing"] = int(_event(row[own.competing], own.competing, patient, cohort) > values["event"])
        reason = _cut(values, own, patient, cohort)
        if reason:
            excluded[patient] = reason
        else:
            known[patient] = values
    groups = {} if not group else _groups(cohort, group, known)
    return SurvivalTargets(
        times={patient: values["time"] for patient, values in known.items()},
        events={patient: values["event"] for patient, values in known.items()},
        entries={patient: values["entry"] for patient, values in known.items() if own.entry},
        weights={patient: values["weight"] for patient, values in known.items() if own.weight},
        competing={patient: values["competing"] for patient, values in known.items() if own.competing},
        groups=groups, is_stratified=bool(own.group), ties=own.ties, risk_groups=own.risk_groups,
        time_unit=cohort.time_unit if time == "time" else "" if months is None else "months",
    ), dict(sorted(excluded.items()))  # fmt: skip


def _cut(values: dict[str, Any], own: EndPoint, patient: str, cohort: Cohort) -> str:
    """Censor what lies beyond the horizon, in place; return why a patient is never seen, or nothing."""
    if "entry" in values and not values["entry"] < values["time"]:
        raise StudyError(
            f"{cohort.path}: patient {patient} comes under observation at {own.entry} {values['entry']:g} and is followed to "
            f"{values['time']:g}; entry lies before the end of follow-up"
        )
    if own.horizon and values["time"] > own.horizon:
        values |= {"time": own.horizon, "event": 0} | ({"competing": 0} if own.competing else {})
        if values.get("entry", -math.inf) >= own.horizon:
            return f"comes under observation after the horizon of {own.horizon:g}"
    return ""


def _months_of(column: str, cohort: Cohort) -> float | None:
    """Return how many months the unit of a column is, by its name or by study.yaml; None where neither says it.

    The column `time` was brought to months when the table was read.
    """
    if column == "time":
        return 1.0 if cohort.time_unit else None
    unit = next((unit for unit in UNITS if _plain(column).endswith(unit)), None)
    return MONTHS[unit] if unit else cohort.months_a_unit


def _by_patient(cohort: Cohort, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return one row a patient.

    Raises:
        StudyError: slides of one patient differ in one of these columns.
    """
    rows: dict[str, Mapping[str, Any]] = {}
    for row in cohort.rows:
        first = rows.setdefault(row["patient_id"], row)
        for name in names:
            if first[name] != row[name] and not (_is_missing(first[name]) and _is_missing(row[name])):
                raise StudyError(
                    f"{cohort.path}: patient {row['patient_id']} has two values of {name}: {first[name]} and {row[name]}"
                )
    return rows


def _groups(cohort: Cohort, group: str, known: Mapping[str, object]) -> dict[str, str]:
    """Return the group of each patient; one whose group is missing is in none."""
    values = {str(row["patient_id"]): row[group] for row in cohort.rows}
    return {patient: str(values[patient]) for patient in known if not _is_missing(values[patient])}


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _number(value: Any, name: str, patient: str, cohort: Cohort) -> float:
    if isinstance(value, int | float) and math.isfinite(value) and value >= 0:
        return float(value)
    raise StudyError(f"{cohort.path}: patient {patient} has {name} {value!r}; it is a number, not negative")


def _event(value: Any, name: str, patient: str, cohort: Cohort) -> int:
    match = EVENT_WORD.fullmatch(str(value))
    if match:
        return int(match[1])
    raise StudyError(
        f"{cohort.path}: patient {patient} has {name} {value!r}; an event is 0 (censored) or 1. Say what the words mean in "
        f"study.yaml, under columns: {name}: {{column: {name}, values: {{{value}: 0 or 1}}}}"
    )
