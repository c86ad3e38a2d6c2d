"""The tissue of a slide out of a mask image that another tool made."""

import math
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from common.failures import SlideError
from preprocessing.reading.flat_picture import MAX_WHOLE_PX, without_pixel_limit
from preprocessing.reading.slide import Slide
from preprocessing.tissue.overview_mask import OVERVIEW_MPP

PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # a tag of TIFF, and a value of it


def read_mask(path: Path, slide: Slide) -> Bool[np.ndarray, "H W"]:
    """Return the tissue that a mask image shows.

    Raises:
        SlideError: the image cannot be read, is ambiguous, or does not show the whole slide.
    """
    return tissue_of_mask(_read_grey(path), slide)


def tissue_of_mask(image: UInt8[np.ndarray, "h w"], slide: Slide) -> Bool[np.ndarray, "H W"]:
    """Return the tissue of a mask image made by another tool: what is not 0; it covers the whole slide, at any scale.

    Pixels larger than the overview's are divided into equal ones: an outline drawn around a mask is exact to a part of
    its pixel, and a mask may have one pixel a tile.

    Raises:
        SlideError: its sides are not in the slide's proportion.
    """
    ratio = (image.shape[1] / image.shape[0]) / (slide.width * slide.mpp_x / (slide.height * slide.mpp_y))
    ratio_px = (image.shape[1] / image.shape[0]) / (slide.width / slide.height)
    if min(abs(math.log(ratio)), abs(math.log(ratio_px))) > max(0.02, 1.5 / min(image.shape)):
        raise SlideError(
            f"the mask image is {image.shape[1]} x {image.shape[0]} px, the slide {slide.width} x {slide.height}: "
            "it does not show the whole slide",
            "export the mask over the whole slide, at any scale",
        )
    rows, columns = slide.height * slide.mpp_y / OVERVIEW_MPP, slide.width * slide.mpp_x / OVERVIEW_MPP
    parts_y, parts_x = (max(1, math.ceil(n / side)) for n, side in zip((rows, columns), image.shape, strict=True))
    return np.repeat(np.repeat(image != 0, parts_y, axis=0), parts_x, axis=1)


def _read_grey(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Return a mask as grey levels; what is transparent is 0."""
    from PIL import Image, UnidentifiedImageError

    try:
        with without_pixel_limit(), Image.open(path) as file:
            if file.width * file.height > MAX_WHOLE_PX:
                reason = f"{path.name} has {file.width} x {file.height} pixels, more than {MAX_WHOLE_PX:,}"
                raise SlideError(reason, "export the mask at a smaller scale; 8 µm a pixel is enough")
            if file.mode == "1" and getattr(file, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:
                reason = f"{path.name} has one bit a pixel, of which 0 is white: programs disagree which of the two is tissue"
                raise SlideError(reason, "save the mask with 8 bits a pixel, 0 where there is no tissue")
            grey = np.asarray(file.convert("L"))
            if file.has_transparency_data:
                grey = np.where(np.asarray(file.convert("RGBA").getchannel("A")) == 0, 0, grey).astype(np.uint8)
            return grey
    except (OSError, UnidentifiedImageError) as error:
        raise SlideError(f"{path.name} cannot be read as a mask image ({error})", "export the mask again") from error
