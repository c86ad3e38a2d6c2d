"""TIFF files OpenSlide does not take, plain or striped, or with levels it does not see, in OpenSlide's shape.

A TIFF is decoded segment by segment (strip or tile), so that memory does not grow with the image. Samples of more than
8 bits keep the 8 highest of those in use; grey becomes RGB, palettes are looked up, CMYK is multiplied out, transparent
pixels become white. Other kinds (float, signed, CIELAB, several planes in depth) are named failures.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from cachetools import LRUCache, cachedmethod
from jaxtyping import UInt8

from common.failures import SlideError
from common.files import pass_disk_fault
from preprocessing.reading.flat_picture import RECOPY_REMEDY, overlap, remark_on
from preprocessing.reading.jpeg_colours import colours_of_jpeg
from preprocessing.reading.levels import sound_levels, tiff_scales
from preprocessing.reading.scale import MPP_PROPERTIES, with_ome_scale
from preprocessing.reading.tiff_page import TiffLevel, as_rgb, check_kind, stored_bits

if TYPE_CHECKING:
    from PIL.Image import Image

TIFF_ENDINGS = frozenset({".tif", ".tiff", ".qptiff"})
HEADER_BYTES = 65_536  # of a JPEG stream: more than stands before its pixels
CACHE_BYTES = 96 << 20  # decoded segments kept


class FlatTiff:
    """The largest page of a TIFF file, which is the image itself where a thumbnail lies beside it, and its smaller levels.

    It is shown as stored: `upright` turns it by its `stored_orientation`.
    """

    reader, orientation = "tifffile", 1

    def __init__(self, path: Path) -> None:
        import tifffile

        logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file is our SlideError
        self.name = path.name
        self._file: Any = None
        try:
            self._file = tifffile.TiffFile(path)
            self._levels, self.remarks = _levels(path, self._file)
            page = self._levels[0].page
            description = str(self._file.pages.first.tags.valueof("ImageDescription", ""))
            self.properties = with_ome_scale(_tiff_properties(page), description, self._levels[0].size)
            self.stored_orientation = _orientation_of(page)
            bits = stored_bits(path, self._levels[0], description)
            self.level_dimensions = tuple(level.size for level in self._levels)
            width, height = self.dimensions = self.level_dimensions[0]
            self.level_downsamples = tuple((width / size[0] + height / size[1]) / 2 for size in self.level_dimensions)
            most = max(3 * math.prod(level.segment_px) for level in self._levels)
            if any(min(level.segment_px) < 1 for level in self._levels):
                raise ValueError("a level is cut into pieces of no size")
            for level in self._levels:
                level.bits = bits
        except SlideError:
            self.close()
            raise
        except Exception as error:  # tifffile raises whatever a broken header leads to
            pass_disk_fault(error)
            self.close()
            raise SlideError(f"{path.name} is not readable as a TIFF ({error})", RECOPY_REMEDY) from error
        self.remarks += remark_on(bits)
        self._segments: LRUCache[Any, UInt8[np.ndarray, "h w 3"]] = LRUCache(
            max(CACHE_BYTES, most), getsizeof=lambda pixels: pixels.nbytes
        )

    def piece_px(self, level: int) -> tuple[int, int]:
        """Return width and height of what is decoded at once."""
        return self._levels[level].segment_px

    def read_region(self, origin: tuple[int, int], level: int, size: tuple[int, int]) -> Image:
        """Return an RGBA image of the area; what lies off the image is transparent."""
        from PIL.Image import fromarray

        downsample = self.level_downsamples[level]
        left0, top0 = (round(at / downsample) for at in origin)
        canvas = np.zeros((size[1], size[0], 4), np.uint8)
        x0, y0, x1, y1 = overlap((left0, top0), size, self.level_dimensions[level])
        width, height = self._levels[level].segment_px
        n_across = math.ceil(self.level_dimensions[level][0] / width)
        for row in range(y0 // height, math.ceil(y1 / height) if x1 > x0 else 0):
            for column in range(x0 // width, math.ceil(x1 / width)):
                pixels = self._segment(level, row * n_across + column)
                left, top = max(x0, column * width), max(y0, row * height)
                right, bottom = min(x1, column * width + pixels.shape[1]), min(y1, row * height + pixels.shape[0])
                target = canvas[top - top0 : bottom - top0, left - left0 : right - left0]
                target[..., :3] = pixels[
                    top - row * height : bottom - row * height, left - column * width : right - column * width
                ]
                target[..., 3] = 255
        return fromarray(canvas)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    @cachedmethod(attrgetter("_segments"))
    def _segment(self, level: int, index: int) -> UInt8[np.ndarray, "h w 3"]:
        of = self._levels[level]
        try:
            return as_rgb(of.samples(index), of.page, of.bits)
        except Exception as error:  # a decoder raises whatever broken bytes lead to
            pass_disk_fault(error)
            raise SlideError(f"segment {index} of {self.name} cannot be read ({error})", RECOPY_REMEDY) from error


def _levels(path: Path, file: Any) -> tuple[list[TiffLevel], tuple[str, ...]]:
    """Return the largest page and, by size, the smaller levels that show it; a line on each that does not.

    Raises:
        SlideError: the largest page is of a kind that is not read, or its colours are declared wrongly.
    """
    pages = all_pages(file)
    largest = max(pages, key=lambda page: page.imagewidth * page.imagelength).aspage()
    check_kind(largest, path.name)
    _refuse_wrong_colours(file, largest, path.name)
    smaller, remarks = [], []
    for page in _smaller_levels(file, largest):
        if _kind_of(page) == _kind_of(largest):
            smaller.append(page)
        else:
            remarks.append(f"a level of {page.imagewidth} x {page.imagelength} px is of another kind; it is not used")
    family = [largest, *sorted(smaller, key=lambda page: -page.imagewidth * page.imagelength)]
    sizes = [(int(page.imagewidth), int(page.imagelength)) for page in family]
    kept, unsound = sound_levels(sizes, tiff_scales(family))
    return [TiffLevel(path, file, family[level]) for level in kept], (*remarks, *unsound)


def all_pages(file: Any) -> list[Any]:
    """Return the pages of a file, each with those in its SubIFDs behind it."""
    return [page for first in file.pages for page in (first, *_sub_pages(first))]


def _sub_pages(page: Any) -> list[Any]:
    """Return what lies in a page's SubIFDs, as OME-TIFF keeps smaller levels."""
    whole = page.aspage()
    return [sub.aspage() for sub in whole.pages] if whole.subifds else []


def _smaller_levels(file: Any, largest: Any) -> list[Any]:
    """Return the pages that say to be smaller levels of the largest: of its SubIFDs, or flagged reduced beside it."""
    beside = [page.aspage() for page in file.pages]
    own = _sub_pages(largest) or [sub for page in beside for sub in _family_of(page, largest)]
    found = {page.offset: page for page in (*own, *(page for page in beside if page.is_reduced))}
    size = largest.imagewidth * largest.imagelength
    return [page for at, page in found.items() if at != largest.offset and page.imagewidth * page.imagelength < size]


def _family_of(page: Any, largest: Any) -> list[Any]:
    subs = _sub_pages(page)
    return subs if any(sub.offset == largest.offset for sub in subs) else []


def _kind_of(page: Any) -> tuple[object, ...]:
    """Return what must be alike for two levels to be decoded alike, and checked as one."""
    return page.photometric, page.dtype, page.samplesperpixel, page.bitspersample, page.imagedepth


@dataclass(frozen=True)
class FirstLook:
    """What a TIFF says before it is opened: how its first image lies, the size of its largest, whether OpenSlide misreads
    it, and whether it has levels in SubIFDs, which OpenSlide does not see.

    OpenSlide takes a fourth sample of any meaning for opacity, numbers of any kind for grey levels, and of 16 bits the
    highest, whether they are in use or not.
    """

    orientation: int
    largest_px: tuple[int, int]
    is_misread: bool
    has_sub_levels: bool


def first_look(path: Path) -> FirstLook:
    """Look at the tags of a TIFF that another reader opened.

    Raises:
        SlideError: its colours are declared wrongly.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            sizes = [(int(page.imagewidth), int(page.imagelength)) for page in all_pages(file)]
            first: Any = file.pages.first
            _refuse_wrong_colours(file, first, path.name)
            has_other_sample = first.photometric.name == "RGB" and [int(kind) for kind in first.extrasamples][:1] == [0]
            is_number = first.dtype is not None and (first.dtype.kind not in "ub" or first.dtype.itemsize > 1)
            return FirstLook(
                _orientation_of(first), max(sizes, key=math.prod), has_other_sample or is_number, bool(first.subifds)
            )
    except SlideError:
        raise
    except Exception as error:  # tifffile raises whatever a broken header leads to
        pass_disk_fault(error)
        return FirstLook(
            1, (0, 0), False, False
        )  # what only tifffile stumbles over is no reason to refuse what was opened


def _refuse_wrong_colours(file: Any, page: Any, name: str) -> None:
    """Refuse JPEG tiles that hold other colours than the tag says: every reader decodes them by the tag."""
    declared = page.photometric.name
    if page.compression.name != "JPEG" or declared not in ("RGB", "YCBCR") or not len(page.dataoffsets):
        return
    file.filehandle.seek(page.dataoffsets[0])
    stream = file.filehandle.read(min(HEADER_BYTES, page.databytecounts[0]))
    found = colours_of_jpeg(stream, trust_jfif=False)
    if found is not None and found[0] != declared:
        reason = f"the pixels of {name} are declared {declared}, and are {found[0]} by {found[1]}"
        raise SlideError(reason, "convert the slide again with a current tool, which declares its colours rightly")


def _orientation_of(page: Any) -> int:
    return int(page.tags.valueof("Orientation", 1))


def _tiff_properties(page: Any) -> Mapping[str, str]:
    """Return the scale where the file gives one in a unit of length; dots per inch of a print fall outside its range."""
    um = {2: 25400.0, 3: 10000.0}.get(page.tags.valueof("ResolutionUnit", 1))
    scales = {}
    for name, tag in zip(MPP_PROPERTIES, ("XResolution", "YResolution"), strict=True):
        value = page.tags.valueof(tag)
        if um is not None and value is not None and value[0] and value[1]:
            scales[name] = str(um * value[1] / value[0])
    return scales
