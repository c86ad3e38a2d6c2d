"""The tiles of one slide as a value: where they are, what was measured on them, and what they were made of. No pixels."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8

from common.failures import SlideStatus
from preprocessing.colour.stain import StainFit

STEP = "tile_slides"


@dataclass(frozen=True)
class Exclusions:
    """Tiles with enough tissue that were left out all the same, each with the number of its reason."""

    coords: Int64[np.ndarray, "m 2"]
    reason: UInt8[np.ndarray, " m"]
    names: tuple[str, ...]  # of the reasons; number 0 is "" and never occurs

    def counts(self) -> dict[str, int]:
        """Return how many tiles each reason took."""
        counts = np.bincount(self.reason, minlength=len(self.names))
        return {name: int(count) for name, count in zip(self.names[1:], counts[1:], strict=True)}


NO_EXCLUSIONS = Exclusions(np.empty((0, 2), np.int64), np.empty(0, np.uint8), ("",))


@dataclass(frozen=True, kw_only=True)
class SlideTiles:
    """The tiles of one slide. Coordinates are top left corners in level-0 pixels, row by row."""

    slide_id: str
    coords: Int64[np.ndarray, "n 2"]
    tissue_fraction: Float32[np.ndarray, " n"]
    piece: Int32[np.ndarray, " n"]  # the tissue piece most of the tile lies on, as numbered in the outline
    n_pieces: int
    quality: Mapping[str, Float32[np.ndarray, " n"]] = field(default_factory=dict)
    exclusions: Exclusions = NO_EXCLUSIONS
    flags: tuple[str, ...] = ()  # of the slide
    mpp_x: float
    mpp_y: float
    mpp_source: str
    tile_um: float
    tile_px: int
    stride_um: float
    slide_width: int
    slide_height: int
    tissue_mm2: float
    tissue_source: str  # "segmented", "edited outline" or "mask image", with its threshold
    tissue_fingerprint: str  # of an edited outline or mask image
    stain: StainFit
    slide_fingerprint: str
    settings: str  # canonical JSON of what decides the content
    content_sha256: str = ""  # of the file, set by reading

    @property
    def slide_px(self) -> tuple[int, int]:
        """Width and height of level 0."""
        return self.slide_width, self.slide_height

    @property
    def side_level0(self) -> tuple[float, float]:
        """Width and height of a tile, level-0 pixels."""
        return self.tile_um / self.mpp_x, self.tile_um / self.mpp_y


def trident_attributes(tiles: SlideTiles) -> dict[str, str | int | float]:
    """Return what TRIDENT keeps beside coordinates; its magnification is 10 / mpp."""
    return {
        "patch_size": tiles.tile_px,
        "patch_size_level0": round(tiles.tile_um / tiles.mpp_x),
        "level0_magnification": round(10 / tiles.mpp_x, 3),
        "target_magnification": round(10 * tiles.tile_px / tiles.tile_um, 3),
        "overlap": round((tiles.tile_um - tiles.stride_um) * tiles.tile_px / tiles.tile_um),
        "name": tiles.slide_id,
        "savetodir": "",
        "level0_width": tiles.slide_width,
        "level0_height": tiles.slide_height,
    }


def done_status(tiles: SlideTiles, *, classes: tuple[str, ...] = ()) -> SlideStatus:
    """Return the status of a tiled slide, with the figures of the status table.

    Args:
        tiles: what was made or kept.
        classes: of a person's annotations, those that were taken for tissue.
    """
    excluded = {f"n_excluded_{name}": count for name, count in tiles.exclusions.counts().items()}
    figures: dict[str, object] = {
        "mpp_x": tiles.mpp_x, "mpp_y": tiles.mpp_y, "mpp_source": tiles.mpp_source,
        "tissue_mm2": round(tiles.tissue_mm2, 3), "tissue_source": tiles.tissue_source, "n_pieces": tiles.n_pieces,
        "n_tiles": len(tiles.coords), **excluded, "sharpness": _median(tiles.quality.get("sharpness")),
        "flags": "; ".join(tiles.flags),
        "stain": tiles.stain.method, "stain_strength": tiles.stain.strength, "stain_fallback": tiles.stain.fallback,
    }  # fmt: skip
    if classes:
        figures["tissue_classes"] = "; ".join(classes)
    return SlideStatus(slide_id=tiles.slide_id, step=STEP, state="done", figures=figures)


def _median(values: Float32[np.ndarray, " n"] | None) -> object:
    """Return the median as text for a table; nothing where nothing was measured."""
    return "" if values is None or np.isnan(values).all() else round(float(np.nanmedian(values)), 2)
