"""One slide to its tile file, outline and preview."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from common.arrays import stale_reason
from common.failures import SlideError, SlideStatus
from common.files import settings_text, write_text
from common.settings import settings_of
from common.slide_files import file_fingerprint
from common.study import Study
from preprocessing.colour.colour_strip import colour_strip
from preprocessing.colour.stain import REFERENCE, StainFit, fit_stain, stain_map
from preprocessing.quality.closer_look import measure_slide
from preprocessing.quality.measures import REASONS, rate_tiles, slide_flags
from preprocessing.reading.slide import Slide, open_slide, read_tile
from preprocessing.tiling.grid import piece_of_tiles, shares_of_tiles, tile_grid
from preprocessing.tiling.preview import PreviewMarks, draw_preview, title_line, write_preview
from preprocessing.tiling.tile_store import SCHEMA, Exclusions, TileSheet, read_tile_sheet, write_tile_sheet
from preprocessing.tiling.tiling_settings import WITHOUT_EFFECT, TilingConfig
from preprocessing.tissue.outline import filled, geojson, outlines
from preprocessing.tissue.segmentation import shrunk
from preprocessing.tissue.source import SlideTissue, TissueSource, find_slide_tissue, find_source

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
        reason = stale_reason(path, wanted) if is_there else "outline or preview missing"
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
    patches = _patches(slide, tiles, masks.is_ink, config)
    stain = fit_stain(patches, method=config.stain, glass=masks.glass)
    picture = _picture(slide_id, slide, tissue, tiles, side, tissue_mm2, _strip(patches, stain))
    write_preview(study.preview_file(slide_id), picture)
    _refuse_empty(slide_id, tiles, tissue, tissue_mm2, study, config)
    if source.outline is None:  # what a person edited stays as it is
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
        stain=stain, slide_fingerprint="", settings="",
    )  # fmt: skip


def _strip(patches: list[UInt8[np.ndarray, "_ _ 3"]], stain: StainFit) -> UInt8[np.ndarray, "_ _ 3"] | None:
    """Return the patches before and after the map to the built-in reference."""
    if not patches:
        return None
    return colour_strip(patches, None if stain.method == "none" else stain_map(stain, REFERENCE))


def _picture(
    slide_id: str, slide: Slide, tissue: SlideTissue, tiles: _Tiles, side: tuple[float, float], tissue_mm2: float,
    strip: UInt8[np.ndarray, "_ _ 3"] | None,
) -> UInt8[np.ndarray, "h w 3"]:  # fmt: skip
    masks = tissue.masks
    n_tiles = (len(tiles.coords), len(tiles.exclusions.coords))
    marks = PreviewMarks(
        excluded=tiles.exclusions.coords, unreadable=_boxes(masks.is_unreadable, slide), exclusions=tissue.exclusions,
        title=title_line(slide_id, slide.mpp_x, tissue_mm2, n_tiles, list(tiles.flags)), strip=strip,
    )  # fmt: skip
    return draw_preview(
        masks.overview, masks.is_ink, list(tissue.pieces), tiles.coords, slide_px=(slide.width, slide.height),
        tile_level0=side, marks=marks,
    )  # fmt: skip


def _boxes(mask: Bool[np.ndarray, "h w"], slide: Slide) -> tuple[tuple[float, float, float, float], ...]:
    """Return the bounding boxes (left, top, width, height in level-0 pixels) of the parts of a mask."""
    if not mask.any():
        return ()
    bounds = [part.bounds for part in outlines(mask, slide_px=(slide.width, slide.height))]
    return tuple((left, top, right - left, bottom - top) for left, top, right, bottom in bounds)


def _tiles(slide: Slide, tissue: SlideTissue, config: TilingConfig, side: tuple[float, float]) -> _Tiles:
    """Lay the grid, leave out tiles that cannot be read, and apply the quality rules."""
    masks, slide_px = tissue.masks, (slide.width, slide.height)
    coords, share = tile_grid(
        masks.is_tissue, slide_px=slide_px, mpp=(slide.mpp_x, slide.mpp_y), tile_um=config.tile_um,
        min_tissue=config.min_tissue, stride_um=config.stride_um,
    )  # fmt: skip
    is_unreadable = np.zeros(len(coords), dtype=bool)
    columns: dict[str, Float32[np.ndarray, " n"]] = {}
    flags: list[str] = []
    reason = np.zeros(len(coords), np.uint8)
    if masks.is_unreadable.any():
        is_unreadable = shares_of_tiles(masks.is_unreadable, coords, side=side, slide_px=slide_px) > 0
    if config.quality and len(coords):
        columns, is_lost = measure_slide(slide, coords, masks, tile_um=config.tile_um)
        is_unreadable |= is_lost
        if masks.is_ink.any():  # the ink finder's margin counts too
            ink = shares_of_tiles(masks.is_ink, coords, side=side, slide_px=slide_px)
            columns["pen"] = np.fmax(columns["pen"], ink)
        _, reason = rate_tiles(columns, config)
        is_stained = masks.is_ink.sum() + shrunk(masks.is_tissue, masks.is_ink.shape).sum()
        flags = slide_flags(columns, reason, config, ink_share=float(masks.is_ink.sum() / max(is_stained, 1)))
    reason[is_unreadable] = len(REASONS)
    if is_unreadable.any():
        flags.append(f"{UNREADABLE} {is_unreadable.mean():.0%}")
    is_kept = reason == 0
    exclusions = Exclusions(coords[~is_kept], reason[~is_kept], ("", *REASONS[1:], UNREADABLE))
    kept_columns = {name: values[is_kept] for name, values in columns.items()}
    return _Tiles(coords[is_kept], share[is_kept].astype(np.float32), kept_columns, exclusions, tuple(flags))


def _refuse_empty(
    slide_id: str, tiles: _Tiles, tissue: SlideTissue, tissue_mm2: float, study: Study, config: TilingConfig
) -> None:
    if tissue_mm2 == 0:
        found, remedy = "no tissue found", "a blank slide belongs out of the table"
        unreadable, ink = float(tissue.masks.is_unreadable.mean()), float(tissue.masks.is_ink.mean())
        if unreadable > 0:
            found, remedy = f"{found}, and {unreadable:.0%} of the slide cannot be read", "copy or scan it again"
        elif ink > 0.5:
            found = f"{found}: {ink:.0%} of the slide has colours of ink, which no stain makes"
            remedy = "its colours may be decoded wrongly; convert it to a pyramidal TIFF"
        raise SlideError(found, f"look at {study.preview_file(slide_id)}; {remedy}")
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


def _patches(
    slide: Slide, tiles: _Tiles, is_ink: Bool[np.ndarray, "h w"], config: TilingConfig
) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """Read patches for the stain fit, at 0.5 µm a pixel; one that cannot be read is passed over."""
    patches = []
    for x, y in _patch_corners(slide, tiles, is_ink, config):
        try:
            patches.append(read_tile(slide, x, y, tile_um=min(config.tile_um, STAIN_PATCH_UM), tile_px=STAIN_PATCH_PX))
        except SlideError:
            slide.reopen()
    return patches


def _patch_corners(
    slide: Slide, tiles: _Tiles, is_ink: Bool[np.ndarray, "h w"], config: TilingConfig
) -> list[tuple[int, int]]:
    """Choose tiles spread evenly over the tissue: in each stretch the fullest one, and none where the pen went."""
    if config.stain == "none" or not len(tiles.coords):
        return []
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
        "n_tiles": len(sheet.coords), **excluded, "sharpness": _median(sheet.quality.get("sharpness")),
        "flags": "; ".join(sheet.flags),
        "stain": sheet.stain.method, "stain_fallback": sheet.stain.fallback,
    }  # fmt: skip
    return SlideStatus(slide_id=sheet.slide_id, step=STEP, state="done", figures=figures)


def _median(values: Float32[np.ndarray, " n"] | None) -> object:
    """Return the median as text for a table; nothing where nothing was measured."""
    return "" if values is None or np.isnan(values).all() else round(float(np.nanmedian(values)), 2)
