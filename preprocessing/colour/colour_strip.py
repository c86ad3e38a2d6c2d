"""A strip of patches before and after the colour map, for a person to judge a slide's colours at a glance."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from preprocessing.colour.colour_formula import StainMap
from preprocessing.colour.colour_map import apply_map

MAX_PATCHES = 8
PATCH_PX = 128
GAP_PX = 4
GAP_GREY = 255


def colour_strip(
    patches: Sequence[UInt8[np.ndarray, "_ _ 3"]], to_target: StainMap | None
) -> UInt8[np.ndarray, "h w 3"]:
    """Return patches side by side, as scanned above and mapped below.

    Args:
        patches: RGB patches, such as those the fit was made on; at most MAX_PATCHES of them, spread evenly, are shown,
            each by its middle PATCH_PX pixels.
        to_target: the slide's map; None leaves the colours, and one row is returned.

    Raises:
        ValueError: there is no patch.
    """
    if not patches:
        raise ValueError("a colour strip needs at least one patch")
    n_shown = min(MAX_PATCHES, len(patches))
    shown = [patches[(2 * index + 1) * len(patches) // (2 * n_shown)] for index in range(n_shown)]
    side = min(PATCH_PX, *(length for patch in shown for length in patch.shape[:2]))
    before = np.stack([_middle(patch, side) for patch in shown])
    rows = [before] if to_target is None else [before, apply_map(before, to_target)]
    step = side + GAP_PX
    strip = np.full((len(rows) * step - GAP_PX, n_shown * step - GAP_PX, 3), GAP_GREY, np.uint8)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            strip[row * step : row * step + side, column * step : column * step + side] = picture
    return strip


def _middle(patch: UInt8[np.ndarray, "_ _ 3"], side: int) -> UInt8[np.ndarray, "_ _ 3"]:
    top, left = ((length - side) // 2 for length in patch.shape[:2])
    return patch[top : top + side, left : left + side]
