"""A slide file through OpenSlide: its scale on both axes, and any area of it at any scale, exact in micrometres."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from common.failures import SlideError

MPP_RANGE = (0.05, 10.0)  # µm a pixel; outside lies no microscope
MPP_REMEDY = "give the true value in a column mpp of cohort.csv, or for all slides with --mpp"
BLOCK_PX = 2048  # side of a read, so that memory does not grow with the slide
LEVEL_TOLERANCE = 1.02  # a level this much coarser than asked still serves


class Slide:
    """An open slide. Coordinates are pixels of level 0 (x right, y down), scales are µm a pixel of level 0."""

    def __init__(self, path: Path, handle: Any, mpp: tuple[float, float], mpp_source: str) -> None:
        self.path, self._handle = path, handle
        self.mpp_x, self.mpp_y = mpp
        self.mpp_source = mpp_source
        self.width, self.height = handle.dimensions
        self._background = "#" + handle.properties.get("openslide.background-color", "ffffff")

    def reopen(self) -> None:
        """Open the file anew: after one unreadable region OpenSlide refuses every other."""
        self._handle.close()
        self._handle = _open(self.path)

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
        from PIL import Image

        level = self._level_for(min(size_level0[0] / size_px[0], size_level0[1] / size_px[1]))
        downsample = self._handle.level_downsamples[level]
        start = [math.floor(corner / downsample) * downsample for corner in corner_level0]
        origin = (round(start[0]), round(start[1]))
        offset = [(corner - at) / downsample for corner, at in zip(corner_level0, origin, strict=True)]
        offset = [max(0.0, value) for value in offset]
        box = (*offset, *(at + size / downsample for at, size in zip(offset, size_level0, strict=True)))
        region = self._read(origin, level, (math.ceil(box[2] - 1e-6), math.ceil(box[3] - 1e-6)))
        if any(abs(edge - whole) > 1e-6 for edge, whole in zip(box, (0, 0, *size_px), strict=True)):
            box = (*box[:2], min(box[2], region.width), min(box[3], region.height))
            region = region.resize(size_px, Image.Resampling.BILINEAR, box=box)  # antialiased over the exact box
        return np.asarray(region)

    def _level_for(self, downsample: float) -> int:
        """Return the smallest level that is still at least as fine as asked."""
        fine_enough = [
            level
            for level, of_level in enumerate(self._handle.level_downsamples)
            if of_level <= downsample * LEVEL_TOLERANCE
        ]
        return max(fine_enough, default=0)

    def _read(self, origin: tuple[int, int], level: int, size: tuple[int, int]) -> Any:
        import openslide
        from PIL import Image

        try:
            region = self._handle.read_region(origin, level, size)
        except openslide.OpenSlideError as error:
            raise SlideError(
                f"the region at {origin} of level {level} cannot be read ({error})",
                "the file is damaged or truncated; copy or scan it again",
            ) from error
        if region.getextrema()[3][0] == 255:
            return region.convert("RGB")
        ground = Image.new("RGB", region.size, self._background)
        ground.paste(region, mask=region.getchannel("A"))
        return ground

    def overview(self, mpp: float) -> UInt8[np.ndarray, "h w 3"]:
        """Return the whole slide at about `mpp` on both axes, read in blocks of bounded size."""
        width, height = (
            max(1, round(side)) for side in (self.width * self.mpp_x / mpp, self.height * self.mpp_y / mpp)
        )
        step_x, step_y = self.width / width, self.height / height
        level = self._level_for(min(step_x, step_y))
        block = max(1, int(BLOCK_PX * self._handle.level_downsamples[level] / max(step_x, step_y)))
        image = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, block):
            for left in range(0, width, block):
                size_px = (min(block, width - left), min(block, height - top))
                image[top : top + size_px[1], left : left + size_px[0]] = self.read_area(
                    (left * step_x, top * step_y), (size_px[0] * step_x, size_px[1] * step_y), size_px
                )
        return image


@contextmanager
def open_slide(path: Path, *, mpp: tuple[float, float] | None = None, mpp_source: str = "--mpp") -> Iterator[Slide]:
    """Open a slide; a given scale wins over the file's.

    Args:
        path: the file, or the folder of a DICOM series.
        mpp: µm a pixel on x and y, when the file has none or lies.
        mpp_source: where a given scale came from.

    Raises:
        SlideError: OpenSlide does not know or cannot open the file, or its scale is missing or impossible.
    """
    handle = _open(path)
    try:
        scale, source = (mpp, mpp_source) if mpp is not None else (_mpp_of(handle), "file")
        for axis, value in zip("xy", scale, strict=True):
            if not (math.isfinite(value) and MPP_RANGE[0] <= value <= MPP_RANGE[1]):
                raise SlideError(
                    f"mpp on {axis} is {value:g} ({source}), outside {MPP_RANGE[0]} to {MPP_RANGE[1]}", MPP_REMEDY
                )
    except SlideError:
        handle.close()
        raise
    slide = Slide(path, handle, scale, source)
    try:
        yield slide
    finally:
        slide.close()


def _open(path: Path) -> Any:
    import openslide

    if path.is_dir():  # a DICOM series: any of its files opens all
        path = max(sorted(path.glob("*.dcm")), key=lambda file: file.stat().st_size)
    try:
        return openslide.OpenSlide(path)
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise SlideError(
            f"{path.name} is no slide that OpenSlide {openslide.__library_version__} knows",
            "check that the file is whole; convert other formats to pyramidal TIFF or DICOM",
        ) from error
    except (openslide.OpenSlideError, OSError) as error:
        raise SlideError(
            f"{path.name} cannot be opened ({error})", "the file is damaged or truncated; copy it again"
        ) from error


def _mpp_of(handle: Any) -> tuple[float, float]:
    names = ("openslide.mpp-x", "openslide.mpp-y")
    values = [handle.properties.get(name) for name in names]
    if None in values:
        raise SlideError("the file does not say how many µm a pixel is (mpp)", MPP_REMEDY)
    return float(values[0]), float(values[1])


def read_tile(slide: Slide, x: int, y: int, *, tile_um: float, tile_px: int) -> UInt8[np.ndarray, "px px 3"]:
    """Return the square of `tile_um` whose top left corner is level-0 pixel (x, y), as `tile_px` pixels a side."""
    return slide.read_area((x, y), (tile_um / slide.mpp_x, tile_um / slide.mpp_y), (tile_px, tile_px))
