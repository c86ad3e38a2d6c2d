"""A tiled TIFF's or SVS's own compressed JPEG tiles: each decoded about once, any area stitched out of them.

OpenSlide decodes through premultiplied ARGB and its own cache, five times slower. The same areas come out, to within
the decoder's rounding; `check_against_openslide` compares one before a file is read this way. Three traps: the
tables of tag 347 stand outside the tiles, Aperio writes RGB where other JPEG TIFFs hold YCbCr (the photometric tag
decides), and libjpeg fills a truncated tile with grey instead of failing (the end marker decides).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cachetools import LRUCache
from jaxtyping import UInt8

from common.failures import SlideError
from common.files import pass_disk_fault
from common.remote.remote_slide import HeldFile, held_file
from preprocessing.reading.flat_tiff import all_pages
from preprocessing.reading.handles import open_handle
from preprocessing.reading.slide import LEVEL_TOLERANCE, open_slide

CACHE_BYTES = 16 << 20  # of decoded file tiles: a column of a band of tiles, in the processor's cache if possible
CACHE_TILES, MOST_BYTES = 12, 96 << 20  # so many of large tiles all the same, up to this
VENDORS = ("aperio", "generic-tiff")  # of OpenSlide: the formats whose levels are plain grids of tiles
JPEG_COMPRESSION, RGB, YCBCR = 7, 2, 6  # values of TIFF tags
MAX_DIFFERENCE, MEAN_DIFFERENCE = 3, 0.3  # grey levels to OpenSlide's pixels; more sends a file by regions
DAMAGED = "the file is damaged or truncated; copy or scan it again"


class NotJpegTilesError(ValueError):
    """The file has no JPEG tiles that can be taken as they are; the text says what it has instead."""


@dataclass(frozen=True)
class Window:
    """An area on a level: integer corner and size in that level's pixels, and the exact box inside it."""

    level: int
    corner: tuple[int, int]
    size: tuple[int, int]
    box: tuple[float, float, float, float]  # left, top, right, bottom

    @property
    def starts_on_a_pixel(self) -> bool:
        """Whether the box begins at the window's own corner."""
        return self.box[0] == 0.0 == self.box[1]

    def is_exactly(self, size_px: tuple[int, int]) -> bool:
        """Whether the window is the area itself, pixel by pixel."""
        return self.starts_on_a_pixel and self.size == size_px


@dataclass(frozen=True)
class JpegLevel:
    """One pyramid level: its size, its grid of tiles and where their bytes lie."""

    downsample: float
    width: int
    height: int
    tile_width: int
    tile_height: int
    offsets: tuple[int, ...]
    byte_counts: tuple[int, ...]
    tables: bytes | None
    colorspace: str  # "RGB" or "YCBCR", of the pixels inside the JPEG streams


class _DecodedTiles(LRUCache[tuple[int, int], np.ndarray]):
    """Decoded tiles by level and index, the last used ones; the buffers of dropped ones are kept for the next."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit, getsizeof=lambda tile: tile.nbytes)
        self.spare: list[np.ndarray] = []  # fresh memory costs a third of the decoding

    def popitem(self) -> tuple[tuple[int, int], np.ndarray]:
        """Drop the tile that was not used for longest."""
        place, tile = super().popitem()
        self.spare.append(tile)
        return place, tile


def _cache_limit(levels: tuple[JpegLevel, ...]) -> int:
    tile_bytes = max(3 * level.tile_width * level.tile_height for level in levels)
    return max(CACHE_BYTES, tile_bytes, min(CACHE_TILES * tile_bytes, MOST_BYTES))


class JpegSlide:
    """An open file of JPEG tiles. Coordinates are level-0 pixels, as in `preprocessing.reading.slide.Slide`."""

    def __init__(self, held: HeldFile, levels: tuple[JpegLevel, ...], background: tuple[int, int, int]) -> None:
        self.path, self.levels, self.background = held.path, levels, background
        self._held, self._file = held, held.path.open("rb")
        self._decoded = _DecodedTiles(_cache_limit(levels))
        self.n_decoded = 0

    @property
    def held_bytes(self) -> int:
        """Bytes of decoded tiles kept."""
        return int(self._decoded.currsize)

    def close(self) -> None:
        """Close the file and let go of the decoded tiles."""
        self._file.close()
        self._held.close()
        self._decoded.clear()

    def window(
        self, corner_level0: tuple[float, float], size_level0: tuple[float, float], size_px: tuple[int, int]
    ) -> Window:
        """Return where an area lies on the smallest level that is still at least as fine as asked."""
        wanted = min(size_level0[0] / size_px[0], size_level0[1] / size_px[1])
        fine_enough = [index for index, level in enumerate(self.levels) if level.downsample <= wanted * LEVEL_TOLERANCE]
        index = max(fine_enough, default=0)
        downsample = self.levels[index].downsample
        exact = [value / downsample for value in corner_level0]
        corner = [math.floor(value + 1e-6) for value in exact]
        offset = [value - at if value - at > 1e-6 else 0.0 for value, at in zip(exact, corner, strict=True)]
        ends = [at + size / downsample for at, size in zip(offset, size_level0, strict=True)]
        size = (math.ceil(ends[0] - 1e-6), math.ceil(ends[1] - 1e-6))
        box = (offset[0], offset[1], min(ends[0], float(size[0])), min(ends[1], float(size[1])))
        return Window(index, (corner[0], corner[1]), size, box)

    def read_area(
        self, corner_level0: tuple[float, float], size_level0: tuple[float, float], size_px: tuple[int, int]
    ) -> UInt8[np.ndarray, "h w 3"]:
        """Return an area resampled to `size_px` (width, height), as `Slide.read_area` does.

        Raises:
            SlideError: a tile of the file that the area needs cannot be decoded.
        """
        window = self.window(corner_level0, size_level0, size_px)
        pixels = np.empty((window.size[1], window.size[0], 3), np.uint8)
        self.read_window(window, out=pixels)
        return resampled(pixels, window.box, size_px)

    def read_window(self, window: Window, *, out: UInt8[np.ndarray, "h w 3"]) -> None:
        """Stitch a window out of the file's tiles into `out`; what lies off the slide is background."""
        level = self.levels[window.level]
        (left, top), (width, height) = window.corner, window.size
        if left < 0 or top < 0 or left + width > level.width or top + height > level.height:
            out[:] = self.background
        right, bottom = min(left + width, level.width), min(top + height, level.height)
        across = -(-level.width // level.tile_width)
        if self._is_one_tile(window) and right - left == width and bottom - top == height:
            self._decode(level, top // level.tile_height * across + left // level.tile_width, out)
            return
        for row in range(max(top, 0) // level.tile_height, -(-bottom // level.tile_height)):
            tile_top = row * level.tile_height
            y0, y1 = max(top, tile_top, 0), min(bottom, tile_top + level.tile_height)
            for column in range(max(left, 0) // level.tile_width, -(-right // level.tile_width)):
                tile_left = column * level.tile_width
                x0, x1 = max(left, tile_left, 0), min(right, tile_left + level.tile_width)
                tile = self._tile(window.level, row * across + column)
                out[y0 - top : y1 - top, x0 - left : x1 - left] = tile[
                    y0 - tile_top : y1 - tile_top, x0 - tile_left : x1 - tile_left
                ]

    def _is_one_tile(self, window: Window) -> bool:
        level = self.levels[window.level]
        is_aligned = window.corner[0] % level.tile_width == 0 == window.corner[1] % level.tile_height
        return is_aligned and window.size == (level.tile_width, level.tile_height) and min(window.corner) >= 0

    def _tile(self, level: int, index: int) -> UInt8[np.ndarray, "h w 3"]:
        tile = self._decoded.get((level, index))
        if tile is None:
            spare = self._decoded.spare
            tile = self._decode(self.levels[level], index, spare.pop() if spare else None)
            self._decoded[level, index] = tile
        return tile

    def _decode(self, level: JpegLevel, index: int, buffer: np.ndarray | None) -> UInt8[np.ndarray, "h w 3"]:
        import imagecodecs

        shape = (level.tile_height, level.tile_width, 3)
        self._file.seek(level.offsets[index])
        stream = self._file.read(level.byte_counts[index])
        name = f"tile {index} of the level {level.width} x {level.height}"
        if len(stream) < level.byte_counts[index] or stream[-64:].rstrip(b"\0")[-2:] != b"\xff\xd9":
            raise SlideError(f"{name} is cut off", DAMAGED)
        if buffer is not None and buffer.shape != shape:
            buffer = None  # of another level
        try:
            tile = imagecodecs.jpeg8_decode(
                stream, tables=level.tables, colorspace=level.colorspace, outcolorspace="RGB", out=buffer
            )
        except (imagecodecs.DelayedImportError, RuntimeError, ValueError) as error:
            raise SlideError(f"{name} cannot be decoded ({error})", DAMAGED) from error
        if tile.shape != shape:
            raise SlideError(f"{name} is {tile.shape[1]} x {tile.shape[0]} px, not {shape[1]} x {shape[0]}", DAMAGED)
        self.n_decoded += 1
        return tile


def resampled(
    pixels: UInt8[np.ndarray, "h w 3"], box: tuple[float, float, float, float], size_px: tuple[int, int]
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Resample a box to `size_px` (width, height), antialiased, as `Slide.read_area` does."""
    from PIL import Image

    if pixels.shape[1::-1] == size_px and box == (0.0, 0.0, *map(float, size_px)):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size_px, Image.Resampling.BILINEAR, box=box))


def open_jpeg_slide(path: Path) -> JpegSlide:
    """Open a TIFF's or SVS's JPEG tiles; `check_against_openslide` says whether they may be used.

    Raises:
        NotJpegTilesError: another format; read it by regions.
        SlideError: a slide that lies elsewhere cannot be fetched.
    """
    held = held_file(path)
    try:
        levels, background = _jpeg_levels(held.path)
        return JpegSlide(held, levels, background)
    except BaseException:
        held.close()
        raise


def _jpeg_levels(path: Path) -> tuple[tuple[JpegLevel, ...], tuple[int, int, int]]:
    import tifffile

    if path.is_dir() or path.suffix.lower() == ".dcm":
        raise NotJpegTilesError("DICOM")
    try:
        handle = open_handle(path)
    except SlideError as error:
        raise NotJpegTilesError(f"OpenSlide cannot open it ({error.reason})") from error
    sizes, downsamples, properties = handle.level_dimensions, handle.level_downsamples, dict(handle.properties)
    vendor, color = properties.get("openslide.vendor"), properties.get("openslide.background-color", "ffffff")
    handle.close()
    if vendor is None:
        raise NotJpegTilesError(f"a turned picture, or none that OpenSlide takes (read by {handle.reader})")
    if vendor not in VENDORS:
        raise NotJpegTilesError(f"format {vendor}")
    try:
        with tifffile.TiffFile(path) as file:
            found = all_pages(file)
            pages = {(page.imagewidth, page.imagelength): page for page in reversed(found) if page.is_tiled}
            levels = tuple(_level(pages.get(size), scale) for size, scale in zip(sizes, downsamples, strict=True))
    except (tifffile.TiffFileError, OSError, IndexError, KeyError) as error:
        pass_disk_fault(error)
        raise NotJpegTilesError(f"tifffile cannot read its structure ({error})") from error
    background = tuple(bytes.fromhex(color))
    return levels, (background[0], background[1], background[2])


def _level(page: Any, downsample: float) -> JpegLevel:
    """Turn a TIFF page into a level, or say why it is none whose tiles can be taken as they are."""
    if page is None:
        raise NotJpegTilesError("a level without a tiled page")
    if int(page.compression) != JPEG_COMPRESSION:
        raise NotJpegTilesError(f"compression {page.compression.name}")
    if int(page.photometric) not in (RGB, YCBCR) or page.samplesperpixel != 3 or page.bitspersample != 8:
        raise NotJpegTilesError(f"{page.samplesperpixel} channels of {page.bitspersample} bits")
    orientation = page.tags.get("Orientation")
    if page.planarconfig != 1 or (orientation is not None and orientation.value != 1):
        raise NotJpegTilesError("separate planes or a turned picture")
    n_tiles = -(-page.imagewidth // page.tilewidth) * -(-page.imagelength // page.tilelength)
    if len(page.dataoffsets) < n_tiles or 0 in page.databytecounts[:n_tiles]:
        raise NotJpegTilesError("tiles left out")
    return JpegLevel(
        downsample=downsample, width=page.imagewidth, height=page.imagelength, tile_width=page.tilewidth,
        tile_height=page.tilelength, offsets=tuple(page.dataoffsets), byte_counts=tuple(page.databytecounts),
        tables=page.jpegtables, colorspace="RGB" if int(page.photometric) == RGB else "YCBCR",
    )  # fmt: skip


def check_against_openslide(
    slide: JpegSlide, corner: tuple[int, int], *, mpp: tuple[float, float], tile_um: float, tile_px: int
) -> None:
    """Read one tile both ways and compare; a tile that neither can read says nothing against the rest.

    Raises:
        NotJpegTilesError: the pixels differ; read the file by regions.
    """
    area = (corner, (tile_um / mpp[0], tile_um / mpp[1]), (tile_px, tile_px))
    downsample = slide.levels[slide.window(*area).level].downsample
    if downsample % 1:
        # OpenSlide addresses levels by level-0 pixels, here between theirs, and interpolates; features feel the rounding
        raise NotJpegTilesError(f"its level at this scale is {downsample:.5f} times smaller, no whole number")
    with open_slide(slide.path, mpp=mpp) as other:
        try:
            expected = other.read_area(*area)
        except SlideError:
            return
    try:
        pixels = slide.read_area(*area)
    except SlideError as error:
        raise NotJpegTilesError(f"OpenSlide reads a tile that is unreadable here: {error.reason}") from error
    difference = np.abs(pixels.astype(np.int16) - expected)
    if difference.max() > MAX_DIFFERENCE or difference.mean() > MEAN_DIFFERENCE:
        raise NotJpegTilesError(f"other pixels than OpenSlide's (up to {difference.max()} grey levels)")
