"""The tile file: where a slide's tiles are, how much tissue each holds, the slide's scale and its stain fit. No pixels."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from common.artifacts import read_arrays, write_arrays
from preprocessing.stain import StainFit
from preprocessing.stain_store import fit_arrays, fit_attributes, fit_of

SCHEMA = "tiles/1"


@dataclass(frozen=True, kw_only=True)
class TileSheet:
    """The tiles of one slide. Coordinates are top left corners in level-0 pixels, row by row."""

    slide_id: str
    coords: Int64[np.ndarray, "n 2"]
    tissue_fraction: Float32[np.ndarray, " n"]
    mpp_x: float
    mpp_y: float
    mpp_source: str
    tile_um: float
    tile_px: int
    slide_width: int
    slide_height: int
    tissue_mm2: float
    stain: StainFit
    slide_fingerprint: str
    settings: str  # canonical JSON of what decides the content
    content_sha256: str = ""  # of the file, set by reading


def write_tile_sheet(path: Path, sheet: TileSheet) -> None:
    """Write a tile file; `coords` carries the attributes TRIDENT's readers expect."""
    arrays = {
        "coords": sheet.coords,
        "tissue_fraction": sheet.tissue_fraction,
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
        "slide_width": sheet.slide_width,
        "slide_height": sheet.slide_height,
        "tissue_mm2": sheet.tissue_mm2,
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
        "overlap": 0,
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
        "slide_id", "mpp_x", "mpp_y", "mpp_source", "tile_um", "tile_px", "slide_width", "slide_height", "tissue_mm2",
        "slide_fingerprint", "settings",
    )  # fmt: skip
    sheet = TileSheet(
        coords=file.arrays["coords"],
        tissue_fraction=file.arrays["tissue_fraction"],
        stain=fit_of(file.arrays, found),
        **{name: found[name] for name in names},
    )
    return replace(sheet, content_sha256=found["content_sha256"])
