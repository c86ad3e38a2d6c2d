"""Where tiles lie: on level 0, on the slide as viewers show it, and on a map whose pixels are equal squares of the glass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Num

MOST_PARTS = 16  # pixels of the map along a tile's side
USUAL_PARTS = 8  # where stride and side have no small common measure
LEAST_PARTS = 4
MOST_PIXELS = 16_000_000  # of a map of fewer parts a tile, rather than one without bounds


@dataclass(frozen=True, kw_only=True)
class TilePlaces:
    """The tiles of a slide. Corners are top left, in level-0 pixels; sides and steps are the same on both axes in µm alone.

    `origin` is the level-0 pixel that QuPath shows as its (0, 0), `shown` the width and height it shows: those of the scanned
    area where the file has bounds.
    """

    corners: Int64[np.ndarray, "n 2"]
    mpp: tuple[float, float]  # µm a level-0 pixel, x and y
    tile_um: float
    stride_um: float
    origin: tuple[int, int]
    shown: tuple[int, int]

    @property
    def side(self) -> tuple[float, float]:
        """Width and height of a tile, level-0 pixels."""
        return self.tile_um / self.mpp[0], self.tile_um / self.mpp[1]

    @property
    def on_shown(self) -> Int64[np.ndarray, "n 2"]:
        """The corners as viewers count them."""
        return self.corners - np.array(self.origin, np.int64)


@dataclass(frozen=True, kw_only=True)
class MapGrid:
    """The pixels of a map of the shown area: squares of `pixel_um`; a tile is `parts` x `parts` of them, from its corner on."""

    pixel_um: float
    parts: int
    size: tuple[int, int]  # width and height, pixels
    corners: Int64[np.ndarray, "n 2"]  # of the tiles, pixels; x and y

    def painted(self, values: Num[np.ndarray, "n c"]) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean of the values of the tiles over each pixel, and how many there are: (c, h, w) float32 and (h, w).

        Where no tile lies the value is 0.
        """
        width, height = self.size
        sums = np.zeros((values.shape[1], height, width), np.float32)
        counts = np.zeros((height, width), np.uint16)
        for (x, y), own in zip(self.corners.tolist(), np.asarray(values, np.float32), strict=True):
            box = slice(max(y, 0), y + self.parts), slice(max(x, 0), x + self.parts)
            sums[:, *box] += own[:, None, None]
            counts[box] += 1
        return sums / np.maximum(counts, 1), counts


def map_grid(places: TilePlaces) -> MapGrid:
    """Return the map on which tiles are whole pixels.

    Steps of the grid are whole pixels too where side and stride have a small common measure (256 and 192 µm: 64 µm). Level-0
    corners were rounded to pixels of the slide, so a tile lies at the nearest pixel of the map.
    """
    parts = _parts(places.tile_um, places.stride_um)
    shown_um = [n * mpp for n, mpp in zip(places.shown, places.mpp, strict=True)]
    while parts > 1 and np.prod([side * parts / places.tile_um for side in shown_um]) > MOST_PIXELS:
        parts = parts // 2
    pixel_um = places.tile_um / parts
    size = tuple(max(1, int(np.ceil(side / pixel_um - 1e-6))) for side in shown_um)
    um: Float64[np.ndarray, "n 2"] = places.on_shown * np.array(places.mpp)
    corners = np.round(um / pixel_um).astype(np.int64)
    reach = (corners.max(axis=0, initial=0) + parts).tolist()
    return MapGrid(
        pixel_um=pixel_um, parts=parts, corners=corners, size=(max(size[0], reach[0]), max(size[1], reach[1]))
    )


def _parts(tile_um: float, stride_um: float) -> int:
    for parts in range(1, MOST_PARTS + 1):
        step = stride_um * parts / tile_um
        if abs(step - round(step)) < 1e-6 and round(step) >= 1:
            return parts * max(1, LEAST_PARTS // parts)
    return USUAL_PARTS
