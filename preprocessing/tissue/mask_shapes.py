"""Shapes of masks: connected parts by their area, parts that hold a seed, closing and widening by a disk."""

import cv2
import numpy as np
from jaxtyping import Bool, Integer, UInt8

Mask = Bool[np.ndarray, "h w"]


def components(mask: UInt8[np.ndarray, "h w"]) -> tuple[int, Integer[np.ndarray, "h w"]]:
    """Number connected pixels (8 neighbours), in two bytes where they suffice: half the memory to walk through."""
    try:
        return cv2.connectedComponents(mask, connectivity=8, ltype=cv2.CV_16U)
    except cv2.error:  # more than 65,535
        return cv2.connectedComponents(mask, connectivity=8)


def small_parts(mask: Mask, area_mm2: float, mpp: float) -> Mask:
    """Return the connected parts (4 neighbours) below an area."""
    if cv2.countNonZero(mask.view(np.uint8)) * (mpp / 1000) ** 2 < area_mm2:
        return mask.copy()  # each part is smaller than all of them: nothing to number
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    is_small = stats[:, cv2.CC_STAT_AREA] * (mpp / 1000) ** 2 < area_mm2
    is_small[0] = False
    return is_small[labels] if is_small.any() else np.zeros(mask.shape, dtype=bool)


def touching(mask: Mask, seeds: Mask) -> Mask:
    """Return the parts of a mask that hold a seed."""
    n_labels, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4)
    kept = np.zeros(n_labels, dtype=bool)
    kept[labels[seeds]] = True
    kept[0] = False
    return kept[labels]


def closed(mask: Mask, radius: float) -> Mask:
    """Return a mask with the gaps closed that a disk of this radius (pixels) does not fit into."""
    if not mask.any():
        return mask.copy()
    element = disk(radius)
    reach = len(element)  # off the image lies glass
    padded = cv2.copyMakeBorder(mask.view(np.uint8), reach, reach, reach, reach, cv2.BORDER_CONSTANT, value=0)
    return cv2.morphologyEx(padded, cv2.MORPH_CLOSE, element)[reach:-reach, reach:-reach].astype(bool)


def dilated(mask: Mask, radius: float) -> Mask:
    """Return a mask wider by a radius in pixels."""
    return cv2.dilate(mask.view(np.uint8), disk(radius)).view(bool)


def disk(radius: float) -> UInt8[np.ndarray, "n n"]:
    """Return a disk as a structuring element; its radius is a whole number of pixels, 1 at least."""
    whole = max(1, round(radius))
    y, x = np.ogrid[-whole : whole + 1, -whole : whole + 1]
    return (x * x + y * y <= whole * whole + whole).astype(np.uint8)
