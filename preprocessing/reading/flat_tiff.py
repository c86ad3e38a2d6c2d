"""TIFF files OpenSlide does not take, plain or striped, in OpenSlide's shape, with one level.

A TIFF is decoded segment by segment (strip or tile), so that memory does not grow with the image. Samples of more than
8 bits keep their 8 highest, as TIFF and PNG define white as the full range; grey becomes RGB, palettes are looked up, CMYK
is multiplied out, transparent pixels become white. Other kinds (float, signed, CIELAB, several planes in depth) are named
failures.
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
from jaxtyping import Shaped, UInt8

from common.failures import SlideError
from preprocessing.reading.flat_picture import CONVERT_REMEDY, MAX_WHOLE_PX, RECOPY_REMEDY, overlap
from preprocessing.reading.jpeg_colours import colours_of_jpeg
from preprocessing.reading.scale import MPP_PROPERTIES, with_ome_scale

if TYPE_CHECKING:
    from PIL.Image import Image

TIFF_ENDINGS = frozenset({".tif", ".tiff", ".qptiff"})
MAPPED_SEGMENT_PX = 4_000_000  # of an uncompressed image, which the system pages in
HEADER_BYTES = 65_536  # of a JPEG stream: more than stands before its pixels
CACHE_BYTES = 96 << 20  # decoded segments kept


class FlatTiff:
    """One page of a TIFF file: the largest, which is the image itself where a thumbnail lies beside it.

    It is shown as stored: `upright` turns it by its `stored_orientation`.
    """

    reader, orientation = "tifffile", 1
    remarks: tuple[str, ...] = ()
    _page: Any

    def __init__(self, path: Path) -> None:
        import tifffile

        logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file is our SlideError
        self.name = path.name
        self._file: Any = None
        try:
            self._file = tifffile.TiffFile(path)
            largest: Any = max(self._file.pages, key=lambda page: page.imagewidth * page.imagelength)
            self._page = largest.aspage()
            self._check()
            _refuse_wrong_colours(self._file, self._page, path.name)
            size = (int(self._page.imagewidth), int(self._page.imagelength))
            description = str(self._file.pages.first.tags.valueof("ImageDescription", ""))
            self.properties = with_ome_scale(_tiff_properties(self._page), description, size)
            self.stored_orientation = _orientation_of(self._page)
            self._mapped = _mapped_pixels(path, self._file, self._page)
        except SlideError:
            self.close()
            raise
        except Exception as error:  # tifffile raises whatever a broken header leads to
            self.close()
            raise SlideError(f"{path.name} is not readable as a TIFF ({error})", RECOPY_REMEDY) from error
        self.dimensions = (int(self._page.imagewidth), int(self._page.imagelength))
        self.level_dimensions, self.level_downsamples = (self.dimensions,), (1.0,)
        self._segment_px = self._size_of_a_segment()
        n_kept = max(1, CACHE_BYTES // (3 * math.prod(self._segment_px)))
        self._segments: LRUCache[Any, UInt8[np.ndarray, "h w 3"]] = LRUCache(n_kept)

    def piece_px(self, level: int) -> tuple[int, int]:
        """Return width and height of what is decoded at once."""
        assert level == 0
        return self._segment_px

    def _size_of_a_segment(self) -> tuple[int, int]:
        page = self._page
        if self._mapped is not None:
            return self.dimensions[0], max(1, MAPPED_SEGMENT_PX // self.dimensions[0])
        if page.is_tiled:
            return int(page.tilewidth), int(page.tilelength)
        return self.dimensions[0], int(min(page.rowsperstrip or page.imagelength, page.imagelength))

    def read_region(self, origin: tuple[int, int], level: int, size: tuple[int, int]) -> Image:
        """Return an RGBA image of the area; what lies off the image is transparent."""
        from PIL.Image import fromarray

        assert level == 0
        canvas = np.zeros((size[1], size[0], 4), np.uint8)
        x0, y0, x1, y1 = overlap(origin, size, self.dimensions)
        width, height = self._segment_px
        n_across = math.ceil(self.dimensions[0] / width)
        for row in range(y0 // height, math.ceil(y1 / height) if x1 > x0 else 0):
            for column in range(x0 // width, math.ceil(x1 / width)):
                pixels = self._segment(row * n_across + column)
                left, top = max(x0, column * width), max(y0, row * height)
                right, bottom = min(x1, column * width + pixels.shape[1]), min(y1, row * height + pixels.shape[0])
                target = canvas[top - origin[1] : bottom - origin[1], left - origin[0] : right - origin[0]]
                target[..., :3] = pixels[
                    top - row * height : bottom - row * height, left - column * width : right - column * width
                ]
                target[..., 3] = 255
        return fromarray(canvas)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _check(self) -> None:
        page = self._page
        kind = f"{page.photometric.name}, {page.dtype}, {page.samplesperpixel} samples"
        known = {"MINISWHITE": 1, "MINISBLACK": 1, "PALETTE": 1, "RGB": 3, "YCBCR": 3, "SEPARATED": 4}
        n_least = known.get(page.photometric.name, 99)
        is_packed_ycbcr = page.photometric.name == "YCBCR" and page.compression.name != "JPEG"
        is_known_type = page.dtype is not None and page.dtype.kind in "ub" and page.dtype.itemsize <= 2
        if page.samplesperpixel < n_least or is_packed_ycbcr or not is_known_type or page.imagedepth != 1:
            raise SlideError(f"{self.name} is a TIFF of a kind that is not read ({kind})", CONVERT_REMEDY)
        width, height = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
        if width * min(height, page.imagelength) > MAX_WHOLE_PX and not page.is_contiguous:
            raise SlideError(
                f"{self.name} is one compressed strip of {width} x {page.imagelength} pixels, more than "
                f"{MAX_WHOLE_PX:,}",
                CONVERT_REMEDY,
            )

    @cachedmethod(attrgetter("_segments"))
    def _segment(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        page: Any = self._page
        try:
            if self._mapped is not None:
                height = self._segment_px[1]
                samples = np.asarray(self._mapped[index * height : (index + 1) * height])
            elif page.planarconfig == 2 and page.samplesperpixel > 1:  # a plane a colour
                n_segments = len(list(page.dataoffsets)) // page.samplesperpixel
                planes = [self._decoded(index + plane * n_segments) for plane in range(page.samplesperpixel)]
                samples = np.concatenate(planes, axis=2)
            else:
                samples = self._decoded(index)
            return _as_rgb(samples, page)
        except SlideError:
            raise
        except Exception as error:  # a decoder raises whatever broken bytes lead to
            raise SlideError(f"segment {index} of {self.name} cannot be read ({error})", RECOPY_REMEDY) from error

    def _decoded(self, index: int) -> Shaped[np.ndarray, "h w c"]:
        page: Any = self._page
        offset, n_bytes = page.dataoffsets[index], page.databytecounts[index]
        handle = self._file.filehandle
        handle.seek(offset)
        content = handle.read(n_bytes) if n_bytes else None
        if content is not None and len(content) < n_bytes:
            raise ValueError(f"{n_bytes} bytes wanted, {len(content)} found")
        jpeg = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if page.jpegtables else {}
        samples, _, shape = page.decode(content, index, **jpeg)
        if samples is None:  # a segment without bytes: never written, not damaged
            white = np.iinfo(np.uint16).max if page.dtype.itemsize == 2 else 255
            return np.full((*shape[1:3], shape[3]), white, page.dtype)
        return np.asarray(samples[0, : shape[1], : shape[2]])


@dataclass(frozen=True)
class FirstLook:
    """What a TIFF says before it is opened: how its first image lies, the size of its largest, and whether
    OpenSlide misreads it: it takes a fourth sample of any meaning for opacity, and numbers of any kind for grey levels.
    """

    orientation: int
    largest_px: tuple[int, int]
    is_misread: bool


def first_look(path: Path) -> FirstLook:
    """Look at the tags of a TIFF that another reader opened.

    Raises:
        SlideError: its colours are declared wrongly.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            sizes = [(int(page.imagewidth), int(page.imagelength)) for page in file.pages]
            first: Any = file.pages.first
            _refuse_wrong_colours(file, first, path.name)
            has_other_sample = first.photometric.name == "RGB" and [int(kind) for kind in first.extrasamples][:1] == [0]
            is_number = first.dtype is not None and first.dtype.kind not in "ub"
            return FirstLook(_orientation_of(first), max(sizes, key=math.prod), has_other_sample or is_number)
    except SlideError:
        raise
    except (tifffile.TiffFileError, ValueError, OSError):
        return FirstLook(1, (0, 0), False)  # what only tifffile stumbles over is no reason to refuse what was opened


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


def _mapped_pixels(path: Path, file: Any, page: Any) -> Shaped[np.ndarray, "h w c"] | None:
    """Return the pixels of an uncompressed, contiguous image as a view of the file; None for all others."""
    shape = (int(page.imagelength), int(page.imagewidth), int(page.samplesperpixel))
    size = math.prod(shape) * page.dtype.itemsize
    is_whole = page.dataoffsets and page.dataoffsets[0] + size <= path.stat().st_size  # a truncated file: by strips
    if not page.is_memmappable or page.planarconfig != 1 or not is_whole:
        return None
    dtype = np.dtype(file.byteorder + page.dtype.char)
    return np.memmap(path, dtype, mode="r", offset=page.dataoffsets[0], shape=shape)


def _tiff_properties(page: Any) -> Mapping[str, str]:
    """Return the scale where the file gives one in a unit of length; dots per inch of a print fall outside its range."""
    um = {2: 25400.0, 3: 10000.0}.get(page.tags.valueof("ResolutionUnit", 1))
    scales = {}
    for name, tag in zip(MPP_PROPERTIES, ("XResolution", "YResolution"), strict=True):
        value = page.tags.valueof(tag)
        if um is not None and value is not None and value[0] and value[1]:
            scales[name] = str(um * value[1] / value[0])
    return scales


def _as_rgb(samples: Shaped[np.ndarray, "h w c"], page: Any) -> UInt8[np.ndarray, "h w 3"]:
    """Return decoded samples as 8-bit RGB on white."""
    kind, bits = page.photometric.name, int(page.bitspersample)
    if kind == "PALETTE":
        return (np.asarray(page.colormap)[:, samples[..., 0]] >> 8).astype(np.uint8).transpose(1, 2, 0)
    if bits > 8:
        samples = (samples >> (bits - 8)).astype(np.uint8)
    elif bits < 8:
        samples = (samples.astype(np.uint16) * 255 // (2**bits - 1)).astype(np.uint8)
    if kind == "SEPARATED":
        inks = 255 - samples[..., :4].astype(np.uint16)
        return (inks[..., :3] * inks[..., 3:] // 255).astype(np.uint8)
    n_colours = 3 if kind in {"RGB", "YCBCR"} else 1
    colours = samples[..., :n_colours]
    if kind == "MINISWHITE":
        colours = 255 - colours
    extra = [int(value) for value in page.extrasamples]
    if extra and extra[0] in (1, 2) and samples.shape[2] > n_colours:  # alpha: 1 multiplied in already, 2 not
        alpha = samples[..., n_colours : n_colours + 1].astype(np.uint16)
        light = colours.astype(np.uint16) if extra[0] == 1 else colours * alpha // 255
        colours = np.minimum(light + 255 - alpha, 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3)))
