"""Open fat, clear ground and shade on an overview: walls that enclose glass belong to tissue, stray light and shadows do not.

Fat cells are 50 to 120 µm wide and empty after processing; what is left are walls a few µm thick, with gaps. A lumen or cleft
beside dense tissue is as empty, but has no walls in it; light scattered from beside gives it the density of pale tissue.
"""

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from preprocessing.tissue.density_bytes import OD_STEP, Densities, above, below, scaled, up_to
from preprocessing.tissue.mask_shapes import closed, small_parts

WALL_OD = 0.03  # distance to the glass: a wall of 3 µm in a pixel of 8 µm
THICK_UM = 24.0  # what a disk of this radius fits into is no wall
CELL_RADIUS_UM = 60.0  # of the largest fat cells
AROUND_UM = 200.0  # over which walls are counted: three or four cells
MIN_WALL_SHARE = 0.12  # of that square
# distance to the glass; stray light beside dense tissue has a density of 0.06 to 0.09 in each channel, of which 0.58 each count
VEIL_OD = 0.16
MAX_VEIL_CHROMA = 0.06
MAX_VEIL_TEXTURE = 0.012  # over about 56 µm; pale myxoid ground has more
DENSE_OD, DENSE_UM = 0.35, 200.0  # mean density of a square that scatters light
SCATTER_UM = 400.0  # as far as it does
STRAY_OD = 0.05  # glass without stray light has less, and what borders it is tissue
RIM_UM = 36.0  # as far from dense tissue nothing is smooth: texture looks over 28 µm and its mean over one pixel more
MIN_RIMMED_MM2 = 0.05  # of a lumen that has a rim: walls beside the inside of fat cells are none
VEIL_RADIUS_UM = 24.0  # a smaller clear place is not told from the gaps of pale tissue
# a shadow takes as much of each colour: what it has of chroma is rounding and a tint; H&E has half its density and more
MAX_SHADE_CHROMA, MAX_SHADE_TINT, MAX_SHADE_OD = 0.01, 0.15, 0.8
MAX_SHADE_TEXTURE = 0.02  # a shadow grows over a tenth of a millimetre


def open_fat(distance: UInt8[np.ndarray, "h w"], mpp: float) -> Bool[np.ndarray, "h w"]:
    """Return where thin walls enclose empty cells: the walls with all between them.

    Args:
        distance: how far each pixel is from the glass, in OD_STEP.
        mpp: µm a pixel.
    """
    wall = above(distance, WALL_OD).view(np.uint8)
    thick = cv2.morphologyEx(wall, cv2.MORPH_OPEN, _square(THICK_UM / mpp))
    thin = cv2.subtract(wall, cv2.dilate(thick, _square(THICK_UM / 2 / mpp)))
    side = 2 * max(1, round(AROUND_UM / 2 / mpp)) + 1
    share = cv2.blur(thin * np.uint8(200), (side, side), borderType=cv2.BORDER_REFLECT_101)
    is_walled = share >= round(200 * MIN_WALL_SHARE)
    return closed((thin > 0) & is_walled, CELL_RADIUS_UM / mpp) & is_walled


def veil(
    densities: Densities, distance: UInt8[np.ndarray, "h w"], unevenness: UInt8[np.ndarray, "h w"], mpp: float
) -> Bool[np.ndarray, "h w"]:
    """Return clear ground beside dense tissue: hardly any density or colour, and smooth, over more than VEIL_RADIUS_UM.

    A lumen lit by stray light comes with its rim: the texture measured there is that of the tissue beside it.
    """
    uneven = cv2.blur(unevenness, (3, 3))
    is_clear = below(distance, VEIL_OD) & below(densities.chroma, MAX_VEIL_CHROMA)
    side = 2 * max(1, round(DENSE_UM / 2 / mpp)) + 1
    dense = above(cv2.blur(distance, (side, side)), DENSE_OD)
    is_clear &= cv2.dilate(dense.view(np.uint8), _square(SCATTER_UM / mpp)).view(bool)
    is_smooth = is_clear & up_to(uneven, MAX_VEIL_TEXTURE)
    core = cv2.morphologyEx(is_smooth.view(np.uint8), cv2.MORPH_OPEN, _square(VEIL_RADIUS_UM / mpp))
    is_lit = core.view(bool) & above(distance, STRAY_OD)
    large = (is_lit & ~small_parts(is_lit, MIN_RIMMED_MM2, mpp)).view(np.uint8)
    if not large.any():
        return core.view(bool)
    return core.view(bool) | (cv2.dilate(large, _square(RIM_UM / mpp)).view(bool) & is_clear)


def shade(densities: Densities, unevenness: UInt8[np.ndarray, "h w"], mpp: float) -> Bool[np.ndarray, "h w"]:
    """Return shadows: grey and smooth over more than VEIL_RADIUS_UM, as the edge of a cover slip or of a scan throws them.

    Pieces are judged as a whole by their colour; a shadow that the closing would join to one is not judged by itself.
    """
    most = cv2.add(scaled(densities.strongest, MAX_SHADE_TINT), MAX_SHADE_CHROMA / OD_STEP)
    is_dense = above(densities.strongest, STRAY_OD)
    is_grey = densities.chroma <= most
    if not (is_grey & is_dense).any():
        return np.zeros(is_grey.shape, dtype=bool)
    is_grey &= up_to(densities.strongest, MAX_SHADE_OD)
    is_grey &= up_to(unevenness, MAX_SHADE_TEXTURE)
    core = cv2.morphologyEx(is_grey.view(np.uint8), cv2.MORPH_OPEN, _square(VEIL_RADIUS_UM / mpp))
    return core.view(bool) & is_dense


def _square(radius: float) -> UInt8[np.ndarray, "n n"]:
    side = 2 * max(1, round(radius)) + 1
    return np.ones((side, side), np.uint8)
