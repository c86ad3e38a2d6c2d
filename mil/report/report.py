"""The report: one HTML file that opens offline and prints, made from what the run folder holds and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.files import write_table, write_text
from common.guards.own_files import own_folder, remove_own_files
from common.templates import render
from mil.evaluation.metrics_record import NotEvaluated, RunMetrics
from mil.report.blocks import Section
from mil.report.drawing import as_svg, readable_letters
from mil.report.figures import OWN_PICTURE, draw_pictures
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
from mil.runs.run_store import FinishedRun

USE = "Research use only. Not a medical device."
SYNTHETIC = "SYNTHETIC DATA: painted slides, invented patients. No number here says anything of patients."
NOTHING = "Nothing was evaluated: no patient is in a test set. The model was trained on all patients and its worth is unknown."


def write_report(run: FinishedRun, metrics: RunMetrics | NotEvaluated, task: ReportTask[Any]) -> None:
    """Draw figures/, replacing older ones, and write report.html, from a run and its metrics.

    Raises:
        StudyError: figures/ is a link.
    """
    with readable_letters():
        pictures = draw_pictures(run, metrics, task)
        svgs = {name: as_svg(picture) for name, picture in pictures.items()}
    sections = _sections(run, metrics, task, svgs)
    page = render(
        Path(__file__).parent, "report.html", title=task.title, study=run.facts.study, run=run.facts.run, use=USE,
        synthetic=SYNTHETIC if run.facts.is_synthetic else "",
        headline=verdict(metrics) or NOTHING, sections=sections,
    )  # fmt: skip
    folder = run.folder
    own_folder(folder.figures, below=folder.root.parent)
    for name, picture in pictures.items():
        write_text(folder.picture(name), svgs[name])
        write_table(folder.picture_table(name), picture.names, picture.rows)
    kept = {path.name for name in pictures for path in (folder.picture(name), folder.picture_table(name))}
    remove_own_files(folder.figures, OWN_PICTURE, kept=kept)
    write_text(folder.report, page)


def _sections(
    run: FinishedRun, metrics: RunMetrics | NotEvaluated, task: ReportTask[Any], svgs: Pictures
) -> list[Section]:
    facts, results = run.facts, []
    if not isinstance(metrics, NotEvaluated):
        results = [*result_sections(metrics, svgs, run.comparison, task), *image_section(metrics)]
    return [
        cohort_section(facts, metrics, task.outcome_counts(facts)),
        *results,
        audit_section(run.audit),
        folds_section(facts, svgs),
        methods_section(facts),
        limits_section(facts),
        repeat_section(facts),
    ]
