"""A handle seen upright, where the file says that its image lies on its side or is mirrored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from preprocessing.reading.handle import SlideHandle
from preprocessing.reading.scale import MPP_PROPERTIES

if TYPE_CHECKING:
    from PIL.Image import Image


def upright(stored: SlideHandle, orientation: int) -> SlideHandle:
    """Return a handle whose image is turned as a TIFF orientation (1 to 8) asks; others count as 1, as readers do."""
    return Upright(stored, orientation) if 2 <= orientation <= 8 else stored


class Upright:
    """Another handle, turned: coordinates are those of the turned image, pixels come from the stored one."""

    def __init__(self, stored: SlideHandle, orientation: int) -> None:
        self._stored, self.orientation = stored, orientation
        self._is_on_side = orientation >= 5
        self.reader, self.remarks = stored.reader, stored.remarks
        self.dimensions = self._turned_size(stored.dimensions)
        self.level_dimensions = tuple(self._turned_size(size) for size in stored.level_dimensions)
        self.level_downsamples = stored.level_downsamples
        self.properties = self._turned_properties(stored.properties)

    def piece_px(self, level: int) -> tuple[int, int]:
        """Return width and height of the stored image's pieces, as they lie here."""
        return self._turned_size(self._stored.piece_px(level))

    def read_region(self, origin: tuple[int, int], level: int, size: tuple[int, int]) -> Image:
        """Return an RGBA image of the area; what lies off the image is transparent."""
        from PIL.Image import Transpose

        downsample = self.level_downsamples[level]
        extent = (math.floor(size[0] * downsample + 0.5), math.floor(size[1] * downsample + 0.5))
        x, y = origin
        right, below = self.dimensions[0] - x - extent[0], self.dimensions[1] - y - extent[1]
        corner, turn = {
            2: ((right, y), Transpose.FLIP_LEFT_RIGHT),
            3: ((right, below), Transpose.ROTATE_180),
            4: ((x, below), Transpose.FLIP_TOP_BOTTOM),
            5: ((y, x), Transpose.TRANSPOSE),
            6: ((y, right), Transpose.ROTATE_270),
            7: ((below, right), Transpose.TRANSVERSE),
            8: ((below, x), Transpose.ROTATE_90),
        }[self.orientation]
        return self._stored.read_region(corner, level, self._turned_size(size)).transpose(turn)

    def close(self) -> None:
        """Close the file."""
        self._stored.close()

    def _turned_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return (size[1], size[0]) if self._is_on_side else (size[0], size[1])

    def _turned_properties(self, properties: Mapping[str, str]) -> dict[str, str]:
        turned = dict(properties)
        if self._is_on_side and all(name in turned for name in MPP_PROPERTIES):
            x, y = MPP_PROPERTIES
            turned[x], turned[y] = turned[y], turned[x]
        return turned
