"""The embeddings of one slide in any tool's layout, and how each tool writes the place of a tile.

What a file does not say is "unknown" or None here, never a guess. Planes of coordinates are named by `coords_unit`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int, Int64, Num

from features.store.provenance import MUST_AGREE, UNKNOWN, Provenance, Stated

LEVEL0, MICROMETRES, CENTRES = "level-0 px", "um", "level-0 px of tile centres"
OWN, CLAM, TRIDENT, STAMP, SLIDEFLOW, TILE_NAMES = "sarcoma-mil", "clam", "trident", "stamp", "slideflow", "tile-names"
SLIDE_VECTORS = "slide vectors"  # one embedding a slide (TITAN, PRISM, CHIEF, GigaPath ...), whoever wrote it
NO_COORDS = np.empty((0, 2), np.int64)
MAX_SIZE = 1e9  # of a tile, pixels or micrometres
DAMAGED = "it is truncated or damaged; copy it again, or make it again with the tool that wrote it"


@dataclass(frozen=True, kw_only=True)
class ExchangeBag:
    """The tiles of one slide as a file of any layout tells them. Row i of `features` is the tile at row i of `coords`.

    `coords` are top left corners in level-0 pixels when `coords_unit` says so; else the file's own numbers, or none at
    all. `footprint_level0` is the side of a tile in level-0 pixels, `tile_um` in micrometres, `tile_px` as the encoder
    saw it. A header has the same facts without rows: `n_tiles` counts what the file holds.
    """

    slide_id: str
    layout: str
    features: Float[np.ndarray, "n dim"]
    coords: Num[np.ndarray, "n_or_0 2"]
    coords_unit: str
    n_tiles: int
    attributes: Mapping[str, Stated]  # under the names of our feature files; "unknown" where the layout is silent
    footprint_level0: int | None = None
    mpp: tuple[float, float] | None = None
    tile_um: float | None = None
    tile_px: int | None = None
    coords_attributes: Mapping[str, Any] = field(default_factory=dict)
    unreadable: Int64[np.ndarray, " m"] = field(default_factory=lambda: np.empty(0, np.int64))
    image_index: Int64[np.ndarray, " n_or_none"] = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def provenance(self) -> Provenance:
        """What is said of the making of these features and is alike for all slides of a run."""
        return Provenance.of_file(self.attributes, layout=self.layout, n_features=int(self.features.shape[1]))


@dataclass(frozen=True, kw_only=True)
class Source:
    """A feature file to be read, and what is known of its slide beforehand."""

    path: Path
    slide_id: str
    mpp: tuple[float, float] | None = None  # µm a level-0 pixel on x and y
    is_header: bool = False  # read the facts and no rows


def corners_of_um(coords_um: Float[np.ndarray, "n 2"], mpp: float) -> Int64[np.ndarray, "n 2"]:
    """Return level-0 corners of STAMP's micrometres. STAMP scales both axes by the slide's mpp on x."""
    return np.round(coords_um.astype(np.float64) / mpp).astype(np.int64)


def um_of_corners(corners: Int[np.ndarray, "n 2"], mpp: float) -> Float32[np.ndarray, "n 2"]:
    """Return STAMP's micrometres of level-0 corners: exact after rounding, float32 errs by x * 6e-8 pixels.

    Raises:
        ValueError: the slide is so large that float32 would move a corner.
    """
    coords_um = (corners.astype(np.float64) * mpp).astype(np.float32)
    if not np.array_equal(corners_of_um(coords_um, mpp), corners):
        raise ValueError("corners this far out do not survive STAMP's float32 micrometres")
    return coords_um


def stamp_footprint(tile_um: float, mpp: float) -> int:
    """Return the level-0 pixels STAMP reads for a tile: it rounds up, so a tile covers ceil(tile_um / mpp) * mpp µm."""
    return math.ceil(tile_um / mpp)


def slideflow_footprint(tile_um: float, mpp: float) -> int:
    """Return the level-0 pixels slideflow reads for a tile: it cuts off."""
    return int(tile_um / mpp)


def centres_of_corners(corners: Int[np.ndarray, "n 2"], footprint: int) -> Int64[np.ndarray, "n 2"]:
    """Return slideflow's tile centres, int(corner + footprint / 2)."""
    return (corners + footprint // 2).astype(np.int64)


def corners_of_centres(centres: Int[np.ndarray, "n 2"], footprint: int) -> Int64[np.ndarray, "n 2"]:
    """Return the corners whose centres slideflow wrote: exact, since corners are whole pixels."""
    return (centres - footprint // 2).astype(np.int64)


def coordinate_stride(coords: Num[np.ndarray, "n 2"]) -> float | None:
    """Return the least step between two different coordinates of one axis, as STAMP's reader measures it."""
    steps = [np.diff(np.unique(coords[:, axis])) for axis in (0, 1)]
    return None if not len(coords) or any(len(own) == 0 for own in steps) else float(min(own.min() for own in steps))


def embedding_rows(path: Path, array: Any, *, is_header: bool) -> tuple[np.ndarray, int]:
    """Return the embeddings (none of them for a header) and their number; a leading axis of one bag is dropped, one vector is a
    bag of one.
    """
    shape = array.shape
    if len(shape) == 3 and shape[0] == 1:
        array, shape = array[0, :0] if is_header else array[0], shape[1:]
    if shape == (0,):
        return np.empty((0, 0), np.float32), 0
    if len(shape) == 1:  # one vector of the whole slide
        array, shape = (array[:0].reshape(0, *shape) if is_header else array[:][None]), (1, *shape)
    if len(shape) != 2:
        raise ValueError(f"{path}: it holds an array of shape {shape}; wanted the embeddings of tiles (tiles, width)")
    rows = np.asarray(array[:0] if is_header else array[:])
    if rows.dtype.kind != "f":
        raise ValueError(f"{path}: embeddings of type {rows.dtype}; wanted floating-point numbers")
    return rows if rows.dtype in (np.float16, np.float32) else rows.astype(np.float32), shape[0]


def stated_size(path: Path, name: str, value: Any) -> float:
    """Return a size that a file states, a number above 0; one in a list or a text counts too.

    Raises:
        ValueError: it is none; the file and the attribute are named.
    """
    values = value if isinstance(value, str) else np.asarray(value).ravel().tolist()
    try:
        (number,) = [float(text) for text in ([values] if isinstance(values, str) else values)]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if np.asarray(value).dtype.kind == "b" or not 0 < number <= MAX_SIZE:
        raise ValueError(f"{path}: {name} is {str(value)[:60]!r}; wanted a number above 0")
    return number


def foreign_attributes(**known: Stated) -> dict[str, Stated]:
    """Return the attributes of a foreign file: what is not known is "unknown"."""
    return dict.fromkeys(("licence", *MUST_AGREE), UNKNOWN) | known
