"""What is wrong with a study, found before hours of compute: each slide opened and tried, the table held against them."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.failures import SlideError
from common.parallel import Outcome, over_slides
from common.slide_files import file_fingerprint, no_such_slide
from common.tables.cohort_columns import number_fault
from preprocessing.reading.slide import Slide, open_slide, read_tile

if TYPE_CHECKING:
    import pandas as pd

PATCH_MPP, PATCH_PX = 8.0, 64  # read from the middle as a trial, where a slide's tissue most often lies
DARK_GROUND = 60.0  # median brightness of a whole slide; bright field is above 150
MPP_RATIO = 1.5  # from the cohort's median
SAME_SCALE, COMPANY_SHARE = 1.1, 0.1
GLASS_MM = (80.0, 60.0)  # no slide is larger, the large-section format of 50 x 75 mm included
LEAST_MM = 0.5
N_TIMED_TILES = 8
TISSUE_SHARE = 0.3  # of the scanned area: rule of thumb, on the safe side
FEATURE_BYTES = 1280 * 2 + 16  # a tile's embedding in float16, and its corner
EMBEDDED_PER_CORE_S = 50.0  # tiles a second, EfficientNet-Lite0 on OpenVINO: rule of thumb, a GPU is faster
DAMAGED = "Copy or scan it again"


@dataclass(frozen=True, kw_only=True)
class SlideCheck:
    """What a slide says of itself, and how a short trial read of it went."""

    slide_id: str
    reader: str
    width: int
    height: int
    mpp_x: float
    mpp_y: float
    mpp_source: str
    n_levels: int
    is_dark: bool
    tile_ms: float  # mean time of reading a tile in the middle of the slide
    fingerprint: str
    remarks: tuple[str, ...] = ()  # of the file: what is odd about it and how it is read all the same

    @property
    def extent_mm(self) -> tuple[float, float]:
        """Width and height of the field of view, millimetres."""
        return self.width * self.mpp_x / 1000, self.height * self.mpp_y / 1000


@dataclass(frozen=True)
class Finding:
    """Something to look at: where, what was found, and what to do."""

    where: str
    found: str
    remedy: str


def check_slides(
    jobs: Sequence[tuple[str, Path, tuple[tuple[float, float], str] | None]],
    *,
    tile_um: float,
    workers: int,
    timeout_s: float,
) -> list[Outcome[SlideCheck]]:
    """Try every slide (id, file, given scale with its source) in worker processes."""
    work = [(slide_id, (slide_id, path, given, tile_um)) for slide_id, path, given in jobs]
    return list(over_slides(check_slide, work, workers=workers, timeout_s=timeout_s, title="checking"))


def check_slide(slide_id: str, path: Path, given: tuple[tuple[float, float], str] | None, tile_um: float) -> SlideCheck:
    """Open a slide, read a patch at overview scale and some tiles from its middle, and its smallest level.

    Raises:
        SlideError: it does not open, has no scale, or its middle cannot be read.
    """
    mpp, source = given if given is not None else (None, "file")
    with open_slide(path, mpp=mpp, mpp_source=source) as slide:
        side = [min(PATCH_PX * PATCH_MPP / of, full) for of, full in _axes(slide)]
        corner = [(full - part) / 2 for part, full in zip(side, (slide.width, slide.height), strict=True)]
        slide.read_area((corner[0], corner[1]), (side[0], side[1]), (PATCH_PX, PATCH_PX))
        return SlideCheck(
            slide_id=slide_id, reader=slide.reader, width=slide.width, height=slide.height, mpp_x=slide.mpp_x,
            mpp_y=slide.mpp_y, mpp_source=slide.mpp_source, n_levels=len(slide.level_downsamples),
            is_dark=_is_dark(slide), tile_ms=_tile_ms(slide, tile_um), fingerprint=file_fingerprint(path),
            remarks=slide.remarks,
        )  # fmt: skip


def _axes(slide: Slide) -> Iterator[tuple[float, int]]:
    return zip((slide.mpp_x, slide.mpp_y), (slide.width, slide.height), strict=True)


def _is_dark(slide: Slide) -> bool:
    import numpy as np

    level = len(slide.level_dimensions) - 1
    sides = [min(side, PATCH_PX * 4) for side in slide.level_dimensions[level]]
    corners = [
        np.linspace(0, full - side, 4).round() for full, side in zip(slide.level_dimensions[level], sides, strict=True)
    ]
    patches = [
        np.asarray(slide.read_level(level, (int(x), int(y)), (sides[0], sides[1])))
        for y in corners[1]
        for x in corners[0]
    ]
    return float(np.median(patches)) < DARK_GROUND


def _tile_ms(slide: Slide, tile_um: float) -> float:
    step = (tile_um / slide.mpp_x, tile_um / slide.mpp_y)
    start = time.perf_counter()
    for index in range(N_TIMED_TILES):
        x = round(slide.width / 2 + (index % 4 - 2) * step[0])
        y = round(slide.height / 2 + (index // 4 - 1) * step[1])
        read_tile(slide, max(0, x), max(0, y), tile_um=tile_um, tile_px=256)
    return (time.perf_counter() - start) * 1000 / N_TIMED_TILES


def slide_findings(outcomes: Sequence[Outcome[SlideCheck]], patients: Mapping[str, str]) -> list[Finding]:
    """Return what is odd about slides: failed, another scale or size than the rest, dark, one content twice.

    Args:
        outcomes: one a slide.
        patients: slide id to patient id.
    """
    findings = [Finding(row.name, row.error.reason, row.error.remedy) for row in outcomes if row.error is not None]
    checks = [row.value for row in outcomes if row.value is not None]
    lone, _ = off_scale(checks)
    for check in checks:
        findings += _oddities(check)
    median = median_mpp(checks)
    for check in lone:
        found = f"mpp {check.mpp_x:.4g} ({check.mpp_source}), and the cohort's median is {median:.4g}"
        remedy = "compare with the scanner's magnification; a column mpp overrides the file"
        findings.append(Finding(check.slide_id, found, remedy))
    by_content: dict[str, list[str]] = {}
    for check in checks:
        by_content.setdefault(check.fingerprint, []).append(check.slide_id)
    for names in by_content.values():
        if len(names) > 1:
            owners = sorted({patients.get(name, "no patient") for name in names})
            whose = f"of one patient ({owners[0]})" if len(owners) == 1 else f"of {', '.join(owners)}"
            findings.append(
                Finding(", ".join(names), f"the same content under {len(names)} names, {whose}", "keep one of them")
            )
    return findings


def median_mpp(checks: Sequence[SlideCheck]) -> float:
    """Return the cohort's median scale on x; NaN for no slides."""
    return statistics.median(check.mpp_x for check in checks) if checks else float("nan")


def off_scale(checks: Sequence[SlideCheck]) -> tuple[list[SlideCheck], list[SlideCheck]]:
    """Return the slides whose scale is more than 1.5 times off the median: those alone with it, and those in company.

    A tenth of the cohort (and three slides) at one scale is a second scanner or magnification, no fault.
    """
    median = median_mpp(checks)
    lone: list[SlideCheck] = []
    in_company: list[SlideCheck] = []
    for check in checks:
        if max(check.mpp_x / median, median / check.mpp_x) > MPP_RATIO:
            n_alike = sum(1 / SAME_SCALE <= other.mpp_x / check.mpp_x <= SAME_SCALE for other in checks)
            (in_company if n_alike >= max(3, COMPANY_SHARE * len(checks)) else lone).append(check)
    return lone, in_company


def _oddities(check: SlideCheck) -> Iterator[Finding]:
    for remark in check.remarks:
        remedy = "look at its preview; convert it with a current tool if something is wrong, or it is read slowly"
        yield Finding(check.slide_id, remark, remedy)
    anisotropy = max(check.mpp_x, check.mpp_y) / min(check.mpp_x, check.mpp_y)
    if anisotropy > MPP_RATIO:
        found = f"mpp differs between the axes: {check.mpp_x:.4g} and {check.mpp_y:.4g} ({check.mpp_source})"
        yield Finding(check.slide_id, found, "compare with the scanner's settings; columns mpp_x and mpp_y override")
    longer, shorter = sorted(check.extent_mm, reverse=True)
    if longer > GLASS_MM[0] or shorter > GLASS_MM[1] or longer < LEAST_MM:
        found = f"the field of view is {longer:.3g} x {shorter:.3g} mm, no slide's"
        yield Finding(check.slide_id, found, "check the mpp, and that this is a whole slide")
    if check.is_dark:
        found = "the ground is dark, as in fluorescence; stains are fitted to bright-field H&E"
        yield Finding(check.slide_id, found, "leave the slide out if it is no H&E")


def table_findings(
    folder: Path, files: Mapping[str, Path], with_row: AbstractSet[str], *, is_whole_table: bool
) -> list[Finding]:
    """Return rows without a file and files without a row (the latter only when the table was not restricted)."""
    missing = [(name, no_such_slide(name, folder)) for name in sorted(with_row - files.keys())]
    findings = [Finding(name, error.reason, error.remedy) for name, error in missing]
    if is_whole_table:
        findings += [
            Finding(name, f"{files[name].name} has no row in the clinical table", "add a row, or move the file away")
            for name in sorted(files.keys() - with_row)
        ]
    return findings


def set_findings(patients: pd.DataFrame) -> list[Finding]:
    """Return what training on the table's given sets will stumble over: classes and events that a set lacks."""
    n_of = {name: int((patients["set"] == name).sum()) for name in ("train", "val", "test")}
    findings = []
    for name, why in (("train", "nothing can be learnt"), ("test", "nothing will be evaluated")):
        if not n_of[name]:
            findings.append(Finding("given sets", f"no patient is in the set {name}: {why}", "look at the column set"))
    if "subtype" in patients.columns:
        for subtype, own in patients.dropna(subset=["subtype"]).groupby("subtype", sort=True):
            if not (own["set"] == "train").any():
                found = f"no training patient of {subtype}"
                findings.append(Finding("given sets", found, "move one there, or leave the class out with --where"))
    has_events = "event" in patients.columns and patients["event"].notna().any()
    if has_events and n_of["train"] and not patients.loc[patients["set"] == "train", "event"].sum():
        findings.append(
            Finding("given sets", "no event in the set train: no Cox model can be fitted", "move one there")
        )
    return findings


def cohort_findings(patients: pd.DataFrame, *, n_folds: int) -> list[Finding]:
    """Return what cross-validation will stumble over: classes, events and patients too few for the folds.

    Where the table gives sets there are no folds to fill: what its sets lack is found instead.
    """
    if "set" in patients.columns:
        return set_findings(patients)
    findings = []
    if len(patients) < 2 * n_folds:
        found = f"{len(patients)} patients for {n_folds} folds"
        findings.append(Finding("cohort", found, "fewer folds (--folds), or more patients"))
    fault = number_fault(patients["subtype"].dropna().tolist()) if "subtype" in patients.columns else ""
    if fault:
        findings.append(Finding("cohort", f"subtype {fault}", "map the column of classes under columns in study.yaml"))
    elif "subtype" in patients.columns:
        for subtype, count in patients["subtype"].value_counts().sort_index().items():
            if count < n_folds:
                found = f"subtype {subtype} has {count} patient(s), fewer than the {n_folds} folds"
                fewer = "fewer folds (--folds)" if count >= 2 else "--stratify event for survival alone"
                remedy = f"{fewer}, or leave the class out with --where"
                findings.append(Finding("cohort", found, remedy))
    if "event" in patients.columns and patients["event"].notna().any():  # a column without any value was not filled in
        n_events = int(patients["event"].sum())
        if n_events < n_folds:
            found = f"{n_events} event(s), fewer than the {n_folds} folds: no Cox model can be evaluated"
            findings.append(Finding("cohort", found, "a longer follow-up, or another end point"))
    return findings


@dataclass(frozen=True)
class Effort:
    """What a study will take, by rules of thumb: tiles, bytes of features, hours of reading and embedding."""

    n_tiles: int
    feature_bytes: int
    hours: float


def estimated_effort(checks: Sequence[SlideCheck], *, tile_um: float, workers: int) -> Effort:
    """Estimate from 30 % tissue, the tile times measured on these slides, and 50 tiles embedded a second and core."""
    areas_um2 = [check.extent_mm[0] * check.extent_mm[1] * 1e6 for check in checks]
    n_tiles = [int(TISSUE_SHARE * area / tile_um**2) for area in areas_um2]
    reading_s = sum(count * check.tile_ms / 1000 for count, check in zip(n_tiles, checks, strict=True))
    seconds = (reading_s + sum(n_tiles) / EMBEDDED_PER_CORE_S) / max(1, workers)
    return Effort(sum(n_tiles), sum(n_tiles) * FEATURE_BYTES, seconds / 3600)


def space_findings(folder: Path, effort: Effort) -> list[Finding]:
    """Return a finding when the features will not fit on the study's disk."""
    free = shutil.disk_usage(folder).free
    if effort.feature_bytes <= free:
        return []
    found = f"features need about {effort.feature_bytes / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free"
    return [Finding("disk", found, "make room, use larger tiles (--tile_um), or move the study")]


def slide_row(outcome: Outcome[SlideCheck]) -> dict[str, Any]:
    """Return a slide's row of the table."""
    check, error = outcome.value, outcome.error
    if check is None:
        assert isinstance(error, SlideError)
        return {"slide_id": outcome.name, "state": "failed", "reason": error.reason, "remedy": error.remedy}
    width, height = check.extent_mm
    return {
        "slide_id": check.slide_id, "state": "opens", "reader": check.reader, "width_px": check.width,
        "height_px": check.height, "mpp_x": round(check.mpp_x, 5), "mpp_y": round(check.mpp_y, 5),
        "mpp_source": check.mpp_source, "width_mm": round(width, 2), "height_mm": round(height, 2),
        "levels": check.n_levels,
    }  # fmt: skip
