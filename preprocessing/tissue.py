"""Tissue on a slide, without training data: what differs from the glass, less ink, by rules in µm².

Works on an overview of about 8 µm a pixel. The glass colour is estimated on each slide, so pale tissue on dark glass and
slides that are all tissue are found alike. Fat is kept: it is diagnostic in liposarcoma.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

OVERVIEW_MPP = 8.0
DEFAULT_GLASS = (243.0, 243.0, 243.0)  # where a slide shows no glass at all
MIN_GLASS_SHARE = 0.004
WEAK_OD, STRONG_OD = 0.075, 0.17  # distance to the glass: tissue where it hangs together with surely stained pixels
CLOSING_UM = 24.0  # joins the thin walls of fat cells
MAX_HOLE_MM2 = 0.05  # smaller holes are vacuoles and clefts: tissue
MIN_PIECE_MM2 = 0.03
MIN_INK_MM2 = 0.004
INK_MARGIN_UM = 24.0
MIN_CHROMA = 0.035  # a piece without more colour than this is a shadow, an edge of the cover slip, or dust


@dataclass(frozen=True)
class Tissue:
    """Masks at the overview's scale, and the colour of the glass (RGB, 0 to 255)."""

    is_tissue: Bool[np.ndarray, "h w"]
    is_ink: Bool[np.ndarray, "h w"]
    glass: tuple[float, float, float]


def find_tissue(overview: UInt8[np.ndarray, "h w 3"], *, mpp: float) -> Tissue:
    """Segment an overview.

    Args:
        overview: the slide, RGB.
        mpp: µm a pixel of the overview, 2 to 32.
    """
    if not 2 <= mpp <= 32:
        raise ValueError(f"tissue is sought at 2 to 32 µm a pixel, got {mpp:g}")
    from scipy import ndimage

    glass = glass_colour(overview)
    smooth = ndimage.gaussian_filter(overview.astype(np.float32), (6.0 / mpp, 6.0 / mpp, 0))
    od = np.maximum(np.log((np.array(glass, np.float32) + 1) / (smooth + 1)), 0)
    is_ink = _find_ink(od, mpp)
    distance = np.linalg.norm(od, axis=2) + 0.5 * (od.max(axis=2) - od.min(axis=2))
    distance[is_ink] = 0
    candidates = _hysteresis(distance, WEAK_OD, STRONG_OD)
    radius = max(1, round(CLOSING_UM / mpp))
    closed = ndimage.binary_closing(np.pad(candidates, 2 * radius), _disk(radius))[
        2 * radius : -2 * radius, 2 * radius : -2 * radius
    ]
    is_tissue = _without_small(_filled(closed, MAX_HOLE_MM2, mpp), MIN_PIECE_MM2, mpp)
    is_tissue = _without_colourless(is_tissue, od) & ~is_ink
    return Tissue(_without_small(is_tissue, MIN_PIECE_MM2, mpp), is_ink, glass)


def glass_colour(overview: UInt8[np.ndarray, "h w 3"]) -> tuple[float, float, float]:
    """Return the colour of the bare glass: the mode of the bright, colourless pixels."""
    pixels = overview.reshape(-1, 3)
    darkest, brightest = pixels.min(axis=1), pixels.max(axis=1)
    is_bright = (darkest > 195) & (brightest - darkest < 22)
    # fills of pure white beside the scanned area would hide the real glass
    is_filled = darkest == 255
    candidates = pixels[is_bright & ~is_filled]
    if len(candidates) < MIN_GLASS_SHARE * len(pixels):
        candidates = pixels[is_bright]
    if len(candidates) < MIN_GLASS_SHARE * len(pixels):
        return DEFAULT_GLASS
    green = candidates[:, 1]
    counts = np.convolve(np.bincount(green, minlength=256), np.ones(5), mode="same")
    mode = int(counts.argmax())
    near = candidates[np.abs(green.astype(int) - mode) <= 3]
    red, green_, blue = (float(value) for value in np.median(near, axis=0))
    return red, green_, blue


def _find_ink(od: Float32[np.ndarray, "h w 3"], mpp: float) -> Bool[np.ndarray, "h w"]:
    """Find pen: colours that haematoxylin and eosin never make, and even black."""
    from scipy import ndimage

    red, green, blue = od[..., 0], od[..., 1], od[..., 2]
    strongest = od.max(axis=2)
    is_strong = strongest > 0.35
    is_blue_or_green = is_strong & (red > 1.15 * green)  # haematoxylin absorbs about as much green as red
    is_red = is_strong & (red < 0.12 * green) & (blue > 0.95 * green)  # eosin absorbs less blue than green
    is_black = (od.min(axis=2) > 1.1) & (strongest - od.min(axis=2) < 0.45)
    sure = _without_small(is_blue_or_green | is_red | is_black, MIN_INK_MM2, mpp)
    if not sure.any():
        return sure
    # the faint rim of a stroke, and a margin
    rim = (strongest > 0.1) & ((red > 1.08 * green) | (strongest - od.min(axis=2) < 0.12))
    near = ndimage.binary_dilation(sure, _disk(max(1, round(3 * INK_MARGIN_UM / mpp))))
    grown = ndimage.binary_propagation(sure, mask=sure | (rim & near))
    return ndimage.binary_dilation(grown, _disk(max(1, round(INK_MARGIN_UM / mpp))))


def _hysteresis(values: Float32[np.ndarray, "h w"], weak: float, strong: float) -> Bool[np.ndarray, "h w"]:
    from scipy import ndimage

    labels, n_labels = ndimage.label(values > weak, structure=np.ones((3, 3)))
    kept = np.zeros(n_labels + 1, dtype=bool)
    kept[np.unique(labels[values > strong])] = True
    kept[0] = False
    return kept[labels]


def _without_small(mask: Bool[np.ndarray, "h w"], area_mm2: float, mpp: float) -> Bool[np.ndarray, "h w"]:
    from scipy import ndimage

    labels, _ = ndimage.label(mask)
    is_large = np.bincount(labels.ravel()) * (mpp / 1000) ** 2 >= area_mm2
    is_large[0] = False
    return is_large[labels]


def _filled(mask: Bool[np.ndarray, "h w"], area_mm2: float, mpp: float) -> Bool[np.ndarray, "h w"]:
    """Fill holes up to an area."""
    return mask | (~mask & ~_without_small(~mask, area_mm2, mpp))


def _without_colourless(mask: Bool[np.ndarray, "h w"], od: Float32[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    from scipy import ndimage

    labels, n_labels = ndimage.label(mask)
    if n_labels == 0:
        return mask
    chroma = ndimage.mean(od.max(axis=2) - od.min(axis=2), labels, index=np.arange(1, n_labels + 1))
    kept = np.concatenate([[False], np.asarray(chroma) >= MIN_CHROMA])
    return kept[labels]


def _disk(radius: int) -> Bool[np.ndarray, "n n"]:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return x * x + y * y <= radius * radius + radius
