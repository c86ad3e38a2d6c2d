"""What is known of each patient, found in the cohort and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from common.cohort import Cohort
from common.failures import StudyError

MIN_EVENTS = 2


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What is known of each patient: class number (subtype), or time and event (survival)."""

    labels: Mapping[str, int] = field(default_factory=dict)
    times: Mapping[str, float] = field(default_factory=dict)
    events: Mapping[str, int] = field(default_factory=dict)
    n_classes: int = 0


def find_targets(cohort: Cohort, task: str) -> tuple[Targets, list[str], dict[str, str]]:
    """Return labels (or times and events), the class names, and the patients without, with the reason.

    Raises:
        StudyError: the table lacks the task's columns, or has fewer than two classes, or two events.
    """
    patients, path = cohort.patients, cohort.path
    wanted = ("subtype",) if task == "subtype" else ("time", "event")
    absent = [name for name in wanted if name not in patients.columns]
    if absent:
        raise StudyError(
            f"{path}: --task {task} needs the column {' and '.join(absent)}; it has {', '.join(patients.columns)}"
        )
    known = patients[patients[list(wanted)].notna().all(axis=1)]
    excluded = {patient: f"no {' and '.join(wanted)}" for patient in sorted(set(patients.index) - set(known.index))}
    if task == "subtype":
        classes = sorted(known["subtype"].unique())
        if len(classes) < 2:
            raise StudyError(f"{path}: a subtype model needs two classes or more, found {', '.join(classes) or 'none'}")
        labels = {str(patient): classes.index(name) for patient, name in known["subtype"].items()}
        return Targets(labels=labels, n_classes=len(classes)), classes, excluded
    n_events = int(known["event"].sum())
    if n_events < MIN_EVENTS:
        raise StudyError(
            f"{path}: a survival model needs two events or more, found {n_events} among {len(known)} patients"
        )
    times = {str(patient): float(time) for patient, time in known["time"].items()}
    events = {str(patient): int(event) for patient, event in known["event"].items()}
    return Targets(times=times, events=events), [], excluded
