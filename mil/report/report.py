"""The report: one HTML file that opens offline and prints, made from what the run folder holds and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common.files import write_text
from common.templates import render
from mil.evaluation.comparison_record import Comparison, read_comparison
from mil.evaluation.metrics_record import NotEvaluated, RunMetrics
from mil.report.blocks import Section
from mil.report.drawing import as_svg
from mil.report.figures import draw_pictures, write_pictures
from mil.report.image_section import image_section
from mil.report.methods_sections import (
    audit_section,
    cohort_section,
    folds_section,
    limits_section,
    methods_section,
    repeat_section,
)
from mil.report.result_sections import result_sections
from mil.report.task import Pictures, ReportTask
from mil.report.verdict import verdict
from mil.runs.record import SchemaError
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import FinishedRun

USE = "Research use only. Not a medical device."
NOTHING = "Nothing was evaluated: no patient is in a test set. The model was trained on all patients and its worth is unknown."


def write_report(run: FinishedRun, metrics: RunMetrics | NotEvaluated, task: ReportTask[Any]) -> None:
    """Draw figures/ and write report.html, from a run and its metrics and from audit and comparison beside them."""
    pictures = draw_pictures(run, metrics, task)
    svgs = {name: as_svg(picture.figure) for name, picture in pictures.items()}
    sections = _sections(run, metrics, task, svgs)
    page = render(
        Path(__file__).parent, "report.html", title=task.title, run=run.facts.run, use=USE,
        headline=verdict(metrics) or NOTHING, sections=sections,
    )  # fmt: skip
    write_pictures(run.folder, pictures, svgs)
    write_text(run.folder.report, page)


def _sections(
    run: FinishedRun, metrics: RunMetrics | NotEvaluated, task: ReportTask[Any], svgs: Pictures
) -> list[Section]:
    facts, results = run.facts, []
    if not isinstance(metrics, NotEvaluated):
        results = [*result_sections(metrics, svgs, _current_comparison(run), task), *image_section(metrics)]
    return [
        cohort_section(facts, metrics, task.outcome_counts(facts)),
        *results,
        audit_section(_read_audit(run.folder)),
        folds_section(facts, svgs),
        methods_section(facts),
        limits_section(facts),
        repeat_section(facts),
    ]


def _current_comparison(run: FinishedRun) -> Comparison | None:
    """Return the run's comparison with another; None if one of the two was trained anew since, or the version is another."""
    if not run.folder.comparison.is_file():
        return None
    try:
        compared = read_comparison(run.folder)
    except SchemaError:
        return None
    other = run.folder.beside(compared.against)
    is_current = (compared.predictions_sha256, compared.second_predictions_sha256) == (
        run.predictions_sha256,
        other.predictions_sha256(),
    )
    return compared if is_current else None


def _read_audit(folder: RunFolder) -> dict[str, Any] | None:
    return json.loads(folder.audit.read_text(encoding="utf-8")) if folder.audit.is_file() else None
