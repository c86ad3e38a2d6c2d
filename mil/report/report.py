"""The report: one HTML file that opens offline and prints, made from what the run folder holds and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.files import write_table, write_text
from common.guards.own_files import own_folder, remove_own_files
from common.templates import render
from mil.evaluation.metrics_record import NotEvaluated, RunMetrics
from mil.report.blocks import Section, counted, in_words_of, words_of_unit
from mil.report.context.patients_table import patients_blocks
from mil.report.context.published_figures import published_sections
from mil.report.drawing import Picture, as_svg, readable_letters
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
from mil.report.search.search_section import search_sections
from mil.report.task import Pictures, ReportTask
from mil.report.verdict import verdict
from mil.runs.facts import RunFacts
from mil.runs.notices import SYNTHETIC, SYNTHETIC_MODEL, USE
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import FinishedRun

NOTHING = "Nothing was evaluated: no patient is in a test set. The model was trained on all patients and its worth is unknown."


def write_report(run: FinishedRun, metrics: RunMetrics | NotEvaluated, task: ReportTask[Any]) -> None:
    """Draw figures/, replacing older ones, and write report.html, from a run and its metrics.

    Raises:
        StudyError: figures/ is a link.
    """
    with readable_letters():
        pictures = draw_pictures(run, metrics, task)
        svgs = {name: words_of_unit(as_svg(picture), run.facts.unit) for name, picture in pictures.items()}
    sections = _sections(run, metrics, task, svgs)
    page = render(
        Path(__file__).parent, "report.html", title=task.title, study=run.facts.study, run=run.facts.run, use=USE,
        synthetic=SYNTHETIC if run.facts.is_synthetic else "",
        headline=verdict(metrics) or NOTHING, sections=sections,
        images="tile images" if run.facts.n_images else "whole slides", source=_source(run.facts), unit=_unit_words(run.facts),
    )  # fmt: skip
    _write(run.folder, pictures, svgs, page)


def _write(folder: RunFolder, pictures: Mapping[str, Picture], svgs: Pictures, page: str) -> None:
    own_folder(folder.figures, below=folder.root.parent)
    for name, picture in pictures.items():
        write_text(folder.picture(name), svgs[name])
        write_table(folder.picture_table(name), picture.names, picture.rows)
    kept = {path.name for name in pictures for path in (folder.picture(name), folder.picture_table(name))}
    remove_own_files(folder.figures, OWN_PICTURE, kept=kept)
    write_text(folder.report, page)


def write_results_of_new_patients(run: FinishedRun, metrics: RunMetrics, task: ReportTask[Any], words: str) -> None:
    """Draw figures/ and write report.html of predictions of patients who trained nothing: the results, and what they are of.

    Args:
        run: predictions and what is known of the model; nothing of it was trained here.
        metrics: of the predictions.
        task: what was predicted.
        words: who these patients are.
    """
    with readable_letters():
        pictures = task.pictures(run, metrics)
        svgs = {name: words_of_unit(as_svg(picture), run.facts.unit) for name, picture in pictures.items()}
    sections = [in_words_of(each, metrics.unit) for each in result_sections(metrics, svgs, None, None, task)]
    page = render(
        Path(__file__).parent, "report.html", title=task.title, study=run.facts.study, run=run.facts.run, use=USE,
        synthetic=SYNTHETIC_MODEL if run.facts.is_synthetic else "", headline=f"{words} {verdict(metrics)}", sections=sections,
        images="whole slides", source=_source(run.facts), unit="",
    )  # fmt: skip
    _write(run.folder, pictures, svgs, page)


def _source(facts: RunFacts) -> str:
    """Say where the data come from and of when they are, as far as study.yaml says it."""
    of_date = f"({facts.data_date})" if facts.data_date else ""
    words = " ".join(part for part in (facts.data_source, of_date) if part)
    return f"Data: {words}." if words else ""


def _unit_words(facts: RunFacts) -> str:
    """Say what the numbers are of, where it is not patients."""
    if not facts.patient_of:
        return ""
    n_patients = len(set(facts.patient_of.values()))
    return (
        f"Every slide has a subtype of its own: a bag is a slide, and numbers are of slides ({counted(facts.n_patients, 'slide')} "
        f"of {counted(n_patients, 'patient')}). Folds keep patients whole, and intervals draw patients, each with all slides."
    )


def _sections(
    run: FinishedRun, metrics: RunMetrics | NotEvaluated, task: ReportTask[Any], svgs: Pictures
) -> list[Section]:
    facts, results = run.facts, []
    if not isinstance(metrics, NotEvaluated):
        results = [*result_sections(metrics, svgs, run.comparison, run.heads, task), *image_section(metrics, svgs)]
        results = [in_words_of(each, metrics.unit) for each in results]
    cohort = cohort_section(facts, metrics, task.outcome_counts(facts))
    return [
        replace(cohort, body=(*cohort.body, *patients_blocks(run))),
        *results,
        *published_sections(run),
        audit_section(run.audit),
        folds_section(facts, svgs),
        *search_sections(run.search),
        methods_section(facts, () if run.search is None else tuple(run.search.space)),
        limits_section(facts),
        repeat_section(facts),
    ]
