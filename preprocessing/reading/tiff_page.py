"""One page of a TIFF: whether its kind is read, its segments as stored samples, and these as 8-bit RGB on white.

Samples of more than 8 bits keep their 8 highest, as TIFF defines white as the full range; where 16 bits hold the 8 to 14 of
a sensor, those bits are the range.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from cachetools import LRUCache
from jaxtyping import Shaped, UInt8

from common.failures import SlideError
from preprocessing.reading.flat_picture import CONVERT_REMEDY, MAX_WHOLE_PX, StoredBits, bits_in_use, to_8_bits
from preprocessing.reading.scale import ome_bits

MAPPED_SEGMENT_PX = 4_000_000  # of an uncompressed image, which the system pages in
LOOKED_AT_SEGMENTS, LOOKED_AT_PX = 64, 50_000_000  # spread over a page, to find its brightest sample
MAX_SAMPLE_TAGS = ("MaxSampleValue", "SMaxSampleValue")
DEEP_KINDS = ("MINISBLACK", "MINISWHITE", "RGB", "SEPARATED")
_BRIGHTEST: LRUCache[tuple[Path, int, int], int] = LRUCache(64)  # by path, size and time of the file


def check_kind(page: Any, name: str) -> None:
    """Raise a SlideError where a page is of a kind that is not read, or too large to be decoded."""
    kind = f"{page.photometric.name}, {page.dtype}, {page.samplesperpixel} samples"
    known = {"MINISWHITE": 1, "MINISBLACK": 1, "PALETTE": 1, "RGB": 3, "YCBCR": 3, "SEPARATED": 4}
    n_least = known.get(page.photometric.name, 99)
    is_packed_ycbcr = page.photometric.name == "YCBCR" and page.compression.name != "JPEG"
    is_known_type = page.dtype is not None and page.dtype.kind in "ub" and page.dtype.itemsize <= 2
    if page.samplesperpixel < n_least or is_packed_ycbcr or not is_known_type or page.imagedepth != 1:
        raise SlideError(f"{name} is a TIFF of a kind that is not read ({kind})", CONVERT_REMEDY)
    width, height = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
    if width * min(height, page.imagelength) > MAX_WHOLE_PX and not page.is_contiguous:
        raise SlideError(
            f"{name} is one compressed strip of {width} x {page.imagelength} pixels, more than {MAX_WHOLE_PX:,}",
            CONVERT_REMEDY,
        )


class TiffLevel:
    """A page that is read as a level: its size, the size of what is decoded at once, and its samples."""

    def __init__(self, path: Path, file: Any, page: Any) -> None:
        self.page, self._file = page, file
        self.size = (int(page.imagewidth), int(page.imagelength))
        self.bits = StoredBits(int(page.bitspersample))
        self._mapped = _mapped_pixels(path, file, page)
        if self._mapped is not None:
            self.segment_px = (self.size[0], max(1, MAPPED_SEGMENT_PX // self.size[0]))
        elif page.is_tiled:
            self.segment_px = (int(page.tilewidth), int(page.tilelength))
        else:
            self.segment_px = (self.size[0], int(min(page.rowsperstrip or page.imagelength, page.imagelength)))

    @property
    def written(self) -> list[int]:
        """Numbers of the segments of one plane that are in the file."""
        n = math.prod(math.ceil(side / of) for side, of in zip(self.size, self.segment_px, strict=True))
        if self._mapped is not None:
            return list(range(n))
        return [index for index, n_bytes in enumerate(self.page.databytecounts[:n]) if n_bytes]

    def samples(self, index: int) -> Shaped[np.ndarray, "h w c"]:
        """Return a segment as stored. Decoders raise whatever broken bytes lead to."""
        page = self.page
        if self._mapped is not None:
            height = self.segment_px[1]
            return np.asarray(self._mapped[index * height : (index + 1) * height])
        if page.planarconfig == 2 and page.samplesperpixel > 1:  # a plane a colour
            n_segments = len(list(page.dataoffsets)) // page.samplesperpixel
            planes = [self._decoded(index + plane * n_segments) for plane in range(page.samplesperpixel)]
            return np.concatenate(planes, axis=2)
        return self._decoded(index)

    def _decoded(self, index: int) -> Shaped[np.ndarray, "h w c"]:
        page = self.page
        offset, n_bytes = page.dataoffsets[index], page.databytecounts[index]
        handle = self._file.filehandle
        handle.seek(offset)
        content = handle.read(n_bytes) if n_bytes else None
        if content is not None and len(content) < n_bytes:
            raise ValueError(f"{n_bytes} bytes wanted, {len(content)} found")
        jpeg = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if page.jpegtables else {}
        samples, _, shape = page.decode(content, index, **jpeg)
        if samples is None:  # a segment without bytes: never written, not damaged
            return np.full((*shape[1:3], shape[3]), 2**self.bits.n_bits - 1, page.dtype)
        return np.asarray(samples[0, : shape[1], : shape[2]])


def _mapped_pixels(path: Path, file: Any, page: Any) -> Shaped[np.ndarray, "h w c"] | None:
    """Return the pixels of an uncompressed, contiguous image as a view of the file; None for all others."""
    shape = (int(page.imagelength), int(page.imagewidth), int(page.samplesperpixel))
    size = math.prod(shape) * page.dtype.itemsize
    is_whole = page.dataoffsets and page.dataoffsets[0] + size <= path.stat().st_size  # a truncated file: by strips
    if not page.is_memmappable or page.planarconfig != 1 or not is_whole:
        return None
    dtype = np.dtype(file.byteorder + page.dtype.char)
    return np.memmap(path, dtype, mode="r", offset=page.dataoffsets[0], shape=shape)


def stored_bits(path: Path, level: TiffLevel, description: str) -> StoredBits:
    """Return how many bits a page's samples use: by its tags or OME-XML, else by the brightest of many samples.

    A tag of all 16 bits says nothing: writers put the range of the type there.
    """
    page, n_bits = level.page, int(level.page.bitspersample)
    if n_bits != 16 or page.photometric.name not in DEEP_KINDS:
        return StoredBits(n_bits)
    state = path.stat()
    key = (path, state.st_size, state.st_mtime_ns)
    if key not in _BRIGHTEST:
        _BRIGHTEST[key] = _brightest_sample(level)
    return bits_in_use(_BRIGHTEST[key], _stated_maxima(page, description))


def _stated_maxima(page: Any, description: str) -> list[tuple[str, int]]:
    stated = []
    for tag in MAX_SAMPLE_TAGS:
        values = np.ravel(np.asarray(page.tags.valueof(tag, 0)))
        if values.dtype.kind in "uif" and len(values) and np.isfinite(values).all():
            stated.append((f"its tag {tag}", int(values.max())))
    bits = ome_bits(description)
    return [*stated, ("its SignificantBits", 2**bits - 1)] if bits is not None else stated


def _brightest_sample(level: TiffLevel) -> int:
    """Return the largest of many samples, spread over the page; 0 where none can be read."""
    most, n_samples = level.written, _n_samples(level.page)
    n_looked_at = min(len(most), LOOKED_AT_SEGMENTS, max(1, LOOKED_AT_PX // math.prod(level.segment_px)))
    brightest = 0
    for at in np.linspace(0, len(most) - 1, n_looked_at).round().astype(int) if most else ():
        try:
            brightest = max(brightest, int(level.samples(most[at])[..., :n_samples].max(initial=0)))
        except Exception:  # what is damaged is named when it is read
            continue
    return brightest


def _n_samples(page: Any) -> int:
    """Return the number of samples with a meaning: colours, and opacity where there is one."""
    has_alpha = [int(kind) for kind in page.extrasamples][:1] in ([1], [2])
    return {"RGB": 3, "YCBCR": 3, "SEPARATED": 4}.get(page.photometric.name, 1) + has_alpha


def as_rgb(samples: Shaped[np.ndarray, "h w c"], page: Any, bits: StoredBits) -> UInt8[np.ndarray, "h w 3"]:
    """Return decoded samples as 8-bit RGB on white.

    Raises:
        ValueError: a sample is brighter than the bits in use can be.
    """
    kind = page.photometric.name
    if kind == "PALETTE":
        return (np.asarray(page.colormap)[:, samples[..., 0]] >> 8).astype(np.uint8).transpose(1, 2, 0)
    if bits.n_bits > 8 or page.bitspersample > 8:
        samples = to_8_bits(samples[..., : _n_samples(page)], bits)
    elif bits.n_bits < 8:
        samples = (samples.astype(np.uint16) * 255 // (2**bits.n_bits - 1)).astype(np.uint8)
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
