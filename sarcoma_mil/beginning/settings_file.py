"""study.yaml with every option of every step, commented out: made of the settings classes, so that it cannot go stale."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.calling.calls import COMMAND
from sarcoma_mil.steps import STEPS, Step

NOT_IN_FILE = ("study",)  # the file lies in it
NOT_OF_STUDY = ("init",)  # it makes the file
WIDTH = 116
HEAD = f"""\
## The settings of this study. Every option of every step stands here with its default; take away the one # before an
## option to set it. A flag on the command line wins. {COMMAND} COMMAND --help says the same.

## Of the study as a whole.
# unit: patient            ## slide: each slide has a subtype of its own
# source: where the slides come from, for the head of reports
# date: 2024-03-29

## Where the clinical table calls its columns otherwise, has other words, or another unit of time.
# columns:
#   patient_id: case_id
#   event: {{column: vital_status, values: {{Alive: 0, Dead: 1}}}}
#   time: {{column: [days_to_death, days_to_last_follow_up]}}
#   time_unit: days

## Columns to predict beside subtype and survival.
# tasks:
#   grade: {{target: grade, kind: ordered, order: [G1, G2, G3]}}
"""


def settings_text() -> str:
    """Return the text of a study.yaml in which every default stands as it is."""
    steps = sorted(STEPS.values(), key=_place)
    return "\n".join([HEAD, *("\n".join(_section(step)) for step in steps if step.word not in NOT_OF_STUDY)])


def _place(step: Step) -> int:
    """Return a step's place in the file: first those that make a study."""
    first = ("tile", "features", "splits", "train", "explain", "run", "predict", "serve", "check")
    return first.index(step.word) if step.word in first else len(first)


def _section(step: Step) -> Iterator[str]:
    yield f"{step.section}:    ## {COMMAND} {step.word}: {step.what}"
    for field in dataclasses.fields(step.config_class()):
        if field.name not in NOT_IN_FILE:
            words = textwrap.wrap(str(field.metadata.get("help", "")), WIDTH)
            yield from (f"  ## {line}" for line in words)
            yield f"  # {field.name}: {_yaml(field.default)}"
    yield ""


def _yaml(value: Any) -> str:
    return json.dumps(value.as_posix() if isinstance(value, Path) else value, ensure_ascii=False)
