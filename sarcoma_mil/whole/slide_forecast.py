"""How much tissue a slide has, told from its header and a coarse overview in a fraction of a second; and tiling tried on one."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.failures import SlideError
from common.machine import default_workers
from common.parallel import over_slides
from preprocessing.reading.scale import given_scale, parse_scale
from preprocessing.reading.slide import open_slide
from preprocessing.reading.survey import survey_slide
from preprocessing.tiling.tiling_job import TilingJob, tile_slide
from preprocessing.tiling.tiling_settings import TilingConfig
from preprocessing.tissue.overview_mask import find_tissue

OVERVIEW_MPP = 16.0  # tissue within 3 % of tiling's own on eight real slides; at 32 large pale strips are lost
MAX_LOOKED_AT = 200  # slides; of more, every so-and-so-many one stands for its neighbours
TIME_LIMIT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class SlideLook:
    """What a slide promises: its tissue, and about how many tiles."""

    slide_id: str
    tissue_mm2: float
    n_tiles: float


@dataclass(frozen=True)
class TilingRate:
    """What tiling took on one slide, in this process: seconds and bytes a tile."""

    slide_id: str
    seconds: float
    n_tiles: int
    n_bytes: int


def look_at_slides(
    files: Mapping[str, Path], rows: Sequence[Mapping[str, Any]], config: TilingConfig
) -> tuple[list[SlideLook], list[tuple[str, SlideError]]]:
    """Look at slides in worker processes; returns what they promise, and those that cannot be read.

    Args:
        files: slide id to slide file, of those to look at.
        rows: of the clinical table, with scales perhaps.
        config: of the tiling.
    """
    flag = None if config.mpp is None else parse_scale(config.mpp)
    by_id = {str(row["slide_id"]): row for row in rows}
    work = [(name, (name, path, given_scale(by_id.get(name, {}), flag), config)) for name, path in files.items()]
    workers = default_workers() if config.workers is None else config.workers
    outcomes = list(over_slides(look, work, workers=workers, timeout_s=TIME_LIMIT_S, title="looking at slides"))
    looks = [own.value for own in outcomes if own.value is not None]
    return looks, [(own.name, own.error) for own in outcomes if own.error is not None]


def look(slide_id: str, path: Path, given: tuple[tuple[float, float], str] | None, config: TilingConfig) -> SlideLook:
    """Find the tissue of a slide on an overview of 16 µm a pixel, as tiling does on a finer one.

    Raises:
        SlideError: the slide cannot be read, or has no scale.
    """
    mpp, source = given if given is not None else (None, "file")
    with open_slide(path, mpp=mpp, mpp_source=source) as slide:
        survey = survey_slide(slide, OVERVIEW_MPP)
        width_um, height_um = slide.width * slide.mpp_x, slide.height * slide.mpp_y
        tissue = find_tissue(survey.image, mpp=max(survey.mpp))
    mm2 = float(tissue.is_tissue.mean()) * width_um * height_um / 1e6
    step_um = config.stride_um or config.tile_um
    return SlideLook(slide_id=slide_id, tissue_mm2=mm2, n_tiles=mm2 * 1e6 / step_um**2)


def try_tiling(slide_id: str, path: Path, row: Mapping[str, Any], config: TilingConfig) -> TilingRate | None:
    """Tile one slide into a folder that goes away again, and time it; None where it cannot be tiled."""
    flag = None if config.mpp is None else parse_scale(config.mpp)
    mpp, source = given_scale(row, flag) or (None, "")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        job = TilingJob(
            slide_id=slide_id, path=path, mpp=mpp, mpp_source=source, tile_file=place / "tiles.h5",
            outline_file=place / "outline.geojson", preview_file=place / "preview.jpg",
        )  # fmt: skip
        start = time.perf_counter()
        try:
            status = tile_slide(job, replace(config, study=place))
        except SlideError:
            return None
        seconds = time.perf_counter() - start
        n_bytes = sum(file.stat().st_size for file in place.iterdir())
    return TilingRate(slide_id, seconds, max(1, int(str(status.figures["n_tiles"]))), n_bytes)
