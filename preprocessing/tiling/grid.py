"""The tile grid: squares of one size in micrometres on every slide, how much tissue each holds, and of which piece."""

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Int64, Integer

MAX_BEYOND_PX = 0.5  # a corner is rounded to a whole pixel, so a last tile may end half of one beyond the slide
DECIMALS = 9  # of a share, which is a sum of parts of pixels: a full tile would have 1 less some of the last digits


def tile_grid(
    is_tissue: Bool[np.ndarray, "h w"],
    *,
    slide_px: tuple[int, int],
    mpp: tuple[float, float],
    tile_um: float,
    min_tissue: float,
    stride_um: float | None = None,
) -> tuple[Int64[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
    """Lay a grid over a slide and keep the tiles with enough tissue.

    Args:
        is_tissue: mask of the whole slide at any scale.
        slide_px: width and height of level 0.
        mpp: µm a pixel of level 0 on x and y.
        tile_um: side of a tile, µm.
        min_tissue: least share of tissue of a kept tile, 0 to 1.
        stride_um: from a tile to the next, µm; by default tiles lie side by side.

    Returns:
        Top left corners (x, y) in level-0 pixels, row by row, and the tissue share of each. Only whole tiles are made.
        Corners are the nearest pixel to multiples of the stride, so no error adds up along the slide.
    """
    side_x, side_y = tile_um / mpp[0], tile_um / mpp[1]
    stride = tile_um if stride_um is None else stride_um
    corners_x = _corners(slide_px[0], side_x, stride / mpp[0])
    corners_y = _corners(slide_px[1], side_y, stride / mpp[1])
    share = box_shares(is_tissue, corners_x, corners_y, side=(side_x, side_y), slide_px=slide_px).round(DECIMALS)
    y, x = np.nonzero((share >= min_tissue) & (share > 0))
    return np.stack([corners_x[x], corners_y[y]], axis=1), share[y, x]


def _corners(length_px: int, side: float, step: float) -> Int64[np.ndarray, " k"]:
    count = int((length_px - side) / step + 1 + 1e-9) if length_px + MAX_BEYOND_PX >= side else 0
    corners = np.round(np.arange(count + 1) * step).astype(np.int64)
    return corners[corners + side <= length_px + MAX_BEYOND_PX]


def _ends(corners: Int64[np.ndarray, " k"], side: float, length_px: int) -> Float[np.ndarray, " k"]:
    """Return where boxes end; what rounding of the corner puts beyond the slide does not count, a box laid over its edge does."""
    ends = corners + side
    return np.where(ends <= length_px + MAX_BEYOND_PX, np.minimum(ends, length_px), ends)


def box_shares(
    mask: Bool[np.ndarray, "h w"],
    corners_x: Int64[np.ndarray, " c"],
    corners_y: Int64[np.ndarray, " r"],
    *,
    side: tuple[float, float],
    slide_px: tuple[int, int],
) -> Float[np.ndarray, "r c"]:
    """Return the exact share of each box (every corner_y with every corner_x) that a mask of the whole slide covers.

    One row of boxes at a time: edges that cut a mask pixel count their part of it, and memory does not grow with the mask.
    """
    scale_x, scale_y = mask.shape[1] / slide_px[0], mask.shape[0] / slide_px[1]
    left, right = corners_x * scale_x, _ends(corners_x, side[0], slide_px[0]) * scale_x
    tops, ends = corners_y * scale_y, _ends(corners_y, side[1], slide_px[1]) * scale_y
    shares = np.zeros((len(corners_y), len(corners_x)))
    for row, (top, end) in enumerate(zip(tops.tolist(), ends.tolist(), strict=True)):
        first, last = int(top), min(int(np.ceil(end)), mask.shape[0])
        band = mask[first:last]
        if not band.any():
            continue
        places = np.arange(first, last)
        weights = np.minimum(places + 1, end) - np.maximum(places, top)
        profile = np.concatenate([[0.0], np.cumsum(weights @ band)])
        shares[row] = np.interp(right, np.arange(len(profile)), profile) - np.interp(
            left, np.arange(len(profile)), profile
        )
    return np.clip(shares / np.outer(ends - tops, right - left), 0, 1)


def shares_of_tiles(
    mask: Bool[np.ndarray, "h w"],
    coords: Int64[np.ndarray, "n 2"],
    *,
    side: tuple[float, float],
    slide_px: tuple[int, int],
) -> Float32[np.ndarray, " n"]:
    """Return the share of each given tile that a mask of the whole slide covers."""
    corners_x, column = np.unique(coords[:, 0], return_inverse=True)
    corners_y, row = np.unique(coords[:, 1], return_inverse=True)
    return box_shares(mask, corners_x, corners_y, side=side, slide_px=slide_px)[row, column].astype(np.float32)


def piece_of_tiles(
    labels: Integer[np.ndarray, "h w"],
    coords: Int64[np.ndarray, "n 2"],
    *,
    side: tuple[float, float],
    slide_px: tuple[int, int],
) -> Int32[np.ndarray, " n"]:
    """Return the number of the piece that covers most of each tile; 0 where none reaches it.

    Args:
        labels: a mask of the whole slide with the numbers of pieces, 0 outside.
        coords: top left corners, level-0 pixels.
        side: width and height of a tile, level-0 pixels.
        slide_px: width and height of level 0.
    """
    scale = np.array([labels.shape[1] / slide_px[0], labels.shape[0] / slide_px[1]])
    start = np.floor(coords * scale).astype(int)
    stop = np.maximum(np.ceil((coords + np.array(side)) * scale).astype(int), start + 1)
    pieces = np.zeros(len(coords), np.int32)
    for index, ((left, top), (right, bottom)) in enumerate(zip(start.tolist(), stop.tolist(), strict=True)):
        counts = np.bincount(labels[top:bottom, left:right].ravel())
        if len(counts) > 1:
            pieces[index] = 1 + counts[1:].argmax()
    return pieces
