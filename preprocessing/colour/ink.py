"""Colours of ink, which haematoxylin and eosin never make: for the quality of tiles, and for what a stain fit looks at.

How strokes are found on an overview stands in preprocessing/tissue/pen_strokes.py.
"""

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

# shares of the green density; measured: red 0.29 to 0.41, blue 0.61 to 0.9 over a ground of 0.50 to 0.53
MAX_RED_CELL_RED = 0.45
MIN_RED_CELL_BLUE = 0.62
RED_CELL_BLUE_RISE = 0.13
MIN_RED_CELL_OD = 0.5
MAX_PINK_RED = 0.75  # red density of pink ground as a share of its green


def is_ink_colour(od: Float32[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    """Return where a colour is surely ink: blue or green, or even black. Red ink has the colour of blood: see `pen_strokes`.

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
    is_black = (weakest > 1.1) & (strongest - weakest < 0.45)
    return is_blue_or_green | is_blue | is_black


def is_no_stain(od: Float64[np.ndarray, "*n 3"]) -> Bool[np.ndarray, "*n"]:
    """Return where a colour must not enter a stain fit: it takes more red or blue than green, as pens and clotted blood do.

    Stricter than `is_ink_colour`, whose colours leave tiles out: here a pixel too many is lost, not a tile.

    Args:
        od: optical density against the glass, natural logarithm, RGB.
    """
    red, green, blue = np.moveaxis(od, -1, 0)
    return (red > green * 1.15) | (blue > green * 1.25)


def ground_blue(od: Float[np.ndarray, "n 3"]) -> float:
    """Return blue over green density of what may be pink ground; the median is not moved by some red cells in it.

    Args:
        od: optical densities of stained tissue, natural logarithm, RGB.
    """
    pink = od[od[:, 0] < MAX_PINK_RED * od[:, 1]]
    return float(np.median(pink[:, 2] / pink[:, 1])) if len(pink) else 0.0


def is_red_cell(od: Float64[np.ndarray, "*n 3"], *, ground_blue: float = 0.0) -> Bool[np.ndarray, "*n"]:
    """Return where a colour is that of red cells or a clot: dense, hardly any red, more blue than eosin takes.

    Haemoglobin absorbs most at 415 nm, eosin at 520: what tells them apart is blue over green. How much of it is much
    depends on scanner and eosin, so it is set against the slide's own ground.

    Args:
        od: optical density against the glass, natural logarithm, RGB.
        ground_blue: blue over green density of the slide's pink ground; 0 takes the least of all.
    """
    red, green, blue = np.moveaxis(od, -1, 0)
    least = max(MIN_RED_CELL_BLUE, ground_blue + RED_CELL_BLUE_RISE)
    return (green > MIN_RED_CELL_OD) & (red < MAX_RED_CELL_RED * green) & (blue > least * green) & (blue < 1.25 * green)
