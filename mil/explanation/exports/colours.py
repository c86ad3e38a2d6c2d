"""The signed scale of maps: blue for against, orange for, light between; told apart by the colour-blind, and by lightness alone.

Colours run from one end to the middle to the other as straight lines in CIELAB, so that lightness falls alike on both sides
(Moreland 2009, ISVC, on diverging maps); the ends are blue and vermilion of Okabe and Ito (2008).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Num, UInt8

AGAINST, MIDDLE, FOR = (0, 84, 159), (245, 245, 242), (190, 75, 0)
STEPS = 255
EXTREME = 0.995  # quantile of the absolute values at which the scale ends: single tiles do not make all others pale


def signed_colours() -> UInt8[np.ndarray, "255 3"]:
    """Return the scale, from the most against to the most for; its middle is the middle."""
    from skimage.color import lab2rgb, rgb2lab

    ends = rgb2lab(np.array([[AGAINST, MIDDLE, FOR]], np.float64) / 255)[0]
    half = np.linspace(0, 1, STEPS // 2 + 1)[:, None]
    lab = np.concatenate([ends[0] + half * (ends[1] - ends[0]), (ends[1] + half * (ends[2] - ends[1]))[1:]])
    return np.round(np.clip(lab2rgb(lab[None])[0], 0, 1) * 255).astype(np.uint8)


def scale_of(values: Num[np.ndarray, " n"]) -> float:
    """Return the absolute value at which the scale ends."""
    size = np.abs(np.asarray(values, np.float64))
    return float(max(np.quantile(size, EXTREME), 1e-12)) if len(size) else 1.0


def coloured(values: Num[np.ndarray, "..."], scale: float) -> UInt8[np.ndarray, "... 3"]:  # noqa: UP037
    """Return the colour of each value; what is beyond the scale has that of its end."""
    place = (
        np.round(np.clip(np.asarray(values, np.float64) / scale, -1, 1) * (STEPS // 2)).astype(np.int64) + STEPS // 2
    )
    return signed_colours()[place]
