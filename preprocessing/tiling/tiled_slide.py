"""What tiling one open slide comes to: tiles, outline, picture, or why it is refused. Everything is read and reckoned
here, and nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from common.failures import SlideError
from preprocessing.reading.slide import Slide
from preprocessing.tiling.grid import piece_of_tiles
from preprocessing.tiling.preview import PreviewMarks, draw_preview, title_line
from preprocessing.tiling.slide_stain import SlideStain, fit_slide_stain
from preprocessing.tiling.slide_tiles import SlideTiles
from preprocessing.tiling.tile_choice import ChosenTiles, choose_tiles
from preprocessing.tiling.tiling_settings import TilingConfig
from preprocessing.tissue.outline import filled, geojson, outlines
from preprocessing.tissue.overview_mask import OVERVIEW_MPP
from preprocessing.tissue.source import SEGMENTED, SlideTissue, TissueSource, find_slide_tissue


class RefusedSlideError(SlideError):
    """A slide was looked at and has no tile: its preview, which shows why, is of this run and stays."""


@dataclass(frozen=True, kw_only=True)
class TiledSlide:
    """A tiled slide before it is written. One without a tile is refused: its picture alone is of use."""

    tiles: SlideTiles
    outline: str | None  # GeoJSON; None where a person's own outline stays as it is
    picture: UInt8[np.ndarray, "h w 3"]
    refusal: RefusedSlideError | None


@dataclass(frozen=True, kw_only=True)
class SlideOrigin:
    """What a slide's tiles will say they were made of, and where its picture will lie, which a refusal names."""

    slide_id: str
    slide_fingerprint: str
    settings: str
    preview_file: Path


def tile_open_slide(slide: Slide, source: TissueSource, origin: SlideOrigin, config: TilingConfig) -> TiledSlide:
    """Find the tissue, choose the tiles, fit the stains, and make of them what is to be written.

    Raises:
        SlideError: the slide or its mask image cannot be read, or its size is impossible.
    """
    _refuse_if_too_small(slide, config.tile_um)
    tissue = find_slide_tissue(slide, source, second_pass=config.second_pass)
    chosen = choose_tiles(slide, tissue.masks, config)
    stain = fit_slide_stain(slide, chosen, tissue.masks, config)
    tiles = _slide_tiles(slide, source, origin, config, tissue=tissue, chosen=chosen, stain=stain)
    outline = geojson(tissue.pieces, tissue.exclusions, origin=slide.outline_origin) if source.outline is None else None
    return TiledSlide(
        tiles=tiles, outline=outline, picture=_picture(tiles, tissue, stain),
        refusal=_refusal(tiles, tissue, origin.preview_file, config),
    )  # fmt: skip


def _refuse_if_too_small(slide: Slide, tile_um: float) -> None:
    width_um, height_um = slide.width * slide.mpp_x, slide.height * slide.mpp_y
    if min(width_um, height_um) < tile_um - OVERVIEW_MPP:  # a tile may hang over the edge by a part of the mask's pixel
        raise SlideError(
            f"the image is {slide.width} x {slide.height} px, {width_um:.4g} x {height_um:.4g} µm: smaller than a tile "
            f"of {tile_um:g} µm",
            "check that this is the slide itself and its mpp is true; lower --tile_um, or leave it out of the table",
        )


def _slide_tiles(
    slide: Slide, source: TissueSource, origin: SlideOrigin, config: TilingConfig,
    *, tissue: SlideTissue, chosen: ChosenTiles, stain: SlideStain,
) -> SlideTiles:  # fmt: skip
    side, slide_px = (config.tile_um / slide.mpp_x, config.tile_um / slide.mpp_y), (slide.width, slide.height)
    labels = filled(tissue.pieces, tissue.masks.is_ink.shape, slide_px=slide_px, numbered=True)
    tissue_um2 = tissue.masks.is_tissue.mean() * slide.width * slide.mpp_x * slide.height * slide.mpp_y
    return SlideTiles(
        slide_id=origin.slide_id, coords=chosen.coords, tissue_fraction=chosen.tissue_fraction,
        piece=piece_of_tiles(labels, chosen.coords, side=side, slide_px=slide_px), n_pieces=len(tissue.pieces),
        quality=chosen.columns, exclusions=chosen.exclusions, flags=(*chosen.flags, *tissue.flags, *stain.flags),
        mpp_x=slide.mpp_x, mpp_y=slide.mpp_y, mpp_source=slide.mpp_source, tile_um=config.tile_um, tile_px=config.tile_px,
        stride_um=config.stride_um or config.tile_um, slide_width=slide.width, slide_height=slide.height,
        tissue_mm2=float(tissue_um2 / 1e6), tissue_source=source.name,
        tissue_fingerprint=source.fingerprint, stain=stain.fit, slide_fingerprint=origin.slide_fingerprint,
        settings=origin.settings,
    )  # fmt: skip


def _picture(tiles: SlideTiles, tissue: SlideTissue, stain: SlideStain) -> UInt8[np.ndarray, "h w 3"]:
    masks, left_out = tissue.masks, tiles.exclusions.coords
    n_tiles = (len(tiles.coords), len(left_out))
    marks = PreviewMarks(
        excluded=left_out, dropped=masks.is_dropped if tiles.tissue_source == SEGMENTED else None,
        unreadable=_boxes(masks.is_unreadable, tiles.slide_px), exclusions=tissue.exclusions,
        title=title_line(tiles.slide_id, tiles.mpp_x, tiles.tissue_mm2, n_tiles, list(tiles.flags)), strip=stain.strip,
    )  # fmt: skip
    return draw_preview(
        masks.overview, masks.is_ink, list(tissue.pieces), tiles.coords, slide_px=tiles.slide_px,
        tile_level0=tiles.side_level0, marks=marks,
    )  # fmt: skip


def _boxes(mask: Bool[np.ndarray, "h w"], slide_px: tuple[int, int]) -> tuple[tuple[float, float, float, float], ...]:
    """Return the bounding boxes (left, top, width, height in level-0 pixels) of the parts of a mask."""
    if not mask.any():
        return ()
    bounds = [part.bounds for part in outlines(mask, slide_px=slide_px)]
    return tuple((left, top, right - left, bottom - top) for left, top, right, bottom in bounds)


def _refusal(
    tiles: SlideTiles, tissue: SlideTissue, preview_file: Path, config: TilingConfig
) -> RefusedSlideError | None:
    """Return why a slide has no tile; None where it has one."""
    if tiles.tissue_mm2 == 0:
        reason, remedy = _why_no_tissue(tissue)
        return RefusedSlideError(reason, f"look at {preview_file}; {remedy}")
    if len(tiles.coords):
        return None
    counts = tiles.exclusions.counts()
    if sum(counts.values()):
        listed = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        return RefusedSlideError(f"all its tiles are excluded: {listed}", f"look at {preview_file}")
    return RefusedSlideError(
        f"{tiles.tissue_mm2:.2f} mm² of tissue, but no tile of {config.tile_um:g} µm is {config.min_tissue:.0%} tissue",
        "lower --min_tissue or --tile_um, or leave the slide out",
    )


def _why_no_tissue(tissue: SlideTissue) -> tuple[str, str]:
    """Return reason and remedy."""
    unreadable, ink = float(tissue.masks.is_unreadable.mean()), float(tissue.masks.is_ink.mean())
    if unreadable > 0:
        return f"no tissue found, and {unreadable:.0%} of the slide cannot be read", "copy or scan it again"
    if ink > 0.5:
        return (
            f"no tissue found: {ink:.0%} of the slide has colours of ink, which no stain makes",
            "its colours may be decoded wrongly; convert it to a pyramidal TIFF",
        )
    return "no tissue found", "a blank slide belongs out of the table"
