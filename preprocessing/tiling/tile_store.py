"""The tile file: where a slide's tiles are, how much tissue each holds, the slide's scale and its stain fit. No pixels."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8

from common.arrays import read_arrays, write_arrays
from preprocessing.colour.stain import StainFit
from preprocessing.colour.stain_store import fit_arrays, fit_attributes, fit_of

SCHEMA = "tiles/2"
QUALITY_PREFIX = "quality_"  # of the arrays that hold quality columns


@dataclass(frozen=True)
class Exclusions:
    """Tiles with enough tissue that were left out all the same, each with the number of its reason."""

    coords: Int64[np.ndarray, "m 2"]
    reason: UInt8[np.ndarray, " m"]
    names: tuple[str, ...]  # of the reasons; number 0 is "" and never occurs

    def counts(self) -> dict[str, int]:
        """Return how many tiles each reason took."""
        found = np.bincount(self.reason, minlength=len(self.names))
        return {name: int(count) for name, count in zip(self.names[1:], found[1:], strict=True)}


NO_EXCLUSIONS = Exclusions(np.empty((0, 2), np.int64), np.empty(0, np.uint8), ("",))


@dataclass(frozen=True, kw_only=True)
class TileSheet:
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
    tissue_source: str  # "segmented", "edited outline" or "mask image"
    tissue_fingerprint: str  # of an edited outline or mask image
    stain: StainFit
    slide_fingerprint: str
    settings: str  # canonical JSON of what decides the content
    content_sha256: str = ""  # of the file, set by reading


def write_tile_sheet(path: Path, sheet: TileSheet) -> None:
    """Write a tile file; `coords` carries the attributes TRIDENT's readers expect."""
    arrays = {
        "coords": sheet.coords,
        "tissue_fraction": sheet.tissue_fraction,
        "piece": sheet.piece,
        **{f"{QUALITY_PREFIX}{name}": values for name, values in sorted(sheet.quality.items())},
        "excluded_coords": sheet.exclusions.coords,
        "excluded_reason": sheet.exclusions.reason,
        **fit_arrays(sheet.stain),
    }
    attributes: dict[str, str | int | float | bool] = {
        "schema": SCHEMA,
        "slide_id": sheet.slide_id,
        "slide_fingerprint": sheet.slide_fingerprint,
        "mpp_x": sheet.mpp_x,
        "mpp_y": sheet.mpp_y,
        "mpp_source": sheet.mpp_source,
        "tile_um": sheet.tile_um,
        "tile_px": sheet.tile_px,
        "stride_um": sheet.stride_um,
        "slide_width": sheet.slide_width,
        "slide_height": sheet.slide_height,
        "tissue_mm2": sheet.tissue_mm2,
        "tissue_source": sheet.tissue_source,
        "tissue_fingerprint": sheet.tissue_fingerprint,
        "n_pieces": sheet.n_pieces,
        "exclusion_reasons": json.dumps(sheet.exclusions.names),
        "flags": json.dumps(sheet.flags),
        **fit_attributes(sheet.stain),
        "settings": sheet.settings,
    }
    write_arrays(path, arrays, attributes, array_attributes={"coords": trident_attributes(sheet)})


def trident_attributes(sheet: TileSheet) -> dict[str, str | int | float]:
    """Return what TRIDENT keeps beside coordinates; its magnification is 10 / mpp."""
    return {
        "patch_size": sheet.tile_px,
        "patch_size_level0": round(sheet.tile_um / sheet.mpp_x),
        "level0_magnification": round(10 / sheet.mpp_x, 3),
        "target_magnification": round(10 * sheet.tile_px / sheet.tile_um, 3),
        "overlap": round((sheet.tile_um - sheet.stride_um) * sheet.tile_px / sheet.tile_um),
        "name": sheet.slide_id,
        "savetodir": "",
        "level0_width": sheet.slide_width,
        "level0_height": sheet.slide_height,
    }


def read_tile_sheet(path: Path) -> TileSheet:
    """Read a tile file.

    Raises:
        ValueError: the file is truncated, damaged or of another kind.
    """
    file = read_arrays(path)
    found = file.attributes
    if found.get("schema") != SCHEMA:
        raise ValueError(f"{path}: format {found.get('schema')}, not {SCHEMA}; rerun preprocessing/tile_slides.py")
    names = (
        "slide_id", "mpp_x", "mpp_y", "mpp_source", "tile_um", "tile_px", "stride_um", "slide_width", "slide_height",
        "tissue_mm2", "tissue_source", "tissue_fingerprint", "n_pieces", "slide_fingerprint", "settings",
    )  # fmt: skip
    sheet = TileSheet(
        coords=file.arrays["coords"],
        tissue_fraction=file.arrays["tissue_fraction"],
        piece=file.arrays["piece"],
        quality={
            name.removeprefix(QUALITY_PREFIX): values
            for name, values in file.arrays.items()
            if name.startswith(QUALITY_PREFIX)
        },
        exclusions=Exclusions(
            file.arrays["excluded_coords"],
            file.arrays["excluded_reason"],
            tuple(json.loads(found["exclusion_reasons"])),
        ),
        flags=tuple(json.loads(found["flags"])),
        stain=fit_of(file.arrays, found),
        **{name: found[name] for name in names},
    )
    return replace(sheet, content_sha256=found["content_sha256"])
