"""A strip of patches before and after the colour map, for a person to judge a slide's colours at a glance."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, UInt8

from preprocessing.colour.cielab import lab
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
        patches: RGB patches, such as those the fit was made on; at most MAX_PATCHES of them are shown, each by its middle
            PATCH_PX pixels: those whose colours differ most, so that every kind of tissue is seen, from pale to dark.
        to_target: the slide's map; None leaves the colours, and one row is returned.

    Raises:
        ValueError: there is no patch.
    """
    if not patches:
        raise ValueError("a colour strip needs at least one patch")
    side = min(PATCH_PX, *(length for patch in patches for length in patch.shape[:2]))
    before = _unlike([_middle(patch, side) for patch in patches])
    n_shown = len(before)
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


def _unlike(
    pictures: Sequence[UInt8[np.ndarray, "side side 3"]],
) -> UInt8[np.ndarray, "n side side 3"]:
    """Choose pictures farthest from each other in colour, beginning with the most ordinary one; from pale to dark."""
    looks = np.stack([_look(picture) for picture in pictures])
    chosen = [int(np.abs(looks - np.median(looks, axis=0)).sum(axis=1).argmin())]
    while len(chosen) < min(MAX_PATCHES, len(pictures)):
        gap = np.linalg.norm(looks[:, None] - looks[chosen], axis=2).min(axis=1)
        gap[chosen] = -1.0
        chosen.append(int(gap.argmax()))
    return np.stack([pictures[index] for index in sorted(chosen, key=lambda index: -looks[index, [0, 3, 6]].sum())])


def _look(picture: UInt8[np.ndarray, "side side 3"]) -> Float64[np.ndarray, " 9"]:
    """Return what colours a picture has: tenth, half and nine tenths of L, a and b."""
    return np.percentile(lab(picture[::4, ::4].reshape(-1, 3) / 255), (10, 50, 90), axis=0).ravel()
