"""Where the fields of a tile image lie: squares of one side, spread evenly over the whole image."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int64


def field_side(width: int, height: int, field_px: int) -> int:
    """Return the side of an image's fields, in its own pixels: the whole shorter side where that is less than a field's."""
    return min(field_px, width, height)


def field_corners(width: int, height: int, side: int) -> Int64[np.ndarray, "n 2"]:
    """Return the corners (x, y) of an image's fields, row by row.

    Along each side there are as many fields as fit, and one more where at least half of it would be new: neighbours then
    overlap evenly, by half a field at most. What is left over lies evenly before, between and behind the fields.

    Args:
        width: of the image, pixels, at least `side`.
        height: likewise.
        side: of a field, pixels.
    """
    return np.array([(x, y) for y in _starts(height, side) for x in _starts(width, side)], dtype=np.int64)


def _starts(length: int, side: int) -> list[int]:
    whole, rest = divmod(length, side)
    n = whole + (2 * rest >= side)
    if n * side > length:
        return [round(index * (length - side) / (n - 1)) for index in range(n)]
    gap = (length - n * side) / (n + 1)
    return [round(gap + index * (side + gap)) for index in range(n)]


def unused_pixels(width: int, height: int, side: int) -> int:
    """Return how many pixels of an image lie in none of its fields."""
    return width * height - _covered(width, side) * _covered(height, side)


def _covered(length: int, side: int) -> int:
    is_in: Bool[np.ndarray, " length"] = np.zeros(length, dtype=bool)
    for start in _starts(length, side):
        is_in[start : start + side] = True
    return int(is_in.sum())
