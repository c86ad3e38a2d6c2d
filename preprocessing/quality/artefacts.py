"""Colours and shapes that are no well-stained, flat tissue: folds, blood, necrosis-like ground. Masks, pixel by pixel.

Optical densities are natural logarithms against the slide's own glass, RGB.
"""

import numpy as np
from jaxtyping import Bool, Float32

from preprocessing.colour.ink import ground_blue, is_red_cell

QUALITY_MPP = 2.0  # µm a pixel; a blur of 1.5 µm (sigma) already halves the sharpness here
COARSE = 4  # pixels of a block to one pixel where colours are judged: 8 µm
COARSE_UM = COARSE * QUALITY_MPP
FOLD_WIDTH_UM = 170.0  # a ridge wider than this is a region of its own
FOLD_LENGTH_UM = 200.0
FOLD_OD = 0.9  # of the strongest channel: nests of tumour in pale stroma stay below, and so do folds of pale slides
FOLD_SLIMNESS = 4.0  # square of a ridge's length over its area
FOLD_RISES = (1.4, 2.6)  # two layers where there is one around, in every channel; more is another tissue
FOLD_HUE = 1.3  # largest ratio of the rises of two channels: a fold doubles both stains, a nest of cells does not
STAINED_OD = 0.15  # a coarse pixel that belongs to tissue, not to a hole in it
BLOOD_OD = 0.7  # of green over 8 µm, beyond what most eosin reaches
MAX_GROUND_BLUE = 0.6  # blue over green of a ground: more is itself blood, of which a block may be full
NUCLEAR_RISE = 0.12  # of red optical density over the surroundings: a nucleus


def find_folds(od: Float32[np.ndarray, "h w 3"], is_tissue: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Find long ridges, wider than nuclei, that are darker than both sides in every channel by the same measure.

    A strand of nuclei gains red density above all and is no fold. A strand twice as eosinophilic as its eosinophilic
    surroundings cannot be told from one by colour.
    """
    from scipy import ndimage

    is_stained = is_tissue & (od.mean(axis=2) > STAINED_OD)
    if not is_stained.any():
        return is_stained
    weight = ndimage.gaussian_filter(is_stained.astype(np.float32), 3.0)
    radius = round(FOLD_WIDTH_UM / 2 / COARSE_UM)
    size = 2 * radius + 1
    rises, darkest = [], np.zeros(is_stained.shape, np.float32)
    for channel in range(3):
        inside = np.where(is_stained, od[..., channel], 0)
        smooth = ndimage.gaussian_filter(inside, 1.5) / np.maximum(
            ndimage.gaussian_filter(is_stained.astype(np.float32), 1.5), 1e-3
        )
        # holes and glass are filled with what surrounds them, lest every septum stand out
        ground = ndimage.gaussian_filter(inside, 3.0) / np.maximum(weight, 1e-3)
        filled = np.where(is_stained, smooth, np.where(weight > 0.05, ground, np.inf))
        opened = ndimage.grey_opening(filled, size=(size, size), mode="nearest")
        darkest = np.maximum(darkest, smooth)
        rises.append(smooth / np.maximum(opened, 0.03))
    rise = np.stack(rises, axis=2)
    least, most = rise.min(axis=2), rise.max(axis=2)
    is_ridge = is_stained & (least > FOLD_RISES[0]) & (most < FOLD_RISES[1]) & (most < FOLD_HUE * least)
    is_ridge &= darkest > FOLD_OD
    is_ridge = ndimage.binary_opening(is_ridge, np.ones((3, 3)))  # thicker than nuclei
    return _slim(is_ridge)


def _slim(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Keep the parts that are long and narrow."""
    from scipy import ndimage

    labels, n_labels = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=n_labels + 1)
    kept = np.zeros(n_labels + 1, dtype=bool)
    for label, place in enumerate(ndimage.find_objects(labels), start=1):
        length = np.hypot(*(part.stop - part.start for part in place))
        kept[label] = length * COARSE_UM >= FOLD_LENGTH_UM and length * length >= FOLD_SLIMNESS * areas[label]
    return kept[labels]


def is_blood(od: Float32[np.ndarray, "h w 3"], is_tissue: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Find red cells and clots: hardly any red absorbed, more green and blue than the eosin around them takes."""
    blue = ground_blue(od[is_tissue & (od[..., 1] > STAINED_OD)])
    return (od[..., 1] > BLOOD_OD) & is_red_cell(od.astype(np.float64), ground_blue=min(blue, MAX_GROUND_BLUE))


def is_necrosis_like(
    red: Float32[np.ndarray, "h w"], fine: Float32[np.ndarray, "h w"], coarse_od: Float32[np.ndarray, "H W 3"]
) -> Bool[np.ndarray, "H W"]:
    """Find eosinophilic ground with few nuclei and no direction of fibres."""
    from scipy import ndimage

    surroundings = ndimage.uniform_filter(red, round(32 / QUALITY_MPP))
    nuclear = _smooth(coarse_mean((red - surroundings > NUCLEAR_RISE).astype(np.float32)))
    down, across = np.gradient(ndimage.gaussian_filter(fine, 1.0))
    xx, yy, xy = (_smooth(coarse_mean(product)) for product in (across * across, down * down, across * down))
    coherence = np.sqrt((xx - yy) ** 2 + 4 * xy**2) / (xx + yy + 1e-6)
    colour = np.stack([_smooth(coarse_od[..., channel]) for channel in range(3)], axis=2)
    is_eosinophilic = (colour[..., 1] > 0.25) & (colour[..., 0] < 0.6 * colour[..., 1])
    return is_eosinophilic & (nuclear < 0.03) & (coherence < 0.25)


def _smooth(field: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Average over the surroundings, about 50 µm."""
    from scipy import ndimage

    return ndimage.gaussian_filter(field, 24 / COARSE_UM)


def coarse_mean(field: Float32[np.ndarray, "h w *c"]) -> Float32[np.ndarray, "H W *c"]:
    """Average COARSE x COARSE pixels; the last row and column are repeated to fill."""
    fill = [(0, -side % COARSE) for side in field.shape[:2]] + [(0, 0)] * (field.ndim - 2)
    full = np.pad(field, fill, mode="edge")
    # strided sums are several times faster than a mean over the axes of a reshaped array
    rows = full[::COARSE].copy()
    for start in range(1, COARSE):
        rows += full[start::COARSE]
    blocks = rows[:, ::COARSE].copy()
    for start in range(1, COARSE):
        blocks += rows[:, start::COARSE]
    return blocks / np.float32(COARSE**2)
