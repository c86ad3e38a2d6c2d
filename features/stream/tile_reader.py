"""What a reading worker does: choose how a slide is read, and leave the pixels of its tiles in shared memory.

A slide of plain JPEG tiles is read `raw`: its tiles are decoded about once each and handed over at the file's own
resolution where the device can resize them; any other by OpenSlide's `region`s, resampled here. Nothing here, nor what
is imported, is torch: a worker starts quickly and stays small.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from cachetools import LRUCache
from jaxtyping import Int64, UInt8

from common.failures import SlideError
from common.files import pass_disk_fault
from features.stream.shared_ring import Inheritance, WorkerRing
from preprocessing.colour.colour_formula import StainMap
from preprocessing.colour.stain import StainFit
from preprocessing.reading.flat_picture import rgb_pixels, without_pixel_limit
from preprocessing.reading.jpeg_tiles import JpegSlide, NotJpegTilesError, check_against_openslide, open_jpeg_slide
from preprocessing.reading.slide import open_slide, read_tile


@dataclass(frozen=True, kw_only=True)
class TileRequest:
    """The tiles of one bag: squares of slides (`tile_um` set) or fields of an image (`tile_um` is None)."""

    name: str
    path: Path
    mpp: tuple[float, float] | None
    coords: Int64[np.ndarray, "n 2"]
    tile_um: float | None
    tile_px: int
    colour: StainMap | None
    stains: StainFit | None = None  # of the pixels after the colour map, for copies in varied stains
    part: str = ""  # which part of the bag's embeddings the tiles are for
    first_row: int = 0  # of coords in the bag
    field_px: int | None = None  # side of an image's fields, its own pixels; None: tile_px
    rows: Int64[np.ndarray, " m"] | None = None  # of coords: those still to be read; None: all


@dataclass(frozen=True, kw_only=True)
class ReadingPlan:
    """How a request is read, and what is handed over: `box_px` (right, bottom) of pictures of `given_px` (width, height)."""

    reading: str  # "raw", "region" or "image"
    reason: str  # why it is not raw
    given_px: tuple[int, int]
    box_px: tuple[float, float]


@dataclass(frozen=True)
class BlockReport:
    """What came of a block: tiles that could not be read are left out and listed."""

    n_read: int
    unreadable: Int64[np.ndarray, " m"]  # indices into the request's coords
    tiles: UInt8[np.ndarray, "n h w 3"] | None  # None: they lie in the ring


class _OpenSlides(LRUCache[Path, JpegSlide]):
    """Open files of JPEG tiles, the one read last; one that makes room is closed."""

    def popitem(self) -> tuple[Path, JpegSlide]:
        """Close and give up the file that was read longest ago."""
        path, slide = super().popitem()
        slide.close()
        return path, slide


class _Worker:
    """What a worker keeps between blocks: the ring, and the file of JPEG tiles that it read last."""

    ring: WorkerRing | None = None
    slides = _OpenSlides(maxsize=1)


def start_worker(ring: Inheritance | None) -> None:
    """Attach a worker process to the ring."""
    _Worker.ring = None if ring is None else ring.attach()


def plan_reading(request: TileRequest) -> ReadingPlan:
    """Choose how to read a request: raw where that gives OpenSlide's pixels on its middle tile, else by regions."""
    px = request.tile_px
    whole = ReadingPlan(reading="raw", reason="", given_px=(px, px), box_px=(float(px), float(px)))
    if request.tile_um is None:
        return replace(whole, reading="image")
    assert request.mpp is not None, "a slide's scale stands in its tile file"
    try:
        slide = open_jpeg_slide(request.path)
    except NotJpegTilesError as error:
        return replace(whole, reading="region", reason=str(error))
    try:
        x, y = request.coords[len(request.coords) // 2].tolist()
        check_against_openslide(slide, (x, y), mpp=request.mpp, tile_um=request.tile_um, tile_px=px)
    except NotJpegTilesError as error:
        return replace(whole, reading="region", reason=str(error))
    finally:
        slide.close()
    size = (request.tile_um / request.mpp[0], request.tile_um / request.mpp[1])
    first = slide.window(tuple(request.coords[0].tolist()), size, (px, px))
    downsample = slide.levels[first.level].downsample
    if (request.coords % downsample != 0).any():  # between the level's pixels: resampled by the worker
        return whole
    return replace(whole, given_px=first.size, box_px=(first.box[2], first.box[3]))


def read_block(request: TileRequest, plan: ReadingPlan, slot: int | None = None) -> BlockReport:
    """Read a request's tiles into a slot of the ring, or without one into an array.

    Raises:
        SlideError: the file cannot be opened. A tile that cannot be read is left out and listed instead.
    """
    shape = (len(request.coords), plan.given_px[1], plan.given_px[0], 3)
    ring = _Worker.ring if slot is not None else None
    out = np.empty(shape, np.uint8) if ring is None or slot is None else ring.view(slot, shape)
    read = {"raw": _read_raw, "region": _read_regions, "image": _read_fields}[plan.reading]
    unreadable = read(request, plan, out)
    n_read = len(out) - len(unreadable)
    return BlockReport(n_read, np.array(unreadable, dtype=np.int64), out[:n_read] if ring is None else None)


def _read_raw(request: TileRequest, plan: ReadingPlan, out: np.ndarray) -> list[int]:
    assert request.tile_um is not None and request.mpp is not None
    if request.path not in _Worker.slides:
        _Worker.slides[request.path] = open_jpeg_slide(request.path)
    slide, px, n_read = _Worker.slides[request.path], request.tile_px, 0
    size = (request.tile_um / request.mpp[0], request.tile_um / request.mpp[1])
    unreadable: list[int] = []
    for index, (x, y) in enumerate(request.coords.tolist()):
        corner, at = (x, y), out[n_read]
        try:
            window = slide.window(corner, size, (px, px))
            if window.size == plan.given_px and window.starts_on_a_pixel and window.box[2:] == plan.box_px:
                slide.read_window(window, out=at)
            else:
                at[:] = slide.read_area(corner, size, (px, px))
            n_read += 1
        except SlideError:
            unreadable.append(index)
    return unreadable


def _read_regions(request: TileRequest, _plan: ReadingPlan, out: np.ndarray) -> list[int]:
    assert request.tile_um is not None
    unreadable: list[int] = []
    n_read = 0
    with open_slide(request.path, mpp=request.mpp) as slide:
        for index, (x, y) in enumerate(request.coords.tolist()):
            try:
                out[n_read] = read_tile(slide, x, y, tile_um=request.tile_um, tile_px=request.tile_px)
                n_read += 1
            except SlideError:
                unreadable.append(index)
                slide.reopen()
    return unreadable


def _read_fields(request: TileRequest, _plan: ReadingPlan, out: np.ndarray) -> list[int]:
    """Cut fields out of a plain tile image, scaled up where they are smaller; of one that cannot be decoded none is read."""
    from PIL import Image

    try:
        image = image_pixels(request.path)
    except SlideError:
        return list(range(len(request.coords)))
    px, side = request.tile_px, request.field_px or request.tile_px
    for index, (x, y) in enumerate(request.coords.tolist()):
        field = image[y : y + side, x : x + side]
        if side != px:
            field = np.asarray(Image.fromarray(field).resize((px, px), Image.Resampling.BICUBIC))
        out[index] = field
    return []


def image_pixels(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Return the pixels of a tile image of any kind that Pillow knows.

    Raises:
        SlideError: it does not open, or cannot be decoded.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with without_pixel_limit(), Image.open(path) as file:
            return rgb_pixels(file)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        pass_disk_fault(error)
        raise SlideError(f"{path.name} cannot be decoded ({error})") from error


def close_slide() -> None:
    """Let go of the file that was read last."""
    while _Worker.slides:
        _Worker.slides.popitem()
