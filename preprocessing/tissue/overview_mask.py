"""Tissue on a slide, without training data: what differs from the glass, less ink, by rules in µm².

Works on an overview of about 8 µm a pixel. The glass colour is estimated on each slide, so pale tissue on dark glass and
slides that are all tissue are found alike. Fat is kept: it is diagnostic in liposarcoma. All arithmetic is on bytes (a
hundredth of an optical density), so a mask is the same on every machine and costs hardly more than reading the overview.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float64, UInt8

from preprocessing.tissue.density_bytes import OD_STEP, Densities, above, densities_of, scaled, texture
from preprocessing.tissue.mask_shapes import Mask, closed, components, small_parts
from preprocessing.tissue.open_fat import open_fat, shade, veil
from preprocessing.tissue.pen_strokes import find_ink

OVERVIEW_MPP = 8.0
MPP_RANGE = (2.0, 32.0)
DEFAULT_GLASS = (243.0, 243.0, 243.0)  # where a slide shows no glass at all
MIN_GLASS_SHARE = 0.004
N_GLASS_PIXELS = 60_000  # looked at for the colour of the glass
WEAK_OD, STRONG_OD = 0.05, 0.17  # distance to the glass: tissue where it hangs together with surely stained pixels
SMOOTH_UM, CLOSE_SMOOTH_UM = 6.0, 3.0  # of the first pass, and of the closer look at an edge
CLOSING_UM = 24.0  # joins what lies a cell apart; the walls of open fat are joined by themselves
MAX_HOLE_MM2 = 0.05  # smaller holes are vacuoles and clefts: tissue
MIN_PIECE_MM2 = 0.03
MIN_CHROMA = 0.035  # a piece without more colour than this is a shadow, an edge of the cover slip, or dust
# unless it is so large, textured and not quite grey: pale tissue; 0.031 measured on a whole strip of it
LARGE_PIECE_MM2, MIN_LARGE_CHROMA, MIN_LARGE_TEXTURE = 1.0, 0.015, 0.012
MIN_TEXTURE = 0.010  # a piece smoother than this, in optical density over about 24 µm, is a smear or a bubble


@dataclass(frozen=True)
class Tissue:
    """Masks at the overview's scale, and the colour of the glass (RGB, 0 to 255)."""

    is_tissue: Mask
    is_ink: Mask
    is_dropped: Mask  # stained pieces large enough for tissue that do not look like it: too smooth or without colour
    glass: tuple[float, float, float]


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
    densities = densities_of(overview, glass, SMOOTH_UM / mpp)
    is_ink = find_ink(densities, mpp)
    unevenness = texture(densities, mpp)
    stained = _stained(densities, unevenness, is_ink, mpp)
    is_tissue = _true_pieces(stained, densities, unevenness, mpp)
    is_dropped = stained & ~is_tissue & ~is_ink
    is_dropped &= ~small_parts(is_dropped, MIN_PIECE_MM2, mpp)
    if is_ink.any():
        is_tissue &= ~is_ink
        is_tissue &= ~small_parts(is_tissue, MIN_PIECE_MM2, mpp)
    return Tissue(is_tissue, is_ink, is_dropped, glass)


def _stained(densities: Densities, unevenness: UInt8[np.ndarray, "h w"], is_ink: Mask, mpp: float) -> Mask:
    """Return what differs from the glass: stained pixels with the gaps between them, and open fat; no stray light, no shadow."""
    distance = _distance(densities)
    distance[is_ink] = 0
    distance[veil(densities, distance, unevenness, mpp)] = 0
    distance[shade(densities, unevenness, mpp)] = 0
    return closed(_candidates(distance), CLOSING_UM / mpp) | open_fat(distance, mpp)


def tissue_near_glass(
    view: UInt8[np.ndarray, "h w 3"], *, mpp: float, glass: tuple[float, float, float]
) -> Bool[np.ndarray, "h w"]:
    """Return the tissue of a part of a slide, without the rules on whole pieces: for a closer look at an edge."""
    densities = densities_of(view, glass, CLOSE_SMOOTH_UM / mpp)
    mask = _stained(densities, texture(densities, mpp), np.zeros(view.shape[:2], dtype=bool), mpp)
    return mask | small_parts(~mask, MAX_HOLE_MM2, mpp)


def glass_colour(overview: UInt8[np.ndarray, "h w 3"]) -> tuple[float, float, float]:
    """Return the colour of the bare glass: the mode of the bright, colourless pixels."""
    step = max(1, int(np.sqrt(overview.shape[0] * overview.shape[1] / N_GLASS_PIXELS)))
    channels = cv2.split(np.ascontiguousarray(overview[::step, ::step]))
    darkest, brightest = (function(function(*channels[:2]), channels[2]) for function in (cv2.min, cv2.max))
    is_bright = (darkest > 195) & (cv2.subtract(brightest, darkest) < 22)
    # fills of pure white beside the scanned area would hide the real glass
    is_glass = is_bright & (darkest != 255)
    if np.count_nonzero(is_glass) < MIN_GLASS_SHARE * darkest.size:
        is_glass = is_bright
    if np.count_nonzero(is_glass) < MIN_GLASS_SHARE * darkest.size:
        return DEFAULT_GLASS
    counts = np.convolve(_histogram(channels[1], is_glass), np.ones(5), mode="same")
    mode = int(counts.argmax())
    is_near = is_glass & (cv2.absdiff(channels[1], np.full_like(channels[1], mode)) <= 3)
    red, green, blue = (_median(_histogram(channel, is_near)) for channel in channels)
    return red, green, blue


def _histogram(channel: UInt8[np.ndarray, "h w"], mask: Mask) -> Float64[np.ndarray, " 256"]:
    """Return how often each grey level stands inside a mask."""
    return cv2.calcHist([channel], [0], mask.view(np.uint8), [256], [0, 256]).ravel().astype(np.float64)


def _median(counts: Float64[np.ndarray, " 256"]) -> float:
    """Return the median of as many grey levels; between two of them their mean."""
    below, n = np.cumsum(counts), counts.sum()
    lower, upper = (int(np.searchsorted(below, rank, side="right")) for rank in ((n - 1) // 2, n // 2))
    return (lower + upper) / 2


def _distance(densities: Densities) -> UInt8[np.ndarray, "h w"]:
    """Return how far a pixel is from the glass: about the length of its density vector, and half its colour.

    The longer of the strongest channel and the grey part is within a sixth of the length, in bytes.
    """
    grey = cv2.addWeighted(densities.red, 0.58, densities.green, 0.58, 0)
    grey = cv2.addWeighted(grey, 1.0, densities.blue, 0.58, 0)
    return cv2.add(cv2.max(densities.strongest, grey), scaled(densities.chroma, 0.5))


def _candidates(distance: UInt8[np.ndarray, "h w"]) -> Mask:
    """Return weakly stained pixels that hang together (8 neighbours) with surely stained ones."""
    weak = above(distance, WEAK_OD).view(np.uint8)
    n_labels, labels = components(weak)
    kept = np.zeros(n_labels, dtype=bool)
    kept[np.compress(above(distance, STRONG_OD).ravel(), labels.ravel())] = True
    kept[0] = False
    return np.take(kept, labels)


def _true_pieces(mask: Mask, densities: Densities, unevenness: UInt8[np.ndarray, "h w"], mpp: float) -> Mask:
    """Fill small holes, and keep pieces that are large enough, coloured, and not as smooth as a smear or a bubble."""
    contours, hierarchy = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    kept = mask.view(np.uint8).copy()
    px_mm2 = (mpp / 1000) ** 2
    is_true = np.zeros(len(contours), dtype=bool)
    for index, contour in enumerate(contours):
        is_outer = hierarchy[0][index][3] < 0
        if is_outer and _lattice_area(contour, is_hole=False) * px_mm2 >= MIN_PIECE_MM2:
            is_true[index] = _looks_like_tissue(contours, hierarchy, index, densities.chroma, unevenness, px_mm2)
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
    unevenness: np.ndarray,
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
    area_mm2 = cv2.countNonZero(inside) * px_mm2
    colour, uneven = (cv2.mean(plane[place], inside)[0] * OD_STEP for plane in (chroma, unevenness))
    is_pale_tissue = area_mm2 >= LARGE_PIECE_MM2 and colour >= MIN_LARGE_CHROMA and uneven >= MIN_LARGE_TEXTURE
    return area_mm2 >= MIN_PIECE_MM2 and ((colour >= MIN_CHROMA and uneven >= MIN_TEXTURE) or is_pale_tissue)
