"""The whole slide through `read_area`, block by block: the slow twin of the survey."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from preprocessing.reading.slide import Slide

BLOCK_PX = 2048  # side of a read


def slow_overview(slide: Slide, mpp: float) -> UInt8[np.ndarray, "h w 3"]:
    """Return the whole slide at about `mpp` on both axes, read in blocks of bounded size."""
    width, height = (
        max(1, round(side)) for side in (slide.width * slide.mpp_x / mpp, slide.height * slide.mpp_y / mpp)
    )
    step_x, step_y = slide.width / width, slide.height / height
    level = slide.level_for(min(step_x, step_y))
    block = max(1, int(BLOCK_PX * slide.level_downsamples[level] / max(step_x, step_y)))
    image = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, block):
        for left in range(0, width, block):
            size_px = (min(block, width - left), min(block, height - top))
            image[top : top + size_px[1], left : left + size_px[0]] = slide.read_area(
                (left * step_x, top * step_y), (size_px[0] * step_x, size_px[1] * step_y), size_px
            )
    return image
