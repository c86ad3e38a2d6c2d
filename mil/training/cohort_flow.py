"""From the clinical table to the patients of the analysis: who left where, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.failures import StudyError
from common.files import read_named_rows
from common.study import Study
from mil.runs.facts import CohortFlow, SlideLoss

if TYPE_CHECKING:
    import pandas as pd

    from common.cohort import Cohort


def known_patients(cohort: Cohort, columns: Sequence[str], *, task: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the rows of the patients with a value in every column, and the patients without, with the reason.

    Raises:
        StudyError: the table lacks a column.
    """
    patients = cohort.patients
    absent = [name for name in columns if name not in patients.columns]
    if absent:
        raise StudyError(
            f"{cohort.path}: --task {task} needs the column {' and '.join(absent)}; "
            f"it has {', '.join(patients.columns)}"
        )
    known = patients[patients[list(columns)].notna().all(axis=1)]
    excluded = {patient: f"no {' and '.join(columns)}" for patient in sorted(set(patients.index) - set(known.index))}
    return known, excluded


def slide_losses(study: Study, encoder: str, slides: Sequence[str]) -> tuple[SlideLoss, ...]:
    """Return the step and the reason for every slide without features, from the status tables of the earlier steps."""
    tables = [
        ("tiling", _failures(study.tiles / "status.csv")),
        ("embedding", _failures(study.features(encoder) / "status.csv")),
    ]
    losses = []
    for slide in sorted(slides):
        step, reason = next(
            ((step, failed[slide]) for step, failed in tables if slide in failed),
            ("embedding", "no feature file, and no status table names the slide as failed: not embedded yet"),
        )
        losses.append(SlideLoss(slide_id=slide, step=step, reason=reason))
    return tuple(losses)


def _failures(path: Path) -> dict[str, str]:
    """Return slide to reason for the failed rows of a status table; nothing when there is no table."""
    if not path.is_file():
        return {}
    return {
        row["slide_id"]: row.get("reason") or "no reason given"
        for row in read_named_rows(path)
        if row.get("state") == "failed"
    }


def cohort_flow(table: Cohort, kept: Cohort, losses: Sequence[SlideLoss], excluded: dict[str, str]) -> CohortFlow:
    """Return the counts of the flow: the table, the part chosen by --where, and what was lost after it."""
    n_of = {name: each.slides["patient_id"].nunique() for name, each in (("table", table), ("kept", kept))}
    reasons: dict[str, int] = {}
    for reason in excluded.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    steps: dict[str, int] = {}
    for loss in losses:
        steps[loss.step] = steps.get(loss.step, 0) + 1
    return CohortFlow(
        table_patients=int(n_of["table"]), table_slides=len(table.slides),
        kept_patients=int(n_of["kept"]), kept_slides=len(kept.slides),
        slides_lost=dict(sorted(steps.items())), patients_lost=dict(sorted(reasons.items())),
    )  # fmt: skip
