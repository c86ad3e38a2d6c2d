"""Stain augmentation in haematoxylin, eosin and residual, for extra feature copies of a slide's tiles.

Tellez et al. 2019 (Medical Image Analysis 58:101544): each channel's concentration c becomes a c + b, with a uniform in
1 +- s and b uniform in +- s; s = 0.05 is their light, 0.2 their strong setting. Here the channels are the slide's own
stains, not Ruifrok's, and the glass stays white.
"""

import hashlib

import numpy as np
from jaxtyping import Float64, UInt8

from preprocessing.colour.optical_density import OD_BACKGROUND, Glass, optical_density
from preprocessing.colour.stain import StainFit

MAX_STRENGTH = 0.5


def stain_jitter(
    slide_id: str, tile_index: int, *, copy: int, strength: float
) -> tuple[Float64[np.ndarray, " 3"], Float64[np.ndarray, " 3"]]:
    """Return factors and shifts (optical density) of haematoxylin, eosin and residual; the same for the same arguments.

    Raises:
        ValueError: the strength is outside 0 to MAX_STRENGTH.
    """
    if not 0 <= strength <= MAX_STRENGTH:
        raise ValueError(f"the strength of stain augmentation is 0 to {MAX_STRENGTH}, got {strength}")
    slide_seed = int.from_bytes(hashlib.sha256(slide_id.encode()).digest()[:8], "little")
    rng = np.random.default_rng([slide_seed, copy, tile_index])
    return 1 + strength * rng.uniform(-1, 1, 3), strength * rng.uniform(-1, 1, 3)


def stain_basis(fit: StainFit) -> Float64[np.ndarray, "3 3"]:
    """Return the fit's stain vectors and, as third row, the direction across both."""
    across = np.cross(fit.matrix[0], fit.matrix[1])
    return np.vstack([fit.matrix, across / np.linalg.norm(across)])


def augment_stains(
    tile: UInt8[np.ndarray, "*n 3"],
    fit: StainFit,
    jitter: tuple[Float64[np.ndarray, " 3"], Float64[np.ndarray, " 3"]],
    *,
    glass: Glass | None = None,
) -> UInt8[np.ndarray, "*n 3"]:
    """Return a tile with its stains scaled and shifted; what is nearly glass fades to unchanged, as in the colour map.

    Args:
        tile: pixels, RGB.
        fit: the stains in these pixels: the slide's own fit before the colour map, the reference after it.
        jitter: of `stain_jitter`.
        glass: colour of the bare slide in these pixels; None takes the fit's (a reference's is white).
    """
    factors, shifts = jitter
    basis = stain_basis(fit)
    white = fit.glass if glass is None else glass
    od = optical_density(tile, white).astype(np.float64)
    share = np.clip(od.max(axis=-1, keepdims=True) * 2 / OD_BACKGROUND - 1, 0, 1)
    concentrations = od @ np.linalg.inv(basis)
    moved = od + share * ((concentrations * factors + shifts) @ basis - od)
    light = (np.array(white) + 1) * np.exp(-moved) - 1
    unchanged = share == 0  # brighter than glass has no density, and stays as it is
    return np.where(unchanged, tile, np.clip(light + 0.5, 0, 255).astype(np.uint8))
