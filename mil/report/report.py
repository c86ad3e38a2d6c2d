"""The report: one HTML file that opens offline and prints, made from what the run folder holds and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.files import write_text
from common.names import name_fault
from mil.report.blocks import STYLE, paragraph, text
from mil.report.figures import draw_figures
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
from mil.report.verdict import verdict
from mil.runs.run_store import AUDIT, COMPARISON, FACTS, METRICS, PREDICTIONS, predictions_sha256, read_run

USE = "Research use only. Not a medical device."


def write_report(run_dir: Path) -> None:
    """Draw figures/ and write report.html from what a run folder holds: run.json, metrics.json, audit.json, comparison.json."""
    facts, found = _read(run_dir / FACTS), _read(run_dir / METRICS)
    assert facts is not None
    assert found is not None
    draw_figures(read_run(run_dir), found)
    figures = {path.stem: path.read_text(encoding="utf-8") for path in sorted((run_dir / "figures").glob("*.svg"))}
    compared = _read(run_dir / COMPARISON)
    if compared is not None and not _is_current(compared, run_dir):
        compared = None  # made before one of the two runs was trained anew
    sections = [
        cohort_section(facts, found),
        *(result_sections(found, figures, compared) if found["evaluated"] else []),
        *image_section(found),
        audit_section(_read(run_dir / AUDIT)),
        folds_section(facts, figures),
        methods_section(facts),
        limits_section(facts),
        repeat_section(facts),
    ]
    task = {"subtype": "Subtype", "survival": "Survival"}[facts["task"]]
    top = [
        f"<h1>{task} from whole slides by attention MIL</h1>", paragraph(USE, "use"), paragraph(_headline(found), "lead"),
        _contents(sections),
    ]  # fmt: skip
    page = f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{task} report, run {text(facts['run'])}</title>"
    page += f"<style>{STYLE}</style></head><body>{''.join([*top, *sections])}{paragraph(USE, 'use')}</body></html>\n"
    write_text(run_dir / "report.html", page)


def _is_current(compared: Mapping[str, Any], run_dir: Path) -> bool:
    name = str(compared.get("against"))
    other = run_dir.parent / name
    return (
        not name_fault(name)
        and compared.get("predictions_sha256") == predictions_sha256(run_dir)
        and (other / PREDICTIONS).is_file()
        and compared.get("second_predictions_sha256") == predictions_sha256(other)
    )


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _headline(found: Mapping[str, Any]) -> str:
    if not found["evaluated"]:
        return "Nothing was evaluated: no patient is in a test set. The model was trained on all patients and its worth is unknown."
    return verdict(found)


def _contents(sections: list[str]) -> str:
    """Return links to the sections."""
    found = [re.match(r"<section id='([^']+)'><h2>(?:<span[^>]*>[^<]*</span>)?([^<]*)</h2>", part) for part in sections]
    links = [f"<a href='#{own[1]}'>{own[2]}</a>" for own in found if own]
    return f"<nav>{' '.join(links)}</nav>"
