"""The tile grid: squares of one size in micrometres on every slide, and how much tissue each holds."""

import numpy as np
from jaxtyping import Bool, Float, Int64


def tile_grid(
    is_tissue: Bool[np.ndarray, "h w"],
    *,
    slide_px: tuple[int, int],
    mpp: tuple[float, float],
    tile_um: float,
    min_tissue: float,
) -> tuple[Int64[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
    """Lay a grid over a slide and keep the tiles with enough tissue.

    Args:
        is_tissue: mask of the whole slide at any scale.
        slide_px: width and height of level 0.
        mpp: µm a pixel of level 0 on x and y.
        tile_um: side of a tile, µm.
        min_tissue: least share of tissue of a kept tile, 0 to 1.

    Returns:
        Top left corners (x, y) in level-0 pixels, row by row, and the tissue share of each. Only whole tiles are made.
        Corners are the nearest pixel to multiples of `tile_um`, so no error adds up along the slide.
    """
    step_x, step_y = tile_um / mpp[0], tile_um / mpp[1]
    columns = np.arange(int(slide_px[0] / step_x + 1e-9)) * step_x
    rows = np.arange(int(slide_px[1] / step_y + 1e-9)) * step_y
    corners_x, corners_y = np.round(columns).astype(np.int64), np.round(rows).astype(np.int64)
    corners_x = corners_x[corners_x + step_x <= slide_px[0] + 0.5]
    corners_y = corners_y[corners_y + step_y <= slide_px[1] + 0.5]
    scale_x, scale_y = is_tissue.shape[1] / slide_px[0], is_tissue.shape[0] / slide_px[1]
    integral = np.pad(is_tissue.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    left, right = corners_x * scale_x, (corners_x + step_x) * scale_x
    top, bottom = corners_y * scale_y, (corners_y + step_y) * scale_y
    area = _between(integral, top, bottom, left, right)
    share = np.clip(area / (step_x * scale_x * step_y * scale_y), 0, 1)
    y, x = np.nonzero((share >= min_tissue) & (share > 0))
    return np.stack([corners_x[x], corners_y[y]], axis=1), share[y, x]


def _between(
    integral: Float[np.ndarray, "H W"],
    top: Float[np.ndarray, " r"],
    bottom: Float[np.ndarray, " r"],
    left: Float[np.ndarray, " c"],
    right: Float[np.ndarray, " c"],
) -> Float[np.ndarray, "r c"]:
    """Return the exact sum over boxes with fractional edges (the integral is linear inside a pixel)."""
    return (
        _at(integral, bottom, right)
        - _at(integral, top, right)
        - _at(integral, bottom, left)
        + _at(integral, top, left)
    )


def _at(
    integral: Float[np.ndarray, "H W"], rows: Float[np.ndarray, " r"], columns: Float[np.ndarray, " c"]
) -> Float[np.ndarray, "r c"]:
    rows, columns = np.clip(rows, 0, integral.shape[0] - 1), np.clip(columns, 0, integral.shape[1] - 1)
    y, x = np.minimum(rows.astype(int), integral.shape[0] - 2), np.minimum(columns.astype(int), integral.shape[1] - 2)
    v, u = (rows - y)[:, None], (columns - x)[None, :]
    upper = integral[np.ix_(y, x)] * (1 - u) + integral[np.ix_(y, x + 1)] * u
    lower = integral[np.ix_(y + 1, x)] * (1 - u) + integral[np.ix_(y + 1, x + 1)] * u
    return upper * (1 - v) + lower * v
