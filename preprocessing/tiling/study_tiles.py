"""The slides of a study to tile files: which slides there are, and the loop over them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.failures import SlideError, SlideStatus, StudyError, failed
from common.machine import default_workers
from common.parallel import over_slides
from common.study import Study
from preprocessing.reading.scale import given_scale, parse_scale
from preprocessing.tiling.slide_tiles import STEP, SlideJob, tile_slide
from preprocessing.tiling.tiling_settings import TilingConfig
from preprocessing.tissue.source import SEGMENTED


def tile_study(
    study: Study, files: Mapping[str, Path], rows: Sequence[Mapping[str, Any]], config: TilingConfig
) -> list[SlideStatus]:
    """Tile every slide that has a row and a file; the others are failures of their own.

    Args:
        study: where the files go.
        files: slide id to slide file.
        rows: the clinical table's rows, one a slide, with slide_id and perhaps mpp, or mpp_x and mpp_y.
        config: the settings.

    Raises:
        StudyError: the folder of masks that was named is not there.
    """
    if config.masks is not None and not config.masks.is_dir():
        raise StudyError(f"--masks: no folder {config.masks}; give the one with <slide>.png or .tif")
    if config.masks is None and study.masks.is_dir():
        config = dataclasses.replace(config, masks=study.masks)
    flag = None if config.mpp is None else parse_scale(config.mpp)
    statuses = list(_unmatched(files, {row["slide_id"] for row in rows}, is_whole_table=config.where is None))
    jobs = [_job(row, files, flag) for row in rows if row["slide_id"] in files]
    work = [(job.slide_id, (job, study, config)) for job in sorted(jobs, key=lambda job: job.slide_id)]
    workers = config.workers if config.workers is not None else default_workers()
    for outcome in over_slides(tile_slide, work, workers=workers, timeout_s=config.timeout_s, title="tiling"):
        if outcome.error is not None:
            for file in (study.tile_file(outcome.name), study.preview_file(outcome.name)):
                file.unlink(missing_ok=True)  # what lies there is not of this slide and settings
            statuses.append(failed(outcome.name, STEP, outcome.error))
        else:
            assert outcome.value is not None
            statuses.append(outcome.value)
    return statuses


def _unmatched(files: Mapping[str, Path], with_row: set[str], *, is_whole_table: bool) -> Iterable[SlideStatus]:
    for slide_id in sorted(with_row - set(files)):
        error = SlideError(
            "the table has this slide, but there is no such file", "add the file to slides/, or remove the row"
        )
        yield failed(slide_id, STEP, error)
    if is_whole_table:
        for slide_id in sorted(set(files) - with_row):
            error = SlideError(
                f"{files[slide_id].name} has no row in the clinical table", "add a row, or move the file away"
            )
            yield failed(slide_id, STEP, error)


def _job(row: Mapping[str, Any], files: Mapping[str, Path], flag: tuple[float, float] | None) -> SlideJob:
    slide_id = row["slide_id"]
    scale = given_scale(row, flag)
    mpp, source = (None, "") if scale is None else scale
    return SlideJob(slide_id, files[slide_id], mpp, source)


def summary(statuses: Sequence[SlideStatus]) -> str:
    """Return one line: slides, tissue, tiles kept and left out, flags and fallbacks."""
    done = [row.figures for row in statuses if row.state == "done"]
    n_tiles = sum(int(str(row["n_tiles"])) for row in done)
    n_excluded = sum(int(str(value)) for row in done for name, value in row.items() if name.startswith("n_excluded_"))
    area = sum(float(str(row["tissue_mm2"])) for row in done)
    n_flagged = sum(bool(row["flags"]) for row in done)
    n_fallbacks = sum(bool(row["stain_fallback"]) for row in done)
    sources = Counter(str(row["tissue_source"]) for row in done)
    given = "".join(f", tissue of {n} by {kind}" for kind, n in sorted(sources.items()) if kind != SEGMENTED)
    return (
        f"{len(done)} slides, {area:.1f} mm² of tissue, {n_tiles} tiles ({n_excluded} excluded), "
        f"{n_flagged} slides with a flag, {n_fallbacks} stain fits by a fallback{given}"
    )
