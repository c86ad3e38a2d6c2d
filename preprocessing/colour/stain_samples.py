"""What a stain fit looks at: single stained pixels for amounts, and smoothed means of small blocks for directions.

Noise turns the direction of a density, and the nearer two stains lie the more of one it makes of the other. Means of 4 x 4
pixels (2 µm) are free of most noise and of the chroma that JPEG smears; each is then averaged with those around it that
differ little (the sigma filter, Lee 1983, Comput Vision Graph 24:255), so that even ground loses its noise and a nucleus
keeps its edge.
"""

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from preprocessing.colour.ink import is_no_stain
from preprocessing.colour.optical_density import OD_BACKGROUND, OD_INK, Glass, optical_density

BLOCK = 4  # side of the means that vectors are fitted on, pixels
SMOOTH_REACH = 2  # blocks on each side, 10 µm squared in all
SMOOTH_OD = (
    0.05  # in every channel: several times the noise of a block, a fraction of what tells a nucleus from its ground
)
MAX_PIXELS_PER_PATCH = 4_000


def stained_pixels(patch: UInt8[np.ndarray, "h w 3"], glass: Glass) -> Float64[np.ndarray, "n 3"]:
    """Return the optical densities of a patch's stained pixels, thinned evenly to a bounded number."""
    thinning = max(1, int((patch.shape[0] * patch.shape[1] / (4 * MAX_PIXELS_PER_PATCH)) ** 0.5))
    od = optical_density(patch[::thinning, ::thinning], glass).reshape(-1, 3).astype(np.float64)
    od = od[is_stained(od, OD_BACKGROUND)]
    return od[:: max(1, len(od) // MAX_PIXELS_PER_PATCH)]


def is_stained(od: Float64[np.ndarray, "*n 3"], least: float) -> Bool[np.ndarray, "*n"]:
    """Say which densities are tissue: neither glass nor black, and no ink."""
    is_between = (od.max(axis=-1) > least) & (od.min(axis=-1) < OD_INK) & (od.sum(axis=-1) > 2 * least)
    return is_between & ~is_no_stain(od)


def block_densities(patch: UInt8[np.ndarray, "h w 3"], glass: Glass) -> Float64[np.ndarray, "H W 3"]:
    """Return the optical densities of the means of BLOCK x BLOCK pixels; what is left at the right and below is cut."""
    height, width = (side // BLOCK for side in patch.shape[:2])
    whole = patch[: height * BLOCK, : width * BLOCK].reshape(height, BLOCK, width, BLOCK, 3)
    light = whole.mean(axis=(1, 3), dtype=np.float64)
    return np.maximum(np.log((np.array(glass) + 1) / (light + 1)), 0.0)


def smoothed(od: Float64[np.ndarray, "h w 3"]) -> Float64[np.ndarray, "h w 3"]:
    """Return each density's mean with those within SMOOTH_REACH that differ from it by less than SMOOTH_OD everywhere."""
    (height, width), side = od.shape[:2], 2 * SMOOTH_REACH + 1
    planes = np.moveaxis(od, -1, 0)
    around = np.pad(planes, ((0, 0), *[(SMOOTH_REACH, SMOOTH_REACH)] * 2), constant_values=-1e3)  # like no density
    total, count = np.zeros_like(planes), np.zeros((height, width))
    for top in range(side):
        for left in range(side):
            others = around[:, top : top + height, left : left + width]
            is_like = (np.abs(others - planes) < SMOOTH_OD).all(axis=0)
            total += others * is_like
            count += is_like
    return np.moveaxis(total / count, 0, -1)
