"""Slides held open, a few at a time, and squares of them as JPEG: what a page asks for while somebody looks at a slide."""

from __future__ import annotations

import io
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import cachetools
from jaxtyping import UInt8
from numpy import ndarray

from common.failures import SlideError
from mil.viewer.catalogue import Catalogue, ListedSlide
from preprocessing.reading.slide import Slide, open_slide, read_tile
from preprocessing.tiling.slide_tiles import SlideTiles
from preprocessing.tiling.tile_store import tiles_if_whole

SQUARE_PX = 256
JPEG_QUALITY = 85
CROP_PX = 160  # side of the picture of a tile


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """A slide in micrometres from its top left corner, and its squares: level 0 is one square, each next is twice as fine."""

    size_um: tuple[float, float]
    mpp: tuple[float, float]
    scanned_um: tuple[float, float, float, float]  # left, top, width, height of the scanned area
    origin_px: tuple[int, int]  # level-0 pixel from which an outline is counted
    finest_um: float  # a pixel of the finest level
    n_levels: int
    background: str = "#ffffff"

    def square_um(self, level: int) -> float:
        """Return the side of a square of a level."""
        return float(SQUARE_PX * self.finest_um * 2 ** (self.n_levels - 1 - level))

    def has(self, level: int, column: int, row: int) -> bool:
        """Return whether a square holds a part of the slide."""
        if not (0 <= level < self.n_levels and column >= 0 and row >= 0):
            return False
        side = self.square_um(level)
        return column * side < self.size_um[0] and row * side < self.size_um[1]


@dataclass
class _Held:
    """An open slide; whoever reads it holds the lock, as one handle serves one reader."""

    slide: Slide
    geometry: Geometry
    tiles: SlideTiles | None
    stack: ExitStack
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_closed: bool = False


class SlideShelf:
    """Open slides by number: those used last stay open up to a limit, and their squares in memory up to another."""

    def __init__(self, catalogue: Catalogue, *, most_open: int, memory_bytes: int) -> None:
        self._catalogue, self._most = catalogue, most_open
        self._held: OrderedDict[int, _Held] = OrderedDict()
        self._lock = threading.Lock()
        self._pictures: cachetools.LRUCache = cachetools.LRUCache(memory_bytes, getsizeof=len)
        self._pictures_lock = threading.Lock()

    @property
    def n_open(self) -> int:
        """How many slides are open."""
        return len(self._held)

    def close(self) -> None:
        """Close all slides."""
        with self._lock:
            while self._held:
                _close(self._held.popitem()[1])

    def geometry(self, number: int) -> Geometry:
        """Return size, scale and levels of a slide.

        Raises:
            SlideError: there is no file of it, or it cannot be opened.
        """
        return self._open(number).geometry  # a value: nobody who reads the slide is waited for

    def tiles(self, number: int) -> SlideTiles | None:
        """Return what tiling wrote of a slide; None where there is nothing whole."""
        return self._open(number).tiles

    def square(self, number: int, level: int, column: int, row: int) -> bytes:
        """Return a square of a slide as JPEG; beyond the slide's edge it is background.

        Raises:
            SlideError: the slide, or this part of it, cannot be read. It is never replaced by white.
        """

        def drawn(held: _Held) -> UInt8[ndarray, "h w 3"]:
            side = held.geometry.square_um(level)
            size = side / held.geometry.mpp[0], side / held.geometry.mpp[1]
            return held.slide.read_area((column * size[0], row * size[1]), size, (SQUARE_PX, SQUARE_PX))

        return self._picture((number, level, column, row), drawn)

    def crop(self, number: int, corner_um: tuple[float, float], side_um: float) -> bytes:
        """Return the picture of a tile as JPEG.

        Raises:
            SlideError: it cannot be read.
        """

        def drawn(held: _Held) -> UInt8[ndarray, "h w 3"]:
            x, y = (round(at / mpp) for at, mpp in zip(corner_um, held.geometry.mpp, strict=True))
            return read_tile(held.slide, x, y, tile_um=side_um, tile_px=CROP_PX)

        return self._picture((number, *corner_um, side_um), drawn)

    def _picture(self, key: tuple[float, ...], drawn: Callable[[_Held], UInt8[ndarray, "h w 3"]]) -> bytes:
        with self._pictures_lock:
            known = self._pictures.get(key)
        if known is not None:
            return bytes(known)
        with self._reading(int(key[0])) as held:
            try:
                pixels = drawn(held)
            except SlideError:
                held.slide.reopen()  # after one unreadable region OpenSlide refuses every other
                raise
        picture = _jpeg(pixels)
        with self._pictures_lock:
            if len(picture) <= self._pictures.maxsize:
                self._pictures[key] = picture
        return picture

    @contextmanager
    def _reading(self, number: int) -> Iterator[_Held]:
        while True:
            held = self._open(number)
            with held.lock:
                if held.is_closed:  # put away between the two lines above
                    continue
                yield held
                return

    def _open(self, number: int) -> _Held:
        with self._lock:
            if number in self._held:
                self._held.move_to_end(number)
                return self._held[number]
        listed = self._catalogue.slide(number)
        if listed is None or listed.path is None:
            raise SlideError("there is no file of this slide", "give the folder with --slides")
        opened = _opened(self._catalogue, listed)
        with self._lock:
            if number in self._held:  # another request was faster
                _close(opened)
                return self._held[number]
            self._held[number] = opened
            put_away = [self._held.popitem(last=False)[1] for _ in range(len(self._held) - self._most)]
        for old in put_away:
            _close(old)
        return opened


def _close(held: _Held) -> None:
    with held.lock:
        held.is_closed = True
        held.stack.close()


def _opened(catalogue: Catalogue, listed: ListedSlide) -> _Held:
    assert listed.path is not None
    tiles = tiles_if_whole(catalogue.study.tile_file(listed.slide_id))
    mpp = None if tiles is None else (tiles.mpp_x, tiles.mpp_y)
    with ExitStack() as stack:
        slide = stack.enter_context(open_slide(listed.path, mpp=mpp, mpp_source="tile file"))
        geometry = geometry_of(slide)
        return _Held(slide=slide, geometry=geometry, tiles=tiles, stack=stack.pop_all())
    raise AssertionError("opening raises or returns")


def geometry_of(slide: Slide) -> Geometry:
    """Return the geometry of an open slide."""
    mpp = slide.mpp_x, slide.mpp_y
    size = slide.width * mpp[0], slide.height * mpp[1]
    left, top, width, height = slide.bounds
    finest = min(mpp)
    n_levels = 1 + max(0, math.ceil(math.log2(max(size) / (SQUARE_PX * finest)) - 1e-9))
    return Geometry(
        size_um=size, mpp=mpp, scanned_um=(left * mpp[0], top * mpp[1], width * mpp[0], height * mpp[1]),
        origin_px=slide.outline_origin, finest_um=finest, n_levels=n_levels,
    )  # fmt: skip


def _jpeg(pixels: UInt8[ndarray, "h w 3"]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
