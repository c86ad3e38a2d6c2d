"""Which tiles of a slide are kept: a grid over its tissue, without what cannot be read and what breaks a quality rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from preprocessing.quality.closer_look import measure_slide
from preprocessing.quality.measures import REASONS, rate_tiles, slide_flags
from preprocessing.reading.slide import Slide
from preprocessing.tiling.grid import shares_of_tiles, tile_grid
from preprocessing.tiling.slide_tiles import Exclusions
from preprocessing.tiling.tiling_settings import TilingConfig
from preprocessing.tissue.segmentation import Segmentation, shrunk

UNREADABLE = "unreadable"

Columns = dict[str, Float32[np.ndarray, " n"]]


@dataclass(frozen=True)
class ChosenTiles:
    """The kept tiles, what was measured on them, the tiles left out, and what a person should look at on the slide."""

    coords: Int64[np.ndarray, "n 2"]
    tissue_fraction: Float32[np.ndarray, " n"]
    columns: Columns
    exclusions: Exclusions
    flags: tuple[str, ...]


def choose_tiles(slide: Slide, masks: Segmentation, config: TilingConfig) -> ChosenTiles:
    """Lay the grid, look at every tile closely, and apply the rules."""
    slide_px, mpp = (slide.width, slide.height), (slide.mpp_x, slide.mpp_y)
    coords, share = tile_grid(
        masks.is_tissue, slide_px=slide_px, mpp=mpp, tile_um=config.tile_um, min_tissue=config.min_tissue,
        stride_um=config.stride_um,
    )  # fmt: skip
    columns: Columns = {}
    is_lost = np.zeros(len(coords), dtype=bool)
    if config.quality and len(coords):
        columns, is_lost = measure_slide(slide, coords, masks, tile_um=config.tile_um)
    side = (config.tile_um / mpp[0], config.tile_um / mpp[1])
    unreadable, ink = (
        shares_of_tiles(mask, coords, side=side, slide_px=slide_px) if mask.any() else None
        for mask in (masks.is_unreadable, masks.is_ink)
    )
    if unreadable is not None:
        is_lost = is_lost | (unreadable > 0)
    if columns and ink is not None:  # the ink finder's margin counts too
        columns["pen"] = np.fmax(columns["pen"], ink)
    return _judged(coords, share.astype(np.float32), columns, is_lost, ink_share=_ink_share(masks), config=config)


def _judged(
    coords: Int64[np.ndarray, "n 2"], share: Float32[np.ndarray, " n"], columns: Columns, is_lost: Bool[np.ndarray, " n"],
    *, ink_share: float, config: TilingConfig,
) -> ChosenTiles:  # fmt: skip
    """Part tiles into kept ones and exclusions; what cannot be read is left out for that alone."""
    reason, flags = np.zeros(len(coords), np.uint8), list[str]()
    if columns:
        _, reason = rate_tiles(columns, config)
        flags = slide_flags(columns, reason, config, ink_share=ink_share)
    if is_lost.any():
        reason[is_lost] = len(REASONS)
        flags.append(f"{UNREADABLE} {is_lost.mean():.0%}")
    is_kept = reason == 0
    return ChosenTiles(
        coords[is_kept], share[is_kept], {name: values[is_kept] for name, values in columns.items()},
        _exclusions(coords[~is_kept], reason[~is_kept]), tuple(flags),
    )  # fmt: skip


def _exclusions(coords: Int64[np.ndarray, "m 2"], reason: UInt8[np.ndarray, " m"]) -> Exclusions:
    return Exclusions(coords, reason, ("", *REASONS[1:], UNREADABLE))


def _ink_share(masks: Segmentation) -> float:
    """Return the share of ink in what is stained, tissue or ink."""
    n_stained = masks.is_ink.sum() + shrunk(masks.is_tissue, masks.is_ink.shape).sum()
    return float(masks.is_ink.sum() / max(n_stained, 1))
