"""The contract of an open slide file, whoever reads it: what `Slide` asks of OpenSlide, flat images and DICOM alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from PIL.Image import Image


@runtime_checkable
class SlideHandle(Protocol):
    """An open slide file, seen upright. Level 0 is the finest; sizes and corners are x (width) before y (height)."""

    @property
    def reader(self) -> str:
        """What reads the file, in words: openslide with the format it found, pydicom, tifffile, or Pillow."""

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height of level 0."""

    @property
    def level_dimensions(self) -> tuple[tuple[int, int], ...]:
        """Width and height of every level."""

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """By how much every level is smaller than level 0."""

    @property
    def properties(self) -> Mapping[str, str]:
        """What the file says of itself, under OpenSlide's names."""

    @property
    def orientation(self) -> int:
        """How the stored image was turned to stand upright, as a TIFF orientation (2 to 8); 1: shown as stored."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is odd about the file and how it is read all the same, a line each."""

    def piece_px(self, level: int) -> tuple[int, int]:
        """Return width and height of the smallest readable piece of a level: what the file compresses as one."""

    def read_region(self, origin: tuple[int, int], level: int, size: tuple[int, int]) -> Image:
        """Return an RGBA image of an area; what lies off the slide or was never scanned is transparent.

        Args:
            origin: top left corner, level-0 pixels.
            level: the level to read.
            size: width and height, pixels of that level.

        Raises:
            SlideError: the area cannot be read. No other error comes out of a handle.
        """

    def close(self) -> None:
        """Close the file."""
