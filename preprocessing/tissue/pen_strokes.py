"""Strokes of pen on an overview, in bytes: colours of ink that hang together, with their faint rims and a margin."""

import cv2
import numpy as np
from jaxtyping import UInt8

from preprocessing.tissue.density_bytes import Densities, above, scaled, texture
from preprocessing.tissue.mask_shapes import Mask, dilated, disk, small_parts, touching

MIN_INK_MM2, MIN_RED_INK_MM2 = 0.004, 0.1
INK_MARGIN_UM = 24.0
RED_INK = (0.14, 0.6)  # red pen: most red, least blue, of what it absorbs of green; eosin takes less blue


def find_ink(densities: Densities, mpp: float) -> Mask:
    """Find pen: colours that haematoxylin and eosin never make, even black, and smooth red over a large area."""
    if not _has_ink_colour(densities):
        return np.zeros(densities.red.shape, dtype=bool)
    sure = _is_sure_ink(densities)
    if sure.any():
        sure &= ~small_parts(sure, MIN_INK_MM2, mpp)
    sure |= _red_ink(densities, mpp)
    if not sure.any():
        return sure
    # the faint rim of a stroke, and a margin
    red, green = densities.red, densities.green
    is_even = _weakest(densities) > scaled(densities.strongest, 0.52)
    has_colour = (red > scaled(green, 1.08)) | is_even | (red < scaled(green, RED_INK[0]))
    is_rim = above(densities.strongest, 0.1) & has_colour
    near = dilated(sure, 3 * INK_MARGIN_UM / mpp)
    grown = touching(sure | (is_rim & near), sure)
    return dilated(grown, INK_MARGIN_UM / mpp)


def _has_ink_colour(densities: Densities) -> bool:
    """Say whether every second pixel shows a colour of ink: a stroke has hundreds, most slides have none."""
    planes = (densities.red, densities.green, densities.blue, densities.strongest, densities.chroma)
    sample = Densities(*(np.ascontiguousarray(plane[::2, ::2]) for plane in planes))
    return bool((_is_sure_ink(sample) | _is_red(sample)).any())


def _is_sure_ink(densities: Densities) -> Mask:
    is_strong = above(densities.strongest, 0.35)
    is_blue_or_green = is_strong & (densities.red > scaled(densities.green, 1.15))  # no stain takes more red than green
    # haematoxylin and eosin leave one channel below 0.55 of the strongest; black and dark violet ink do not
    weakest = _weakest(densities)
    return is_blue_or_green | (above(weakest, 0.6) & (weakest > scaled(densities.strongest, 0.62)))


def _is_red(densities: Densities) -> Mask:
    is_strong = above(densities.strongest, 0.35)
    is_pure = densities.red < scaled(densities.green, RED_INK[0])
    return is_strong & is_pure & (densities.blue > scaled(densities.green, RED_INK[1]))


def _weakest(densities: Densities) -> UInt8[np.ndarray, "h w"]:
    return cv2.subtract(densities.strongest, densities.chroma)


def _red_ink(densities: Densities, mpp: float) -> Mask:
    """Find red pen: blood has its colour, but neither its smoothness nor its size."""
    is_red = _is_red(densities)
    if not is_red.any():
        return is_red
    is_red &= texture(densities, mpp) < scaled(densities.green, 0.08)
    is_red = cv2.morphologyEx(is_red.view(np.uint8), cv2.MORPH_OPEN, disk(INK_MARGIN_UM / mpp)).view(bool)
    return is_red & ~small_parts(is_red, MIN_RED_INK_MM2, mpp)
