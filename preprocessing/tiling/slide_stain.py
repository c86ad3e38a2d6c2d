"""A slide's stain fit, made on patches read from tiles spread over its tissue, and the strip that shows what it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from common.failures import SlideError
from preprocessing.colour.colour_strip import colour_strip
from preprocessing.colour.stain import REFERENCE, StainFit, fit_stain, stain_map
from preprocessing.reading.slide import Slide, read_tile
from preprocessing.tiling.grid import shares_of_tiles
from preprocessing.tiling.tile_choice import ChosenTiles
from preprocessing.tiling.tiling_settings import TilingConfig
from preprocessing.tissue.segmentation import Segmentation

N_PATCHES = 32
PATCH_PX, PATCH_UM = 256, 128.0
MAX_PEN_OF_PATCH = (
    0.002  # of its tile: a stroke over tissue is missed by the overview and has the colour of a haematoxylin
)


@dataclass(frozen=True)
class SlideStain:
    """The fit, and patches before and after its map to the built-in reference; no strip where nothing could be read."""

    fit: StainFit
    strip: UInt8[np.ndarray, "h w 3"] | None

    @property
    def flags(self) -> tuple[str, ...]:
        """What a person should look at: colours that were kept, or turned to the reference in part."""
        if self.fit.method == "reference":
            return ("colours kept",)
        return () if self.fit.strength == 1.0 else (f"colours turned {self.fit.strength:.0%}",)


def fit_slide_stain(slide: Slide, tiles: ChosenTiles, masks: Segmentation, config: TilingConfig) -> SlideStain:
    """Read patches and fit the slide's stains on them."""
    patches = [] if config.stain == "none" else slide_patches(slide, tiles, masks, config)
    fit = fit_stain(patches, method=config.stain, glass=masks.glass)
    if not patches:
        return SlideStain(fit, None)
    return SlideStain(fit, colour_strip(patches, None if fit.method == "none" else stain_map(fit, REFERENCE)))


def slide_patches(
    slide: Slide, tiles: ChosenTiles, masks: Segmentation, config: TilingConfig
) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """Return patches of a slide's tissue, N_PATCHES at most, for what is fitted on its colours; without unreadable ones."""
    corners = _patch_corners(slide, tiles, masks.is_ink, config.tile_um)
    return list(_readable_patches(slide, corners, min(config.tile_um, PATCH_UM)))


def _patch_corners(
    slide: Slide, tiles: ChosenTiles, is_ink: Bool[np.ndarray, "h w"], tile_um: float
) -> list[tuple[int, int]]:
    """Choose tiles spread evenly over the tissue: in each stretch the fullest one, and none where the pen went."""
    if not len(tiles.coords):
        return []
    fitness = tiles.tissue_fraction.copy()
    has_pen = tiles.columns.get("pen", np.zeros(len(fitness))) > MAX_PEN_OF_PATCH
    if not has_pen.all():
        fitness[has_pen] = 0
    if is_ink.any():
        side = (tile_um / slide.mpp_x, tile_um / slide.mpp_y)
        has_ink = shares_of_tiles(is_ink, tiles.coords, side=side, slide_px=(slide.width, slide.height)) > 0
        fitness[has_ink] = 0
    stretches = np.array_split(np.arange(len(tiles.coords)), min(N_PATCHES, len(tiles.coords)))
    chosen = [int(stretch[fitness[stretch].argmax()]) for stretch in stretches]
    return [(int(tiles.coords[index, 0]), int(tiles.coords[index, 1])) for index in chosen if fitness[index] > 0]


def _readable_patches(
    slide: Slide, corners: list[tuple[int, int]], patch_um: float
) -> Iterator[UInt8[np.ndarray, "_ _ 3"]]:
    """Yield patches, mostly at 0.5 µm a pixel; one that cannot be read is passed over."""
    for x, y in corners:
        try:
            yield read_tile(slide, x, y, tile_um=patch_um, tile_px=PATCH_PX)
        except SlideError:
            slide.reopen()
