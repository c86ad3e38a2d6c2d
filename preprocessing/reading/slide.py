"""An open slide: its scale on both axes, and any area of it at any scale, exact in micrometres."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from common.failures import SlideError
from common.files import look_at_disk
from common.remote.remote_slide import local_file
from preprocessing.reading.handle import SlideHandle
from preprocessing.reading.handles import open_handle
from preprocessing.reading.openslide_handle import GENERIC_TIFF
from preprocessing.reading.scale import OF_FILE, check_scale, file_scale

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_REGION_PX = 4_500_000  # of a level, read at once
LEVEL_TOLERANCE = 1.02  # a level this much coarser than asked still serves


class Slide:
    """An open slide. Coordinates are pixels of level 0 (x right, y down), scales are µm a pixel of level 0."""

    def __init__(self, path: Path, handle: SlideHandle, mpp: tuple[float, float], mpp_source: str) -> None:
        self.path, self._handle = path, handle
        self.mpp_x, self.mpp_y = mpp
        self.mpp_source = mpp_source
        self.width, self.height = handle.dimensions
        self.level_dimensions, self.level_downsamples = handle.level_dimensions, handle.level_downsamples
        self.reader, self.orientation, self.remarks = handle.reader, handle.orientation, handle.remarks
        self._background = "#" + handle.properties.get("openslide.background-color", "ffffff")

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the scanned area, level-0 pixels; the whole slide where the file has none."""
        names = ("x", "y", "width", "height")
        texts = [self._handle.properties.get(f"openslide.bounds-{name}", "") for name in names]
        if not all(text.isdecimal() for text in texts):
            return 0, 0, self.width, self.height
        left, top, width, height = (int(text) for text in texts)
        return left, top, width, height

    @property
    def outline_origin(self) -> tuple[int, int]:
        """Level-0 pixel that QuPath shows as its (0, 0): of scanners' formats the corner of the scanned area.

        A generic TIFF without its first tiles has bounds for OpenSlide, and QuPath does not crop it.
        """
        return (0, 0) if self._handle.properties.get("openslide.vendor") == GENERIC_TIFF else self.bounds[:2]

    def piece_px(self, level: int) -> tuple[int, int]:
        """Width and height of what the file compresses as one piece, pixels of the level."""
        return self._handle.piece_px(level)

    def reopen(self) -> None:
        """Open the file anew: after one unreadable region OpenSlide refuses every other."""
        fresh = open_handle(self.path)  # first: where that fails, the old one is still there to be closed
        self._handle.close()
        self._handle = fresh

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    def read_area(
        self, corner_level0: tuple[float, float], size_level0: tuple[float, float], size_px: tuple[int, int]
    ) -> UInt8[np.ndarray, "h w 3"]:
        """Return an area resampled to `size_px` (width, height); what lies off the slide is background.

        Raises:
            SlideError: the area cannot be read. It is never replaced by white.
        """
        from PIL.Image import Resampling

        level = self.level_for(min(size_level0[0] / size_px[0], size_level0[1] / size_px[1]))
        downsample = self.level_downsamples[level]
        if size_level0[0] * size_level0[1] / downsample**2 > MAX_REGION_PX and max(size_px) > 1:
            return self._read_halves(corner_level0, size_level0, size_px)
        start = [math.floor(corner / downsample) * downsample for corner in corner_level0]
        origin = (round(start[0]), round(start[1]))
        offset = [(corner - at) / downsample for corner, at in zip(corner_level0, origin, strict=True)]
        offset = [max(0.0, value) for value in offset]
        right, bottom = (at + size / downsample for at, size in zip(offset, size_level0, strict=True))
        box = (offset[0], offset[1], right, bottom)
        region = self._read(origin, level, (math.ceil(right - 1e-6), math.ceil(bottom - 1e-6)))
        if any(abs(edge - whole) > 1e-6 for edge, whole in zip(box, (0, 0, *size_px), strict=True)):
            box = (box[0], box[1], min(right, region.width), min(bottom, region.height))
            region = region.resize(size_px, Resampling.BILINEAR, box=box)  # antialiased over the exact box
        return np.asarray(region)

    def _read_halves(
        self, corner_level0: tuple[float, float], size_level0: tuple[float, float], size_px: tuple[int, int]
    ) -> UInt8[np.ndarray, "h w 3"]:
        """Read an area in two parts, cut between pixels of the result: a slide of one level is shrunk in bounded memory."""
        axis = int(size_px[1] > size_px[0])  # 0: left and right, 1: top and bottom
        step = size_level0[axis] / size_px[axis]
        parts = []
        for first, last in ((0, size_px[axis] // 2), (size_px[axis] // 2, size_px[axis])):
            corner, size, px = list(corner_level0), list(size_level0), list(size_px)
            corner[axis] += first * step
            size[axis], px[axis] = (last - first) * step, last - first
            parts.append(self.read_area((corner[0], corner[1]), (size[0], size[1]), (px[0], px[1])))
        return np.concatenate(parts, axis=1 - axis)

    def level_for(self, downsample: float) -> int:
        """Return the smallest level that is still at least as fine as asked."""
        fine_enough = [
            level for level, of_level in enumerate(self.level_downsamples) if of_level <= downsample * LEVEL_TOLERANCE
        ]
        return max(fine_enough, default=0)

    def read_level(self, level: int, corner: tuple[int, int], size: tuple[int, int]) -> Image:
        """Return an area of a level, corner and size in its own pixels, as an RGB image.

        Raises:
            SlideError: the area cannot be read.
        """
        downsample = self.level_downsamples[level]
        return self._read((round(corner[0] * downsample), round(corner[1] * downsample)), level, size)

    def _region(self, origin: tuple[int, int], level: int, size: tuple[int, int]) -> Image:
        """Read a region, once more where that fails: a network disk may fail for a moment, and damage stays.

        Raises:
            SlideError: it cannot be read.
            OSError: the disk fails.
        """
        try:
            return self._handle.read_region(origin, level, size)
        except SlideError:
            self.reopen()
        try:
            return self._handle.read_region(origin, level, size)
        except SlideError:
            look_at_disk(self.path)
            raise

    def _read(self, origin: tuple[int, int], level: int, size: tuple[int, int]) -> Image:
        from PIL.Image import new

        region = self._region(origin, level, size)
        opacity = region.getchannel("A")
        if opacity.getextrema()[0] == 255:
            return region.convert("RGB")
        ground = new("RGB", region.size, self._background)  # never scanned: as the scanner's own viewer shows it
        ground.paste(region, mask=opacity)
        return ground


@contextmanager
def open_slide(path: Path, *, mpp: tuple[float, float] | None = None, mpp_source: str = "--mpp") -> Iterator[Slide]:
    """Open a slide; a given scale wins over the file's.

    Args:
        path: the file, or the folder of a DICOM series; a slide that lies elsewhere is fetched, and kept while it is open.
        mpp: µm a pixel on x and y, when the file has none or lies.
        mpp_source: where a given scale came from.

    Raises:
        SlideError: it cannot be fetched, nothing knows the file or it cannot be opened, or its scale is missing or impossible.
    """
    with local_file(path) as file:
        handle = open_handle(file)
        try:
            scale, source = (mpp, mpp_source) if mpp is not None else (file_scale(handle.properties), OF_FILE)
            check_scale(scale, source)
        except SlideError:
            handle.close()
            raise
        slide = Slide(file, handle, scale, source)
        try:
            yield slide
        finally:
            slide.close()


def read_tile(slide: Slide, x: int, y: int, *, tile_um: float, tile_px: int) -> UInt8[np.ndarray, "px px 3"]:
    """Return the square of `tile_um` whose top left corner is level-0 pixel (x, y), as `tile_px` pixels a side."""
    return slide.read_area((x, y), (tile_um / slide.mpp_x, tile_um / slide.mpp_y), (tile_px, tile_px))
