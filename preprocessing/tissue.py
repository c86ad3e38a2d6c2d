"""Tissue on a slide, without training data: what differs from the glass, less ink, by rules in µm².

Works on an overview of about 8 µm a pixel. The glass colour is estimated on each slide, so pale tissue on dark glass and
slides that are all tissue are found alike. Fat is kept: it is diagnostic in liposarcoma. All arithmetic is on bytes (a
hundredth of an optical density), so a mask is the same on every machine and costs hardly more than reading the overview.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Integer, UInt8

OVERVIEW_MPP = 8.0
MPP_RANGE = (2.0, 32.0)
DEFAULT_GLASS = (243.0, 243.0, 243.0)  # where a slide shows no glass at all
MIN_GLASS_SHARE = 0.004
N_GLASS_PIXELS = 60_000  # looked at for the colour of the glass
OD_STEP = 0.01  # optical density of one grey level of a density byte
WEAK_OD, STRONG_OD = 0.05, 0.17  # distance to the glass: tissue where it hangs together with surely stained pixels
SMOOTH_UM, CLOSE_SMOOTH_UM = 6.0, 3.0  # of the first pass, and of the closer look at an edge
CLOSING_UM = 24.0  # joins the thin walls of fat cells
MAX_HOLE_MM2 = 0.05  # smaller holes are vacuoles and clefts: tissue
MIN_PIECE_MM2 = 0.03
MIN_INK_MM2, MIN_RED_INK_MM2 = 0.004, 0.1
INK_MARGIN_UM = 24.0
RED_INK = (0.14, 0.6)  # red pen: most red, least blue, of what it absorbs of green; eosin takes less blue
MIN_CHROMA = 0.035  # a piece without more colour than this is a shadow, an edge of the cover slip, or dust
MIN_TEXTURE = 0.010  # a piece smoother than this, in optical density over about 24 µm, is a smear or a bubble

Mask = Bool[np.ndarray, "h w"]


@dataclass(frozen=True)
class Tissue:
    """Masks at the overview's scale, and the colour of the glass (RGB, 0 to 255)."""

    is_tissue: Mask
    is_ink: Mask
    glass: tuple[float, float, float]


@dataclass(frozen=True)
class _Densities:
    """Optical densities over the glass, in OD_STEP, smoothed: each channel, and the strongest and weakest of them."""

    red: UInt8[np.ndarray, "h w"]
    green: UInt8[np.ndarray, "h w"]
    blue: UInt8[np.ndarray, "h w"]
    strongest: UInt8[np.ndarray, "h w"]
    chroma: UInt8[np.ndarray, "h w"]  # strongest - weakest


def find_tissue(
    overview: UInt8[np.ndarray, "h w 3"], *, mpp: float, glass: tuple[float, float, float] | None = None
) -> Tissue:
    """Segment an overview.

    Args:
        overview: the slide, RGB.
        mpp: µm a pixel of the overview, 2 to 32.
        glass: colour of the bare slide; estimated when not given.

    Raises:
        ValueError: the scale is out of range.
    """
    if not MPP_RANGE[0] <= mpp <= MPP_RANGE[1]:
        raise ValueError(f"tissue is sought at {MPP_RANGE[0]:g} to {MPP_RANGE[1]:g} µm a pixel, got {mpp:g}")
    glass = glass_colour(overview) if glass is None else glass
    densities = _densities(overview, glass, SMOOTH_UM / mpp)
    is_ink = _find_ink(densities, mpp)
    closed = _closed(_candidates(densities, is_ink), CLOSING_UM / mpp)
    is_tissue = _true_pieces(closed, densities, mpp)
    if is_ink.any():
        is_tissue &= ~is_ink
        is_tissue &= ~_small_parts(is_tissue, MIN_PIECE_MM2, mpp)
    return Tissue(is_tissue, is_ink, glass)


def tissue_near_glass(
    view: UInt8[np.ndarray, "h w 3"], *, mpp: float, glass: tuple[float, float, float]
) -> Bool[np.ndarray, "h w"]:
    """Return the tissue of a part of a slide, without the rules on whole pieces: for a closer look at an edge."""
    densities = _densities(view, glass, CLOSE_SMOOTH_UM / mpp)
    closed = _closed(_candidates(densities, _no_ink(view)), CLOSING_UM / mpp)
    return closed | _small_parts(~closed, MAX_HOLE_MM2, mpp)


def _no_ink(view: UInt8[np.ndarray, "h w 3"]) -> Mask:
    return np.zeros(view.shape[:2], dtype=bool)


def glass_colour(overview: UInt8[np.ndarray, "h w 3"]) -> tuple[float, float, float]:
    """Return the colour of the bare glass: the mode of the bright, colourless pixels."""
    step = max(1, int(np.sqrt(overview.shape[0] * overview.shape[1] / N_GLASS_PIXELS)))
    pixels = overview[::step, ::step].reshape(-1, 3)
    red, green, blue = (np.ascontiguousarray(pixels[:, channel]) for channel in range(3))
    darkest = np.minimum(np.minimum(red, green), blue)
    brightest = np.maximum(np.maximum(red, green), blue)
    is_bright = (darkest > 195) & (brightest - darkest < 22)
    # fills of pure white beside the scanned area would hide the real glass
    is_filled = darkest == 255
    candidates = pixels[is_bright & ~is_filled]
    if len(candidates) < MIN_GLASS_SHARE * len(pixels):
        candidates = pixels[is_bright]
    if len(candidates) < MIN_GLASS_SHARE * len(pixels):
        return DEFAULT_GLASS
    greens = candidates[:, 1]
    counts = np.convolve(np.bincount(greens, minlength=256), np.ones(5), mode="same")
    mode = int(counts.argmax())
    near = candidates[np.abs(greens.astype(int) - mode) <= 3]
    of_red, of_green, of_blue = (float(value) for value in np.median(near, axis=0))
    return of_red, of_green, of_blue


def _densities(overview: UInt8[np.ndarray, "h w 3"], glass: tuple[float, float, float], sigma: float) -> _Densities:
    side = 2 * math.ceil(1.3 * sigma) + 1  # what lies further out weighs less than a grey level
    smooth = cv2.GaussianBlur(overview, (side, side), sigma)
    values = np.log((np.array(glass)[:, None] + 1.0) / (np.arange(256)[None, :] + 1.0)) / OD_STEP
    tables = np.clip(np.round(values), 0, 255).astype(np.uint8)
    red, green, blue = (cv2.LUT(plane, table) for plane, table in zip(cv2.split(smooth), tables, strict=True))
    strongest = cv2.max(cv2.max(red, green), blue)
    return _Densities(red, green, blue, strongest, cv2.subtract(strongest, cv2.min(cv2.min(red, green), blue)))


def _scaled(plane: UInt8[np.ndarray, "h w"], factor: float) -> UInt8[np.ndarray, "h w"]:
    return cv2.LUT(plane, np.clip(np.round(np.arange(256) * factor), 0, 255).astype(np.uint8))


def _distance(densities: _Densities) -> UInt8[np.ndarray, "h w"]:
    """Return how far a pixel is from the glass: about the length of its density vector, and half its colour.

    The longer of the strongest channel and the grey part is within a sixth of the length, in bytes.
    """
    grey = cv2.addWeighted(densities.red, 0.58, densities.green, 0.58, 0)
    grey = cv2.addWeighted(grey, 1.0, densities.blue, 0.58, 0)
    return cv2.add(cv2.max(densities.strongest, grey), _scaled(densities.chroma, 0.5))


def _candidates(densities: _Densities, is_ink: Mask) -> Mask:
    """Return weakly stained pixels that hang together (8 neighbours) with surely stained ones."""
    distance = _distance(densities)
    distance[is_ink] = 0
    weak = cv2.threshold(distance, WEAK_OD / OD_STEP, 1, cv2.THRESH_BINARY)[1]
    n_labels, labels = _components(weak)
    kept = np.zeros(n_labels, dtype=bool)
    kept[np.compress(distance.ravel() > STRONG_OD / OD_STEP, labels.ravel())] = True
    kept[0] = False
    return np.take(kept, labels)


def _components(mask: UInt8[np.ndarray, "h w"]) -> tuple[int, Integer[np.ndarray, "h w"]]:
    """Number connected pixels (8 neighbours), in two bytes where they suffice: half the memory to walk through."""
    try:
        return cv2.connectedComponents(mask, connectivity=8, ltype=cv2.CV_16U)
    except cv2.error:  # more than 65,535
        return cv2.connectedComponents(mask, connectivity=8)


def _find_ink(densities: _Densities, mpp: float) -> Mask:
    """Find pen: colours that haematoxylin and eosin never make, even black, and smooth red over a large area."""
    if not _has_ink_colour(densities):
        return np.zeros(densities.red.shape, dtype=bool)
    sure = _is_sure_ink(densities)
    if sure.any():
        sure &= ~_small_parts(sure, MIN_INK_MM2, mpp)
    sure |= _red_ink(densities, mpp)
    if not sure.any():
        return sure
    # the faint rim of a stroke, and a margin
    red, green = densities.red, densities.green
    is_even = _weakest(densities) > _scaled(densities.strongest, 0.52)
    has_colour = (red > _scaled(green, 1.08)) | is_even | (red < _scaled(green, RED_INK[0]))
    is_rim = (densities.strongest > 0.1 / OD_STEP) & has_colour
    near = _dilated(sure, 3 * INK_MARGIN_UM / mpp)
    grown = _touching(sure | (is_rim & near), sure)
    return _dilated(grown, INK_MARGIN_UM / mpp)


def _has_ink_colour(densities: _Densities) -> bool:
    """Say whether every second pixel shows a colour of ink: a stroke has hundreds, most slides have none."""
    planes = (densities.red, densities.green, densities.blue, densities.strongest, densities.chroma)
    sample = _Densities(*(np.ascontiguousarray(plane[::2, ::2]) for plane in planes))
    return bool((_is_sure_ink(sample) | _is_red(sample)).any())


def _is_sure_ink(densities: _Densities) -> Mask:
    is_strong = densities.strongest > 0.35 / OD_STEP
    is_blue_or_green = is_strong & (
        densities.red > _scaled(densities.green, 1.15)
    )  # no stain takes more red than green
    # haematoxylin and eosin leave one channel below 0.55 of the strongest; black and dark violet ink do not
    weakest = _weakest(densities)
    return is_blue_or_green | ((weakest > 0.6 / OD_STEP) & (weakest > _scaled(densities.strongest, 0.62)))


def _is_red(densities: _Densities) -> Mask:
    is_strong = densities.strongest > 0.35 / OD_STEP
    is_pure = densities.red < _scaled(densities.green, RED_INK[0])
    return is_strong & is_pure & (densities.blue > _scaled(densities.green, RED_INK[1]))


def _weakest(densities: _Densities) -> UInt8[np.ndarray, "h w"]:
    return cv2.subtract(densities.strongest, densities.chroma)


def _red_ink(densities: _Densities, mpp: float) -> Mask:
    """Find red pen: blood has its colour, but neither its smoothness nor its size."""
    is_red = _is_red(densities)
    if not is_red.any():
        return is_red
    is_red &= _texture(densities, mpp) < _scaled(densities.green, 0.08)
    is_red = cv2.morphologyEx(is_red.view(np.uint8), cv2.MORPH_OPEN, _disk(INK_MARGIN_UM / mpp)).view(bool)
    return is_red & ~_small_parts(is_red, MIN_RED_INK_MM2, mpp)


def _true_pieces(mask: Mask, densities: _Densities, mpp: float) -> Mask:
    """Fill small holes, and keep pieces that are large enough, coloured, and not as smooth as a smear or a bubble."""
    contours, hierarchy = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    kept = mask.view(np.uint8).copy()
    if hierarchy is None:
        return kept.view(bool)
    texture, px_mm2 = _texture(densities, mpp), (mpp / 1000) ** 2
    is_true = np.zeros(len(contours), dtype=bool)
    for index, contour in enumerate(contours):
        is_outer = hierarchy[0][index][3] < 0
        if is_outer and _lattice_area(contour, is_hole=False) * px_mm2 >= MIN_PIECE_MM2:
            is_true[index] = _looks_like_tissue(contours, hierarchy, index, densities.chroma, texture, px_mm2)
        if is_outer and not is_true[index]:  # a frame goes, what lies inside it stays
            cv2.drawContours(kept, contours, index, 0, cv2.FILLED, hierarchy=hierarchy, maxLevel=1)
    for index, contour in enumerate(contours):
        parent = hierarchy[0][index][3]
        if parent >= 0 and is_true[parent] and _lattice_area(contour, is_hole=True) * px_mm2 < MAX_HOLE_MM2:
            cv2.drawContours(kept, contours, index, 1, cv2.FILLED)
    return kept.view(bool)


def _lattice_area(contour: np.ndarray, *, is_hole: bool) -> float:
    """Return the number of pixels inside a contour through pixel centres (Pick's theorem); a hole's rim is not its own."""
    half_rim = len(contour) / 2
    return cv2.contourArea(contour) + 1 + (-half_rim if is_hole else half_rim)


def _looks_like_tissue(
    contours: Sequence[np.ndarray],
    hierarchy: np.ndarray,
    index: int,
    chroma: np.ndarray,
    texture: np.ndarray,
    px_mm2: float,
) -> bool:
    """Tell a piece from a shadow, a smear or a bubble by its mean colour and texture; also its size less its holes."""
    left, top, width, height = cv2.boundingRect(contours[index])
    inside = np.zeros((height, width), np.uint8)
    cv2.drawContours(inside, contours, index, 1, cv2.FILLED, hierarchy=hierarchy, maxLevel=0, offset=(-left, -top))
    hole = int(hierarchy[0][index][2])
    while hole >= 0:
        if _lattice_area(contours[hole], is_hole=True) * px_mm2 >= MAX_HOLE_MM2:
            cv2.drawContours(inside, contours, hole, 0, cv2.FILLED, offset=(-left, -top))
        hole = int(hierarchy[0][hole][0])
    place = (slice(top, top + height), slice(left, left + width))
    return (
        cv2.countNonZero(inside) * px_mm2 >= MIN_PIECE_MM2
        and cv2.mean(chroma[place], inside)[0] * OD_STEP >= MIN_CHROMA
        and cv2.mean(texture[place], inside)[0] * OD_STEP >= MIN_TEXTURE
    )


def _texture(densities: _Densities, mpp: float) -> UInt8[np.ndarray, "h w"]:
    """Return how much the density of green differs from the mean of its surroundings, about 56 µm wide."""
    side = 2 * max(1, round(24.0 / mpp)) + 1
    return cv2.absdiff(densities.green, cv2.blur(densities.green, (side, side)))


def _small_parts(mask: Mask, area_mm2: float, mpp: float) -> Mask:
    """Return the connected parts (4 neighbours) below an area."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    is_small = stats[:, cv2.CC_STAT_AREA] * (mpp / 1000) ** 2 < area_mm2
    is_small[0] = False
    return is_small[labels] if is_small.any() else np.zeros(mask.shape, dtype=bool)


def _touching(mask: Mask, seeds: Mask) -> Mask:
    """Return the parts of a mask that hold a seed."""
    n_labels, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4)
    kept = np.zeros(n_labels, dtype=bool)
    kept[labels[seeds]] = True
    kept[0] = False
    return kept[labels]


def _closed(mask: Mask, radius: float) -> Mask:
    disk = _disk(radius)
    reach = len(disk)  # off the image lies glass
    padded = cv2.copyMakeBorder(mask.view(np.uint8), reach, reach, reach, reach, cv2.BORDER_CONSTANT, value=0)
    return cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disk)[reach:-reach, reach:-reach].astype(bool)


def _dilated(mask: Mask, radius: float) -> Mask:
    return cv2.dilate(mask.view(np.uint8), _disk(radius)).view(bool)


def _disk(radius: float) -> UInt8[np.ndarray, "n n"]:
    whole = max(1, round(radius))
    y, x = np.ogrid[-whole : whole + 1, -whole : whole + 1]
    return (x * x + y * y <= whole * whole + whole).astype(np.uint8)
