"""Colours that haematoxylin and eosin never make: pen and marker, judged in optical density pixel by pixel."""

import numpy as np
from jaxtyping import Bool, Float32


def is_ink_colour(od: Float32[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    """Return where a colour is surely ink: blue or green, pure red, or even black.

    Args:
        od: optical density against the glass, natural logarithm, RGB, smoothed over about 6 µm so that no single
            pigment grain or refractile edge counts.
    """
    red, green, blue = od[..., 0], od[..., 1], od[..., 2]
    strongest, weakest = od.max(axis=2), od.min(axis=2)
    is_strong = strongest > 0.35
    is_blue_or_green = is_strong & (red > 1.15 * green)  # haematoxylin absorbs about as much green as red
    # over tissue: blue ink adds to what eosin absorbs of green, but no stain lets blue pass
    is_blue = (strongest > 0.5) & (red > 0.75 * green) & (blue < 0.28 * green)
    is_red = is_strong & (red < 0.12 * green) & (blue > 0.95 * green)  # eosin absorbs less blue than green
    is_black = (weakest > 1.1) & (strongest - weakest < 0.45)
    return is_blue_or_green | is_blue | is_red | is_black
