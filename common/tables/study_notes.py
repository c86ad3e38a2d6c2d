"""What study.yaml says of the study as a whole, beside columns and the settings of scripts.

unit: slide                                # a label is one of a slide, not of a patient: two lesions, two labels
source: TCGA-SARC, GDC data release 40     # where the data come from, for the head of reports
date: 2024-03-29                           # of the data
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common.failures import StudyError

UNITS = ("patient", "slide")
MAX_LETTERS = 200


@dataclass(frozen=True, kw_only=True)
class StudyNotes:
    """What bears a label, and where the data come from; "" is what was not said."""

    unit: str = "patient"  # or "slide"
    source: str = ""
    date: str = ""


def study_notes(content: object, where: object) -> StudyNotes:
    """Read the keys `unit`, `source` and `date` of study.yaml.

    Raises:
        StudyError: one has another kind of value; the message begins with `where`.
    """
    known: Mapping[str, object] = content if isinstance(content, dict) else {}
    texts = {}
    for name in ("source", "date"):
        value = known.get(name)
        if isinstance(value, dict | list):
            raise StudyError(f"{where}: {name} is one text, such as 2024-03-29, not a {type(value).__name__}")
        texts[name] = "" if value is None else " ".join(str(value).split())
        if len(texts[name]) > MAX_LETTERS:
            raise StudyError(f"{where}: {name} has {len(texts[name])} letters; {MAX_LETTERS} are the most")
    unit = known.get("unit", "patient")
    if unit not in UNITS:
        raise StudyError(
            f"{where}: unit is {' or '.join(UNITS)}, not {unit!r}: slide where each slide has a subtype of its own"
        )
    return StudyNotes(unit=str(unit), **texts)
