"""One slide to its tile file, outline and preview; and the loop over a study's slides."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.artifacts import file_fingerprint, settings_text, whats_stale, write_text
from common.failures import SlideError, SlideStatus, failed
from common.parallel import default_workers, over_slides
from common.settings import option, settings_of
from common.study import Study
from preprocessing.grid import tile_grid
from preprocessing.outline import geojson, outlines
from preprocessing.preview import draw_preview, write_preview
from preprocessing.slide import Slide, open_slide, read_tile
from preprocessing.stain import METHODS, StainFit, fit_stain
from preprocessing.tile_store import SCHEMA, TileSheet, read_tile_sheet, write_tile_sheet
from preprocessing.tissue import OVERVIEW_MPP, Tissue, find_tissue

if TYPE_CHECKING:
    import pandas as pd

STEP = "tile_slides"
N_STAIN_PATCHES = 32
STAIN_PATCH_PX, STAIN_PATCH_UM = 256, 128.0
WITHOUT_EFFECT = ("study", "where", "workers", "timeout_s", "mpp")  # mpp is compared through the file's own scale


@dataclass(frozen=True, kw_only=True)
class TilingConfig:
    """The settings of tile_slides.py."""

    study: Path = option(Path("study"), help="study folder", group="study")
    where: str | None = option(
        None, help="only slides of rows for which this holds, such as \"site == 'A'\"", group="study"
    )
    mpp: float | None = option(
        None, help="µm a pixel of every slide; wins over the files, loses to a column mpp of cohort.csv", group="study"
    )
    tile_um: float = option(256.0, help="side of a tile on the slide, micrometres", group="tiles")
    tile_px: int = option(256, help="side of a tile handed to the encoder, pixels", group="tiles")
    min_tissue: float = option(0.5, help="least tissue fraction of a kept tile, 0 to 1", group="tiles")
    stain: str = option(
        "vahadane", help="colour fit of each slide: vahadane, macenko, reinhard or none", group="colour"
    )
    workers: int | None = option(None, help="worker processes; unset: one a processor", group="work")
    timeout_s: float = option(900.0, help="time limit of a slide, seconds", group="work")

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.tile_um <= 0:
            raise ValueError(f"--tile_um is a length above 0 µm, got {self.tile_um}")
        if self.tile_px < 8:
            raise ValueError(f"--tile_px is a number of pixels from 8, got {self.tile_px}")
        if not 0 <= self.min_tissue <= 1:
            raise ValueError(f"--min_tissue is a fraction from 0 to 1, got {self.min_tissue}")
        if self.stain not in METHODS:
            raise ValueError(f"--stain is {', '.join(METHODS)}, got {self.stain!r}")
        if self.timeout_s <= 0:
            raise ValueError(f"--timeout_s is a time above 0 s, got {self.timeout_s}")


@dataclass(frozen=True)
class SlideJob:
    """A slide to tile: its file, and the scale given for it (µm a pixel) with its source."""

    slide_id: str
    path: Path
    mpp: float | None
    mpp_source: str


def tile_study(study: Study, files: dict[str, Path], rows: pd.DataFrame, config: TilingConfig) -> list[SlideStatus]:
    """Tile every slide that has a row and a file; the others are failures of their own.

    Args:
        study: where the files go.
        files: slide id to slide file.
        rows: the clinical table's slides, with slide_id and perhaps mpp.
        config: the settings.
    """
    statuses = list(_unmatched(files, set(rows["slide_id"]), is_whole_table=config.where is None))
    jobs = [_job(row, files, config) for _, row in rows.iterrows() if row["slide_id"] in files]
    work = [(job.slide_id, (job, study, config)) for job in sorted(jobs, key=lambda job: job.slide_id)]
    workers = config.workers if config.workers is not None else default_workers()
    for outcome in over_slides(tile_slide, work, workers=workers, timeout_s=config.timeout_s, title="tiling"):
        if outcome.error is not None:
            study.tile_file(outcome.name).unlink(missing_ok=True)  # what lies there is not of this slide and settings
            statuses.append(failed(outcome.name, STEP, outcome.error))
        else:
            assert outcome.value is not None
            statuses.append(outcome.value)
    return statuses


def _unmatched(files: dict[str, Path], with_row: set[str], *, is_whole_table: bool) -> Iterable[SlideStatus]:
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


def _job(row: pd.Series, files: dict[str, Path], config: TilingConfig) -> SlideJob:
    given = row.get("mpp")
    slide_id = str(row["slide_id"])
    if given is not None and not math.isnan(given):
        return SlideJob(slide_id, files[slide_id], float(given), "cohort table")
    return SlideJob(slide_id, files[slide_id], config.mpp, "--mpp")


def tile_slide(job: SlideJob, study: Study, config: TilingConfig) -> SlideStatus:
    """Tile one slide and return its status; whole files of the same slide and settings are kept.

    Raises:
        SlideError: the slide cannot be read, has no scale, no tissue, or no whole tile of tissue.
    """
    path = study.tile_file(job.slide_id)
    settings = settings_text(settings_of(config, without=WITHOUT_EFFECT))
    mpp = None if job.mpp is None else (job.mpp, job.mpp)
    with open_slide(job.path, mpp=mpp, mpp_source=job.mpp_source) as slide:
        wanted = {
            "schema": SCHEMA, "settings": settings, "slide_fingerprint": file_fingerprint(job.path),
            "mpp_x": slide.mpp_x, "mpp_y": slide.mpp_y, "mpp_source": slide.mpp_source,
        }  # fmt: skip
        is_there = study.outline_file(job.slide_id).is_file() and _preview_file(study, job.slide_id).is_file()
        reason = whats_stale(path, wanted) if is_there else "outline or preview missing"
        if reason is None:
            return _done(read_tile_sheet(path))
        if path.exists():
            print(f"{job.slide_id}: made again, because {reason}", flush=True)
        sheet = _tile(job.slide_id, slide, study, config)
    sheet = dataclasses.replace(sheet, settings=settings, slide_fingerprint=str(wanted["slide_fingerprint"]))
    write_tile_sheet(path, sheet)  # last: its presence says that outline and preview are there
    return _done(sheet)


def _tile(slide_id: str, slide: Slide, study: Study, config: TilingConfig) -> TileSheet:
    overview = slide.overview(OVERVIEW_MPP)
    tissue = find_tissue(overview, mpp=OVERVIEW_MPP)
    tissue_mm2 = float(tissue.is_tissue.mean() * slide.width * slide.mpp_x * slide.height * slide.mpp_y / 1e6)
    slide_px = (slide.width, slide.height)
    coords, share = tile_grid(
        tissue.is_tissue, slide_px=slide_px, mpp=(slide.mpp_x, slide.mpp_y),
        tile_um=config.tile_um, min_tissue=config.min_tissue,
    )  # fmt: skip
    pieces = outlines(tissue.is_tissue, slide_px=slide_px) if tissue.is_tissue.any() else []
    tile_level0 = (config.tile_um / slide.mpp_x, config.tile_um / slide.mpp_y)
    picture = draw_preview(overview, tissue.is_ink, pieces, coords, slide_px=slide_px, tile_level0=tile_level0)
    write_preview(_preview_file(study, slide_id), picture)
    if not tissue.is_tissue.any():
        raise SlideError(
            "no tissue found", f"look at {_preview_file(study, slide_id)}; a blank slide belongs out of the table"
        )
    if len(coords) == 0:
        raise SlideError(
            f"{tissue_mm2:.2f} mm² of tissue, but no tile of {config.tile_um:g} µm is {config.min_tissue:.0%} tissue",
            "lower --min_tissue or --tile_um, or leave the slide out",
        )
    write_text(study.outline_file(slide_id), geojson(pieces))
    stain = _fit(slide, coords, _fitness(share, coords, tissue, slide, config), tissue.glass, config)
    return TileSheet(
        slide_id=slide_id, coords=coords, tissue_fraction=share.astype(np.float32), mpp_x=slide.mpp_x, mpp_y=slide.mpp_y,
        mpp_source=slide.mpp_source, tile_um=config.tile_um, tile_px=config.tile_px, slide_width=slide.width,
        slide_height=slide.height, tissue_mm2=tissue_mm2, stain=stain,
        slide_fingerprint="", settings="",
    )  # fmt: skip


def _fitness(share: np.ndarray, coords: np.ndarray, tissue: Tissue, slide: Slide, config: TilingConfig) -> np.ndarray:
    """Rate tiles for the stain fit: their tissue share, and nothing where the pen went."""
    ink_tiles, _ = tile_grid(
        tissue.is_ink, slide_px=(slide.width, slide.height), mpp=(slide.mpp_x, slide.mpp_y),
        tile_um=config.tile_um, min_tissue=0.0,
    )  # fmt: skip
    has_ink = set(map(tuple, ink_tiles.tolist()))
    return np.array(
        [0.0 if tuple(corner) in has_ink else value for corner, value in zip(coords.tolist(), share, strict=True)]
    )


def _fit(
    slide: Slide, coords: np.ndarray, fitness: np.ndarray, glass: tuple[float, float, float], config: TilingConfig
) -> StainFit:
    """Fit the stain on patches spread evenly over the tissue, in the fullest tile of each stretch, at 0.5 µm a pixel."""
    if config.stain == "none":
        return fit_stain([], method="none", glass=glass)
    stretches = np.array_split(np.arange(len(coords)), min(N_STAIN_PATCHES, len(coords)))
    chosen = [stretch[fitness[stretch].argmax()] for stretch in stretches]
    chosen = [index for index in chosen if fitness[index] > 0]
    patch_um = min(config.tile_um, STAIN_PATCH_UM)
    patches = [
        read_tile(slide, int(coords[index][0]), int(coords[index][1]), tile_um=patch_um, tile_px=STAIN_PATCH_PX)
        for index in chosen
    ]
    return fit_stain(patches, method=config.stain, glass=glass)


def _preview_file(study: Study, slide_id: str) -> Path:
    return study.previews / f"{slide_id}.jpg"


def _done(sheet: TileSheet) -> SlideStatus:
    figures: dict[str, object] = {
        "mpp_x": sheet.mpp_x, "mpp_y": sheet.mpp_y, "mpp_source": sheet.mpp_source,
        "tissue_mm2": round(sheet.tissue_mm2, 3), "n_tiles": len(sheet.coords),
        "stain": sheet.stain.method, "stain_fallback": sheet.stain.fallback,
    }  # fmt: skip
    return SlideStatus(slide_id=sheet.slide_id, step=STEP, state="done", figures=figures)


def summary(statuses: Sequence[SlideStatus]) -> str:
    """Return one line: slides, tissue and tiles."""
    done = [row.figures for row in statuses if row.state == "done"]
    n_tiles = sum(int(str(row["n_tiles"])) for row in done)
    area = sum(float(str(row["tissue_mm2"])) for row in done)
    n_fallbacks = sum(bool(row["stain_fallback"]) for row in done)
    return f"{len(done)} slides, {area:.1f} mm² of tissue, {n_tiles} tiles, {n_fallbacks} stain fits by a fallback"
