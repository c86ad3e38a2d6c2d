"""What a slide's colours are made of: nuclei, ground, the pink part of it, red cells. By colour and by what lies around.

A stain vector is the colour of one of these, so they are told apart before vectors are sought: red cells and clots take
more blue than eosin and would draw its vector, and on a slide with few nuclei haematoxylin would be read off the ground.
Seen on smoothed means of small blocks (2 µm), as the fit sees them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from preprocessing.colour.cielab import hue_and_chroma
from preprocessing.colour.ink import MAX_PINK_RED, ground_blue, is_no_stain, is_red_cell
from preprocessing.colour.optical_density import Glass
from preprocessing.colour.stain_samples import BLOCK, block_densities, is_stained, smoothed

OD_SEEN = 0.2  # of a block: paler ones have no colour of their own
AROUND_BLOCKS = 8.0  # standard deviation of what surrounds a block, 16 µm: a nucleus and its cell
NUCLEAR_RISE = 0.35  # of red optical density over the surroundings, as a share of what the darkest nuclei have
NUCLEAR_RISE_RANGE = (0.04, 0.10)  # of that rise: what noise never reaches, and what is a nucleus on any slide
GROUND_SHARE = 0.3  # of the rise of a nucleus: below, a block is no part of one
PINK_HUES = (-45.0, 30.0)  # degrees, atan2(b, a) in CIELAB
MIN_PINK_CHROMA = 5.0
_NONE = (np.empty((0, 3)), np.empty(0), np.empty((0, 3)))


@dataclass(frozen=True)
class TissueKinds:
    """Optical densities of blocks, by what they show; `pink` is the part of `ground` that a person calls pink."""

    nuclei: Float64[np.ndarray, "a 3"]
    ground: Float64[np.ndarray, "b 3"]
    pink: Float64[np.ndarray, "c 3"]
    red_cells: Float64[np.ndarray, "d 3"]


def tissue_kinds(patches: Sequence[UInt8[np.ndarray, "_ _ 3"]], glass: Glass) -> TissueKinds:
    """Sort the blocks of a slide's patches (RGB, about 0.5 µm a pixel) into kinds."""
    raw = [block_densities(patch, glass) for patch in patches if min(patch.shape[:2]) >= 2 * BLOCK]
    smooth = [smoothed(od) for od in raw]
    whole = np.concatenate([each.reshape(-1, 3) for each in smooth] or [np.empty((0, 3))])
    blue = ground_blue(whole[is_stained(whole, OD_SEEN)])
    parts = [_seen(*pair, blue) for pair in zip(raw, smooth, strict=True)]
    od, rise, red_cells = (np.concatenate([part[k] for part in parts] or [_NONE[k]]) for k in range(3))
    nuclear = float(np.clip(NUCLEAR_RISE * np.percentile(rise, 99), *NUCLEAR_RISE_RANGE)) if len(rise) else 0.0
    nuclei, ground = od[rise > nuclear], od[rise < GROUND_SHARE * nuclear]
    return TissueKinds(nuclei, ground, ground[_is_pink(ground, nuclei)], red_cells)


def _seen(
    raw: Float64[np.ndarray, "h w 3"], od: Float64[np.ndarray, "h w 3"], blue: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a patch's usable densities, their rise in red over what surrounds them, and the densities of red cells."""
    from scipy import ndimage

    is_red = is_red_cell(od, ground_blue=blue)
    near_red = ndimage.binary_dilation(is_red, iterations=2)
    near_ink = ndimage.binary_dilation(is_no_stain(raw) & (raw.max(axis=-1) > OD_SEEN), np.ones((3, 3)))
    is_seen = od.max(axis=-1) > OD_SEEN
    weight = ndimage.gaussian_filter(is_seen.astype(float), AROUND_BLOCKS)
    around = ndimage.gaussian_filter(np.where(is_seen, od[..., 0], 0.0), AROUND_BLOCKS) / np.maximum(weight, 1e-3)
    is_usable = is_stained(od, OD_SEEN) & ~near_ink & ~near_red
    return od[is_usable], (od[..., 0] - around)[is_usable], od[is_red]


def _is_pink(ground: Float64[np.ndarray, "n 3"], nuclei: Float64[np.ndarray, "m 3"]) -> Bool[np.ndarray, " n"]:
    """Say which blocks of the ground are pink: of an eosin's hue, with some colour, and paler in red than nuclei."""
    if not len(ground):
        return np.zeros(0, dtype=bool)
    most = 0.5 * (np.median(nuclei[:, 0]) + np.median(ground[:, 0])) if len(nuclei) else np.inf
    hue, chroma = hue_and_chroma(ground)
    is_eosin_like = (hue > PINK_HUES[0]) & (hue < PINK_HUES[1]) & (chroma > MIN_PINK_CHROMA)
    return is_eosin_like & (ground[:, 0] < MAX_PINK_RED * ground[:, 1]) & (ground[:, 0] < most)


def thinned(od: Float64[np.ndarray, "n 3"], most: int) -> Float64[np.ndarray, "m 3"]:
    """Return every so many of the blocks of a kind that at most `most` are left."""
    return od[:: max(1, -(-len(od) // most))]
