"""A slide file in OpenSlide's shape: OpenSlide itself, a flat image or DICOM; turned upright as its TIFF tag says.

Every handle has dimensions, level_dimensions, level_downsamples, properties, read_region and close.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.failures import SlideError
from common.slide_files import DICOM_ENDING
from preprocessing.reading.flat_dicom import FlatDicom, largest_instance
from preprocessing.reading.flat_picture import PICTURE_ENDINGS, RECOPY_REMEDY, FlatPicture
from preprocessing.reading.flat_tiff import TIFF_ENDINGS, FlatTiff
from preprocessing.reading.scale import MPP_PROPERTIES

UNKNOWN_REMEDY = "check that the file is whole; convert other formats to pyramidal TIFF or DICOM"


def open_handle(path: Path) -> Any:
    """Open a slide file, or the folder of a DICOM series (any of its files opens all; the largest is taken).

    Raises:
        SlideError: nothing here knows the file, or it is damaged.
    """
    files = [path]
    if path.is_dir():
        files = sorted(
            file for file in path.iterdir() if file.suffix.lower() == DICOM_ENDING and not file.name.startswith(".")
        )
        if not files:
            raise SlideError(f"{path.name} is a folder without {DICOM_ENDING} files", UNKNOWN_REMEDY)
        path = max(files, key=lambda file: file.stat().st_size)
    if path.suffix.lower() in PICTURE_ENDINGS:
        return FlatPicture(path)
    try:
        handle = _openslide(path)
    except SlideError as refused:
        if path.suffix.lower() not in TIFF_ENDINGS | {DICOM_ENDING}:
            raise
        try:
            if path.suffix.lower() == DICOM_ENDING:
                return FlatDicom(largest_instance(files))
            flat = FlatTiff(path)
        except SlideError as error:
            raise SlideError(f"{refused.reason}; {error.reason}", error.remedy) from error
        return upright(flat, flat.orientation)
    if handle.properties.get("openslide.vendor") == "generic-tiff" and _tiff_orientation(path) != 1:
        handle.close()  # its decoder turns every tile in its place; scanners' own formats are always upright
        flat = FlatTiff(path)
        return upright(flat, flat.orientation)
    return handle


def reader_of(handle: Any) -> str:
    """Name what reads a handle: openslide with the format it found, pydicom, tifffile, or Pillow."""
    inner = getattr(handle, "stored", handle)
    if isinstance(inner, FlatDicom):
        return "pydicom"
    if isinstance(inner, FlatTiff):
        return "tifffile"
    if isinstance(inner, FlatPicture):
        return "Pillow"
    return f"openslide {inner.properties.get('openslide.vendor', '')}".strip()


def _openslide(path: Path) -> Any:
    import openslide

    try:
        return openslide.OpenSlide(path)
    except openslide.OpenSlideUnsupportedFormatError as error:
        reason = f"{path.name} is no slide that OpenSlide {openslide.__library_version__} knows"
        raise SlideError(reason, UNKNOWN_REMEDY) from error
    except (openslide.OpenSlideError, OSError) as error:
        raise SlideError(f"{path.name} cannot be opened ({error})", RECOPY_REMEDY) from error


def _tiff_orientation(path: Path) -> int:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            return int(file.pages.first.tags.valueof("Orientation", 1))
    except (tifffile.TiffFileError, ValueError, OSError):
        return 1  # OpenSlide opened it; what only tifffile stumbles over is no reason to refuse it


def upright(handle: Any, orientation: int) -> Any:
    """Return a handle whose image is turned as a TIFF orientation (1 to 8) asks; others count as 1, as readers do."""
    return Upright(handle, orientation) if 2 <= orientation <= 8 else handle


class Upright:
    """A handle seen upright: coordinates are those of the turned image, pixels come from the `stored` one."""

    def __init__(self, stored: Any, orientation: int) -> None:
        self.stored, self.orientation = stored, orientation
        self._is_on_side = orientation >= 5
        self.dimensions = self._turned_size(stored.dimensions)
        self.level_dimensions = tuple(self._turned_size(size) for size in stored.level_dimensions)
        self.level_downsamples = stored.level_downsamples
        self.properties = self._turned_properties(stored.properties)
        if hasattr(stored, "segment_px"):
            self.segment_px = self._turned_size(stored.segment_px)

    def read_region(self, origin: tuple[int, int], level: int, size: tuple[int, int]) -> Any:
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
        return self.stored.read_region(corner, level, self._turned_size(size)).transpose(turn)

    def close(self) -> None:
        """Close the file."""
        self.stored.close()

    def _turned_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return (size[1], size[0]) if self._is_on_side else (size[0], size[1])

    def _turned_properties(self, properties: Mapping[str, str]) -> dict[str, str]:
        turned = dict(properties)
        if self._is_on_side and all(name in turned for name in MPP_PROPERTIES):
            x, y = MPP_PROPERTIES
            turned[x], turned[y] = turned[y], turned[x]
        return turned
