"""A closer look at every tile of a slide: blocks of tiles, read at one scale on all slides, measured and let go."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float32, Int64

from common.failures import SlideError
from preprocessing.quality.artefacts import QUALITY_MPP
from preprocessing.quality.measures import COLUMNS, MARGIN_UM, measure_tiles
from preprocessing.reading.slide import Slide
from preprocessing.tissue.segmentation import Segmentation

BLOCK_UM = 1536.0  # side of the corners of a block; with tile and margin about 1,050 px

Columns = dict[str, Float32[np.ndarray, " n"]]


def measure_slide(
    slide: Slide, coords: Int64[np.ndarray, "n 2"], tissue: Segmentation, *, tile_um: float
) -> tuple[Columns, Bool[np.ndarray, " n"]]:
    """Return the quality columns of a slide's tiles, and which tiles cannot be read (their columns are NaN, shares 0).

    Args:
        slide: the open slide.
        coords: top left corners of the tiles, level-0 pixels.
        tissue: its segmentation.
        tile_um: side of a tile, µm.
    """
    columns: Columns = {name: np.full(len(coords), np.nan, np.float32) for name in COLUMNS}
    is_unreadable = np.zeros(len(coords), dtype=bool)
    for block in _blocks(coords, slide):
        try:
            parts = [(block, _measured(slide, coords[block], tissue, tile_um, MARGIN_UM))]
        except SlideError:
            slide.reopen()
            parts = []
            for index in block.tolist():  # the margin may be what cannot be read: each tile alone, without it
                one = np.array([index], dtype=np.int64)
                try:
                    parts.append((one, _measured(slide, coords[one], tissue, tile_um, 0.0)))
                except SlideError:
                    slide.reopen()
                    is_unreadable[index] = True
        for indices, measured in parts:
            for name in COLUMNS:
                columns[name][indices] = measured[name]
    return columns, is_unreadable


def _blocks(coords: Int64[np.ndarray, "n 2"], slide: Slide) -> Iterator[Int64[np.ndarray, " k"]]:
    """Yield the indices of tiles whose corners lie in one square, square after square."""
    keys = (coords * np.array([slide.mpp_x, slide.mpp_y]) // BLOCK_UM).astype(np.int64)
    order = np.lexsort((keys[:, 0], keys[:, 1]))
    ends = np.flatnonzero((np.diff(keys[order], axis=0) != 0).any(axis=1)) + 1
    yield from np.split(order, ends) if len(order) else ()


def _measured(
    slide: Slide, coords: Int64[np.ndarray, "k 2"], tissue: Segmentation, tile_um: float, margin_um: float
) -> Columns:
    """Read one block and measure its tiles."""
    mpp = np.array([slide.mpp_x, slide.mpp_y])
    slide_um = np.array([slide.width, slide.height]) * mpp
    first = np.maximum(coords.min(axis=0) * mpp - margin_um, 0.0)
    last = np.minimum(
        coords.max(axis=0) * mpp + tile_um + margin_um, np.maximum(slide_um, coords.max(axis=0) * mpp + tile_um)
    )
    width, height = (max(1, round(float(side))) for side in (last - first) / QUALITY_MPP)
    left, top = (float(value) for value in first / mpp)
    across, down = (float(value) for value in (last - first) / mpp)
    block = slide.read_area((left, top), (across, down), (width, height))
    rows, columns = (
        np.minimum(((start + (np.arange(n) + 0.5) * QUALITY_MPP) / side * n_mask).astype(int), n_mask - 1)
        for start, n, side, n_mask in zip(
            first[::-1], (height, width), slide_um[::-1], tissue.is_tissue.shape, strict=True
        )
    )
    corners_px = (coords * mpp - first) / QUALITY_MPP
    return measure_tiles(
        block, corners_px, tile_um / QUALITY_MPP, glass=tissue.glass, is_tissue=tissue.is_tissue[np.ix_(rows, columns)]
    )
