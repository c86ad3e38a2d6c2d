"""A whole study looked over: every slide tried, all held against each other, and the result as text for the screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.cohort import read_cohort
from common.failures import wrapped_lines
from common.files import write_table
from common.machine import default_workers
from common.study import Study, open_study
from common.tables.study_slides import SlideCacheConfig, slides_here, study_slides
from preprocessing.checks.check_settings import CheckConfig
from preprocessing.checks.elsewhere import ask_elsewhere
from preprocessing.checks.slide_checks import (
    Effort,
    Finding,
    SlideCheck,
    check_slides,
    cohort_findings,
    estimated_effort,
    median_mpp,
    off_scale,
    slide_findings,
    slide_row,
    space_findings,
    table_findings,
)
from preprocessing.reading.scale import given_scale, parse_scale

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "slide_id", "state", "reader", "width_px", "height_px", "mpp_x", "mpp_y", "mpp_source", "width_mm", "height_mm",
    "levels", "reason", "remedy",
)  # fmt: skip

OF_FEATURES = "note: no slides to look at; the features are there, of a tile table or of another tool"


@dataclass(frozen=True, kw_only=True)
class StudyCheck:
    """What was found: a row a slide (COLUMNS), findings, notes, and what the study will take."""

    table: Sequence[Sequence[object]]
    findings: Sequence[Finding]
    notes: Sequence[str]
    cohort: str  # patients, slides, classes and events in one line
    effort: Effort
    tile_um: float
    workers: int


def examine_study(study: Path | Study, config: CheckConfig) -> StudyCheck:
    """Look over a study; where `config.out` is given, the table of slides is written there, and nothing else.

    Raises:
        StudyError: the study or its clinical table is missing or wrong.
    """
    study = open_study(study)
    cohort = read_cohort(study.cohort_table, where=config.where)
    is_embedded = any(study.root.glob("features/*/*.h5"))
    has_slides = study.slides.is_dir() and any(study.slides.iterdir())
    of_features = is_embedded and not has_slides and not cohort.addresses  # of a tile table, or of another tool
    rows = {row["slide_id"]: row for row in cohort.rows}
    known_ids = {*rows, *cohort.left_out}
    files = {} if of_features else study_slides(study, cohort.addresses, known_ids, SlideCacheConfig())
    elsewhere = ask_elsewhere(files)
    workers = default_workers() if config.workers is None else config.workers
    jobs = list(_jobs(config, slides_here(files), rows))
    outcomes = check_slides(jobs, tile_um=config.tile_um, workers=workers, timeout_s=config.timeout_s)
    checks = [outcome.value for outcome in outcomes if outcome.value is not None]
    effort = estimated_effort(checks, tile_um=config.tile_um, workers=workers)
    findings = [
        *([] if of_features else table_findings(study.slides, files, rows.keys(), is_whole_table=config.where is None)),
        *elsewhere.findings,
        *slide_findings(outcomes, {name: row["patient_id"] for name, row in rows.items()}),
        *cohort_findings(cohort.patients, n_folds=config.folds),
        *space_findings(study.root, effort),
    ]
    found = sorted([*map(slide_row, outcomes), *elsewhere.rows], key=lambda row: str(row["slide_id"]))
    table = [[row.get(name, "") for name in COLUMNS] for row in found]
    if config.out is not None:
        write_table(config.out, COLUMNS, table)
    notes = [*(f"note: {each}" for each in cohort.notes), *elsewhere.notes, *_scale_notes(checks)]
    return StudyCheck(
        table=table, findings=findings, notes=[*notes, *([OF_FEATURES] if of_features else [])],
        cohort=_cohort_line(cohort.patients, cohort.slides), effort=effort, tile_um=config.tile_um, workers=workers,
    )  # fmt: skip


def check_text(check: StudyCheck) -> str:
    """Return a table of slides, what the study will take, and each finding with its remedy."""
    effort = check.effort
    lines = [check.cohort, *check.notes]
    if check.table:
        lines = [
            aligned([COLUMNS[:-2], *(row[:-2] for row in check.table)]),
            check.cohort,
            f"about {effort.n_tiles} tiles of {check.tile_um:g} µm (at 30 % tissue): {effort.feature_bytes / 1e6:.0f} MB of "
            f"features, {effort.hours:.1g} h on {check.workers} worker(s) without a GPU (tiles timed here, 50 embedded a "
            "second)",
            *check.notes,
        ]
    for finding in check.findings:
        lines += wrapped_lines(f"{finding.where}: {finding.found}; {finding.remedy}")
    n = len(check.findings)
    onward = "preprocessing/tile_slides.py" if check.table else "mil/train.py"
    return "\n".join([*lines, f"{n} finding(s)" if n else f"nothing found: go on with {onward}"])


def _jobs(
    config: CheckConfig, files: Mapping[str, Path], rows: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, Path, tuple[tuple[float, float], str] | None]]:
    """Yield slide id, file and given scale of every slide to look at."""
    flag = None if config.mpp is None else parse_scale(config.mpp)
    for name in sorted(files):
        if name in rows or config.where is None:
            yield name, files[name], given_scale(rows.get(name, {}), flag)


def _scale_notes(checks: Sequence[SlideCheck]) -> list[str]:
    _, in_company = off_scale(checks)
    if not in_company:
        return []
    scales = ", ".join(sorted({f"{check.mpp_x:.3g}" for check in in_company}))
    median = median_mpp(checks)
    return [
        f"note: {len(in_company)} slides have another scale ({scales}) than the median ({median:.3g}): two scanners?"
    ]


def aligned(rows: Sequence[Sequence[object]]) -> str:
    """Return rows as text in columns."""
    texts = [[str(value) for value in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(*texts, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in texts
    )


def _cohort_line(patients: pd.DataFrame, slides: pd.DataFrame) -> str:
    """Return one line: patients, slides, classes and events."""
    parts = [f"{len(patients)} patients, {len(slides)} slides"]
    if "subtype" in patients.columns:
        counts = patients["subtype"].value_counts().sort_index()
        parts.append(", ".join(f"{subtype} {count}" for subtype, count in counts.items()))
    if "set" in patients.columns:
        parts.append(
            "given sets: " + ", ".join(f"{name} {(patients['set'] == name).sum()}" for name in ("train", "val", "test"))
        )
    if "event" in patients.columns:
        parts.append(f"{int(patients['event'].sum())} events")
    return "; ".join(parts)
