"""A slide that OpenSlide reads, as a handle, and one whose smaller levels another handle reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.failures import SlideError
from common.files import look_at_disk, pass_disk_fault
from preprocessing.reading.flat_picture import RECOPY_REMEDY
from preprocessing.reading.handle import SlideHandle
from preprocessing.reading.levels import dicom_scales, sound_levels, tiff_scales
from preprocessing.reading.scale import with_ome_scale

if TYPE_CHECKING:
    from PIL.Image import Image

UNKNOWN_REMEDY = "check that the file is whole; convert other formats to pyramidal TIFF or DICOM"
DEFAULT_PIECE_PX = 256  # of a file that does not say how it is cut
GENERIC_TIFF = "generic-tiff"  # OpenSlide's name for tiled TIFF of no scanner
TAGGED = (GENERIC_TIFF, "aperio")  # formats whose pages have the tags of TIFF for their scale


def _opened_twice(path: Path) -> Any:
    """Open a file, once more where that fails: a disk that fails for a moment must not leave the file to another reader.

    Raises:
        openslide.OpenSlideError: OpenSlide does not open it.
        OSError: the disk fails.
    """
    import openslide

    try:
        return openslide.OpenSlide(path)
    except openslide.OpenSlideError:
        look_at_disk(path)
        return openslide.OpenSlide(path)


class OpenSlideHandle:
    """A file of a format that OpenSlide knows."""

    orientation = 1

    def __init__(self, path: Path) -> None:
        import openslide

        try:
            self._slide = _opened_twice(path)
        except openslide.OpenSlideUnsupportedFormatError as error:
            reason = f"{path.name} is no slide that OpenSlide {openslide.__library_version__} knows"
            raise SlideError(reason, UNKNOWN_REMEDY) from error
        except (openslide.OpenSlideError, OSError) as error:
            pass_disk_fault(error)
            raise SlideError(f"{path.name} cannot be opened ({error})", RECOPY_REMEDY) from error
        self.dimensions: tuple[int, int] = self._slide.dimensions
        found: Mapping[str, str] = self._slide.properties
        self.properties = with_ome_scale(found, found.get("tiff.ImageDescription", ""), self.dimensions)
        self._use_sound_levels(path)

    def _use_sound_levels(self, path: Path) -> None:
        sizes = list(self._slide.level_dimensions)
        scales = _level_scales(path, self.vendor) if len(sizes) > 1 else {}
        self._levels, self.remarks = sound_levels(sizes, scales)  # numbers of OpenSlide's
        self.level_dimensions: tuple[tuple[int, int], ...] = tuple(sizes[level] for level in self._levels)
        self.level_downsamples: tuple[float, ...] = tuple(
            self._slide.level_downsamples[level] for level in self._levels
        )

    @property
    def vendor(self) -> str:
        """OpenSlide's name of the format."""
        return self.properties.get("openslide.vendor", "")

    @property
    def reader(self) -> str:
        """OpenSlide and the format."""
        return f"openslide {self.vendor}".strip()

    def piece_px(self, level: int) -> tuple[int, int]:
        """Return width and height of the level's tiles."""
        texts = [
            self.properties.get(f"openslide.level[{self._levels[level]}].tile-{side}") for side in ("width", "height")
        ]
        sides = [int(text) if text is not None and text.isdecimal() else 0 for text in texts]
        return sides[0] or DEFAULT_PIECE_PX, sides[1] or DEFAULT_PIECE_PX

    def read_region(self, origin: tuple[int, int], level: int, size: tuple[int, int]) -> Image:
        """Return an RGBA image of the area; what was never scanned is transparent."""
        import openslide

        try:
            return self._slide.read_region(origin, self._levels[level], size)
        except openslide.OpenSlideError as error:
            raise SlideError(
                f"the region at {origin} of level {level} cannot be read ({error})", RECOPY_REMEDY
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._slide.close()


class WithSubLevels:
    """A slide of one level that OpenSlide reads, with the smaller levels in SubIFDs, which it does not see."""

    def __init__(self, slide: SlideHandle, levels: SlideHandle) -> None:
        """Join two handles of one file; both have the same level 0, of which `slide`'s is read."""
        assert slide.dimensions == levels.dimensions
        self._slide, self._levels = slide, levels
        self.reader, self.orientation, self.properties = slide.reader, slide.orientation, slide.properties
        self.remarks = (*slide.remarks, *levels.remarks)
        self.dimensions, self.level_dimensions = slide.dimensions, levels.level_dimensions
        self.level_downsamples = levels.level_downsamples

    def piece_px(self, level: int) -> tuple[int, int]:
        """Return width and height of the level's tiles."""
        return (self._levels if level else self._slide).piece_px(level)

    def read_region(self, origin: tuple[int, int], level: int, size: tuple[int, int]) -> Image:
        """Return an RGBA image of the area; what was never scanned is transparent."""
        return (self._levels if level else self._slide).read_region(origin, level, size)

    def close(self) -> None:
        """Close the file."""
        self._slide.close()
        self._levels.close()


def _level_scales(path: Path, vendor: str) -> dict[tuple[int, int], tuple[float, float]]:
    """Return what the levels of a file say of their own scale; nothing where their format does not tell it apart."""
    import tifffile

    if vendor == "dicom":
        return dicom_scales(
            sorted(file for file in path.parent.iterdir() if file.suffix.lower() == path.suffix.lower())
        )
    if vendor not in TAGGED:
        return {}
    try:
        with tifffile.TiffFile(path) as file:
            return tiff_scales(list(file.pages))
    except Exception as error:
        pass_disk_fault(error)
        return {}  # OpenSlide opened it; what only tifffile stumbles over is no reason to refuse it
