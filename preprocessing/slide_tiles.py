"""One slide to its tile file, outline and preview."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int64

from common.artifacts import file_fingerprint, settings_text, whats_stale, write_text
from common.failures import SlideError, SlideStatus
from common.settings import settings_of
from common.study import Study
from preprocessing.grid import piece_of_tiles, shares_of_tiles, tile_grid
from preprocessing.outline import filled, geojson
from preprocessing.preview import draw_preview, write_preview
from preprocessing.slide import Slide, open_slide, read_tile
from preprocessing.stain import StainFit, fit_stain
from preprocessing.tile_store import SCHEMA, Exclusions, TileSheet, read_tile_sheet, write_tile_sheet
from preprocessing.tiling_settings import WITHOUT_EFFECT, TilingConfig
from preprocessing.tissue_source import EDITED, SlideTissue, TissueSource, find_slide_tissue, find_source

STEP = "tile_slides"
N_STAIN_PATCHES = 32
STAIN_PATCH_PX, STAIN_PATCH_UM = 256, 128.0
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class SlideJob:
    """A slide to tile: its file, and the scale given for it (µm a pixel, x and y) with its source."""

    slide_id: str
    path: Path
    mpp: tuple[float, float] | None
    mpp_source: str


@dataclass(frozen=True)
class _Tiles:
    """Tiles over the tissue of a slide, before and after the quality rules."""

    coords: Int64[np.ndarray, "n 2"]
    tissue_fraction: Float32[np.ndarray, " n"]
    columns: dict[str, Float32[np.ndarray, " n"]]
    exclusions: Exclusions
    flags: tuple[str, ...]


def tile_slide(job: SlideJob, study: Study, config: TilingConfig) -> SlideStatus:
    """Tile one slide and return its status; whole files of the same slide, tissue and settings are kept.

    Raises:
        SlideError: the slide cannot be read, has no scale, no tissue, or no whole tile of tissue.
    """
    path, outline_file = study.tile_file(job.slide_id), study.outline_file(job.slide_id)
    settings = settings_text(settings_of(config, without=WITHOUT_EFFECT))
    with open_slide(job.path, mpp=job.mpp, mpp_source=job.mpp_source) as slide:
        source = find_source(outline_file, config.masks, job.slide_id, slide.bounds[:2])
        wanted = {
            "schema": SCHEMA, "settings": settings, "slide_fingerprint": file_fingerprint(job.path),
            "mpp_x": slide.mpp_x, "mpp_y": slide.mpp_y, "mpp_source": slide.mpp_source,
            "tissue_source": source.kind, "tissue_fingerprint": source.fingerprint,
        }  # fmt: skip
        is_there = outline_file.is_file() and study.preview_file(job.slide_id).is_file()
        reason = whats_stale(path, wanted) if is_there else "outline or preview missing"
        if reason is None:
            return _done(read_tile_sheet(path))
        if path.exists():
            print(f"{job.slide_id}: made again, because {reason}", flush=True)
        sheet = _tile(job.slide_id, slide, source, study, config)
    sheet = replace(sheet, settings=settings, slide_fingerprint=str(wanted["slide_fingerprint"]))
    write_tile_sheet(path, sheet)  # last: its presence says that outline and preview are there
    return _done(sheet)


def _tile(slide_id: str, slide: Slide, source: TissueSource, study: Study, config: TilingConfig) -> TileSheet:
    tissue = find_slide_tissue(slide, source, second_pass=config.second_pass)
    masks, slide_px = tissue.masks, (slide.width, slide.height)
    tissue_mm2 = float(masks.is_tissue.mean() * slide.width * slide.mpp_x * slide.height * slide.mpp_y / 1e6)
    side = (config.tile_um / slide.mpp_x, config.tile_um / slide.mpp_y)
    tiles = _tiles(slide, tissue, config, side)
    picture = draw_preview(
        masks.overview, masks.is_ink, list(tissue.pieces), tiles.coords, slide_px=slide_px, tile_level0=side
    )
    write_preview(study.preview_file(slide_id), picture)
    _refuse_empty(slide_id, tiles, tissue_mm2, study, config)
    if source.kind != EDITED and (source.outline is None or not source.outline.is_edited):
        text = geojson(tissue.pieces, tissue.exclusions, origin=slide.bounds[:2])
        write_text(study.outline_file(slide_id), text)
    labels = filled(tissue.pieces, masks.is_ink.shape, slide_px=slide_px, numbered=True)
    return TileSheet(
        slide_id=slide_id, coords=tiles.coords, tissue_fraction=tiles.tissue_fraction,
        piece=piece_of_tiles(labels, tiles.coords, side=side, slide_px=slide_px), n_pieces=len(tissue.pieces),
        quality=tiles.columns, exclusions=tiles.exclusions, flags=tiles.flags,
        mpp_x=slide.mpp_x, mpp_y=slide.mpp_y, mpp_source=slide.mpp_source, tile_um=config.tile_um, tile_px=config.tile_px,
        stride_um=config.stride_um or config.tile_um, slide_width=slide.width, slide_height=slide.height,
        tissue_mm2=tissue_mm2, tissue_source=source.kind, tissue_fingerprint=source.fingerprint,
        stain=_fit(slide, tiles, masks.is_ink, masks.glass, config), slide_fingerprint="", settings="",
    )  # fmt: skip


def _tiles(slide: Slide, tissue: SlideTissue, config: TilingConfig, side: tuple[float, float]) -> _Tiles:
    """Lay the grid, leave out tiles that touch unreadable areas, and apply the quality rules."""
    masks, slide_px = tissue.masks, (slide.width, slide.height)
    coords, share = tile_grid(
        masks.is_tissue, slide_px=slide_px, mpp=(slide.mpp_x, slide.mpp_y), tile_um=config.tile_um,
        min_tissue=config.min_tissue, stride_um=config.stride_um,
    )  # fmt: skip
    reason = np.zeros(len(coords), np.uint8)
    names = ["", UNREADABLE]
    if masks.is_unreadable.any():
        reason[shares_of_tiles(masks.is_unreadable, coords, side=side, slide_px=slide_px) > 0] = 1
    is_kept = reason == 0
    exclusions = Exclusions(coords[~is_kept], reason[~is_kept], tuple(names))
    return _Tiles(coords[is_kept], share[is_kept].astype(np.float32), {}, exclusions, ())


def _refuse_empty(slide_id: str, tiles: _Tiles, tissue_mm2: float, study: Study, config: TilingConfig) -> None:
    if tissue_mm2 == 0:
        raise SlideError(
            "no tissue found", f"look at {study.preview_file(slide_id)}; a blank slide belongs out of the table"
        )
    if len(tiles.coords):
        return
    counts = tiles.exclusions.counts()
    if sum(counts.values()):
        listed = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        raise SlideError(f"all its tiles are excluded: {listed}", f"look at {study.preview_file(slide_id)}")
    raise SlideError(
        f"{tissue_mm2:.2f} mm² of tissue, but no tile of {config.tile_um:g} µm is {config.min_tissue:.0%} tissue",
        "lower --min_tissue or --tile_um, or leave the slide out",
    )


def _fit(
    slide: Slide,
    tiles: _Tiles,
    is_ink: Bool[np.ndarray, "h w"],
    glass: tuple[float, float, float],
    config: TilingConfig,
) -> StainFit:
    """Fit the stain on patches spread evenly over the tissue, in the fullest tile of each stretch, at 0.5 µm a pixel."""
    if config.stain == "none":
        return fit_stain([], method="none", glass=glass)
    patches = [
        read_tile(slide, x, y, tile_um=min(config.tile_um, STAIN_PATCH_UM), tile_px=STAIN_PATCH_PX)
        for x, y in _patch_corners(slide, tiles, is_ink, config)
    ]
    return fit_stain(patches, method=config.stain, glass=glass)


def _patch_corners(
    slide: Slide, tiles: _Tiles, is_ink: Bool[np.ndarray, "h w"], config: TilingConfig
) -> list[tuple[int, int]]:
    """Choose tiles for the stain fit: full of tissue, and none where the pen went."""
    fitness = tiles.tissue_fraction.copy()
    if is_ink.any():
        side = (config.tile_um / slide.mpp_x, config.tile_um / slide.mpp_y)
        has_ink = shares_of_tiles(is_ink, tiles.coords, side=side, slide_px=(slide.width, slide.height)) > 0
        fitness[has_ink] = 0
    stretches = np.array_split(np.arange(len(tiles.coords)), min(N_STAIN_PATCHES, len(tiles.coords)))
    chosen = [int(stretch[fitness[stretch].argmax()]) for stretch in stretches]
    return [(int(tiles.coords[index, 0]), int(tiles.coords[index, 1])) for index in chosen if fitness[index] > 0]


def _done(sheet: TileSheet) -> SlideStatus:
    excluded = {f"n_excluded_{name}": count for name, count in sheet.exclusions.counts().items()}
    figures: dict[str, object] = {
        "mpp_x": sheet.mpp_x, "mpp_y": sheet.mpp_y, "mpp_source": sheet.mpp_source,
        "tissue_mm2": round(sheet.tissue_mm2, 3), "tissue_source": sheet.tissue_source, "n_pieces": sheet.n_pieces,
        "n_tiles": len(sheet.coords), **excluded, "flags": "; ".join(sheet.flags),
        "stain": sheet.stain.method, "stain_fallback": sheet.stain.fallback,
    }  # fmt: skip
    return SlideStatus(slide_id=sheet.slide_id, step=STEP, state="done", figures=figures)
