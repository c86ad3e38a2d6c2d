"""The whole slide at about one scale, read once in blocks of bounded size; what cannot be read is marked, not white.

Made for speed: a level is read where its pixels lie (no fractional offset, which makes OpenSlide blend neighbours and
costs twice the time), and shrunk by whole factors where that comes near enough to the scale asked.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, UInt8

from common.failures import SlideError

if TYPE_CHECKING:
    from PIL.Image import Image

    from preprocessing.reading.slide import Slide

BLOCK_PX = 2048  # side of a read, pixels of the level read
NEAR_ENOUGH = 1.05  # a scale this far from the one asked serves as well
MAX_UNREADABLE = 0.2  # share of a slide; above it, the file is taken for truncated, and the slide is a failure
UNREADABLE_FILL = 255


@dataclass(frozen=True)
class Survey:
    """An overview, the pixels of it that could not be read (filled with 255), and its scale on x and y."""

    image: UInt8[np.ndarray, "h w 3"]
    is_unreadable: Bool[np.ndarray, "h w"]
    mpp: tuple[float, float]

    @property
    def unreadable_share(self) -> float:
        """Share of the slide that cannot be read, 0 to 1."""
        return float(self.is_unreadable.mean())


@dataclass(frozen=True)
class Block:
    """An area of a level: left, top, width, height in its pixels."""

    left: int
    top: int
    width: int
    height: int


def survey_slide(slide: Slide, mpp: float) -> Survey:
    """Read a slide at `mpp`, or at a whole multiple of a level's scale that is within 5 % of it.

    Raises:
        SlideError: more than a fifth of the slide cannot be read.
    """
    wanted = [
        max(1, round(side * of_pixel / mpp))
        for side, of_pixel in ((slide.width, slide.mpp_x), (slide.height, slide.mpp_y))
    ]
    level = slide.level_for(min(slide.width / wanted[0], slide.height / wanted[1]))
    level_px = slide.level_dimensions[level]
    factor = _whole_factor(level_px, wanted)
    size = wanted if factor is None else [math.ceil(side / by) for side, by in zip(level_px, factor, strict=True)]
    image = np.empty((size[1], size[0], 3), np.uint8)
    is_unreadable = np.zeros((size[1], size[0]), bool)
    n_lost = 0
    for block in _blocks(slide, level, factor or (1, 1)):
        for part, pixels in _read_parts(slide, level, block, factor or (1, 1)):
            area = _area(part, factor, level_px, size)
            if isinstance(pixels, SlideError):
                image[area], is_unreadable[area] = UNREADABLE_FILL, True
                n_lost += part.width * part.height
                _refuse_if_too_much(n_lost / (level_px[0] * level_px[1]), pixels)
            else:
                image[area] = _shrunk(pixels, factor, area)
    scale = (slide.width * slide.mpp_x / size[0], slide.height * slide.mpp_y / size[1])
    return Survey(image, is_unreadable, scale)


def _whole_factor(level_px: tuple[int, int], wanted: list[int]) -> tuple[int, int] | None:
    """Return by how many pixels of the level to shrink on x and y, or None when no whole number comes near."""
    ratios = [have / want for have, want in zip(level_px, wanted, strict=True)]
    factors = [max(1, round(ratio)) for ratio in ratios]
    is_near = all(1 / NEAR_ENOUGH <= ratio / by <= NEAR_ENOUGH for ratio, by in zip(ratios, factors, strict=True))
    return (factors[0], factors[1]) if is_near else None


def _blocks(slide: Slide, level: int, unit: tuple[int, int]) -> Iterator[Block]:
    """Cut a level into blocks whose corners are whole pixels of the level and of level 0, along the file's tiles."""
    width, height = slide.level_dimensions[level]
    downsample, tile = slide.level_downsamples[level], slide.piece_px(level)
    if tile[0] >= width > 2 * BLOCK_PX:  # strips as wide as the image: read to their full width
        across, down = width, max(1, BLOCK_PX * BLOCK_PX // width)
    else:
        across = down = BLOCK_PX
    lefts = _cuts(width, across, tile[0], unit[0], downsample)
    for top, bottom in _pairs(_cuts(height, down, tile[1], unit[1], downsample)):
        for left, right in _pairs(lefts):
            yield Block(left, top, right - left, bottom - top)


def _cuts(length: int, most: int, tile: int, unit: int, downsample: float) -> list[int]:
    """Return where to cut: multiples of `unit` about `most` apart that are borders of tiles and pixels of level 0.

    Where a level's downsample is no whole number, few of its pixels begin on a pixel of level 0, and OpenSlide takes up
    to seven times as long for all others. There the blocks may be twice as long, so that most levels are one block.
    """
    is_whole = downsample == round(downsample)
    least, most = (most // 2, max(most, unit)) if is_whole else (most, max(2 * most, unit))
    cuts = [0]
    while cuts[-1] + most < length:
        at = np.arange(max(cuts[-1] + least, cuts[-1] + 1) // unit + 1, (cuts[-1] + most) // unit + 1) * unit
        offset = np.abs(np.round(at * downsample) / downsample - at)
        is_exact = offset < 1 / 1024 if (offset < 1 / 1024).any() else offset < 1  # finer than the renderer resolves
        on_tile = is_exact & (at % tile == 0)
        cuts.append(int(at[on_tile if on_tile.any() else is_exact][-1]))
    return [*cuts, length]


def _pairs(cuts: list[int]) -> Iterator[tuple[int, int]]:
    return itertools.pairwise(cuts)


def _read_parts(
    slide: Slide, level: int, block: Block, unit: tuple[int, int]
) -> Iterator[tuple[Block, Image | SlideError]]:
    """Yield the block with its pixels; or its quarters, down to about a tile of the file, then the error."""
    try:
        pixels = slide.read_level(level, (block.left, block.top), (block.width, block.height))
    except SlideError as error:
        slide.reopen()
        tile = slide.piece_px(level)
        columns = _halves(block.left, block.width, tile[0], unit[0])
        rows = _halves(block.top, block.height, tile[1], unit[1])
        if len(columns) == len(rows) == 1:
            yield block, error
            return
        for top, height in rows:
            for left, width in columns:
                yield from _read_parts(slide, level, Block(left, top, width, height), unit)
    else:
        yield block, pixels


def _halves(start: int, length: int, tile: int, unit: int) -> list[tuple[int, int]]:
    """Cut a stretch in two at a multiple of `unit`; one that is about a tile of the file, or a unit, stays whole.

    Where the file's tiles do not begin on units, a border unit has parts of two tiles, so quarters of tiles are tried.
    """
    step = tile if tile % unit == 0 else max(unit, round(tile / 4 / unit) * unit)
    cut = round((start + length / 2) / step) * step
    if length <= step or not start < cut < start + length:
        cut = (start // step + 1) * step
    return [(start, cut - start), (cut, start + length - cut)] if start < cut < start + length else [(start, length)]


def _area(
    part: Block, factor: tuple[int, int] | None, level_px: tuple[int, int], size: list[int]
) -> tuple[slice, slice]:
    """Return the rows and columns of the overview that a part of the level covers, none twice and none left out."""
    bounds = []
    for start, length, axis in ((part.top, part.height, 1), (part.left, part.width, 0)):
        if factor is not None:
            bounds.append(slice(start // factor[axis], math.ceil((start + length) / factor[axis])))
        else:
            scale = size[axis] / level_px[axis]
            bounds.append(slice(round(start * scale), round((start + length) * scale)))
    return bounds[0], bounds[1]


def _shrunk(pixels: Image, factor: tuple[int, int] | None, area: tuple[slice, slice]) -> UInt8[np.ndarray, "h w 3"]:
    from PIL.Image import Resampling

    size_px = (area[1].stop - area[1].start, area[0].stop - area[0].start)
    if factor is None:
        if 0 in size_px:
            return np.empty((size_px[1], size_px[0], 3), np.uint8)
        return np.asarray(pixels.resize(size_px, Resampling.BOX))  # averages; half the cost of bilinear
    if factor != (1, 1):
        pixels = pixels.reduce(factor)
    return np.asarray(pixels)


def _refuse_if_too_much(share: float, error: SlideError) -> None:
    if share > MAX_UNREADABLE:
        raise SlideError(f"more than {MAX_UNREADABLE:.0%} of the slide cannot be read: {error.reason}", error.remedy)
