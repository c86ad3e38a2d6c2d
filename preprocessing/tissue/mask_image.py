"""The tissue of a slide out of a mask image that another tool made."""

import math
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8

from common.failures import SlideError
from preprocessing.reading.flat_picture import MAX_WHOLE_PX, without_pixel_limit
from preprocessing.reading.slide import Slide
from preprocessing.tissue.overview_mask import OVERVIEW_MPP

OTHER_COLOURS = ("CMYK", "YCbCr", "LAB", "HSV")  # where 0 is not black
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # a tag of TIFF, and a value of it


def read_mask(path: Path, slide: Slide, threshold: float | None = None) -> Bool[np.ndarray, "H W"]:
    """Return the tissue that a mask image shows; `threshold` as in `stored_mask`.

    Raises:
        SlideError: the image cannot be read, is ambiguous, or does not show the whole slide.
    """
    return tissue_of_mask(stored_mask(path, threshold), slide)


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


def stored_mask(path: Path, threshold: float | None = None) -> UInt8[np.ndarray, "h w"]:
    """Return 1 where any stored sample is not 0 and nothing is transparent, else 0; of a palette the index is the sample.

    Args:
        path: the image.
        threshold: of an image of probabilities (floats from 0 to 1, not all of them 0 or 1) what is this or more is tissue;
            labels do not heed it. None: probabilities are refused.

    Raises:
        SlideError: the image cannot be read, or does not say what is tissue.
    """
    from PIL import Image

    try:
        with without_pixel_limit(), Image.open(path) as file:
            if file.width * file.height > MAX_WHOLE_PX:
                reason = f"{path.name} has {file.width} x {file.height} pixels, more than {MAX_WHOLE_PX:,}"
                raise SlideError(reason, "export the mask at a smaller scale; 8 µm a pixel is enough")
            if file.mode == "1" and getattr(file, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:
                reason = f"{path.name} has one bit a pixel, of which 0 is white: programs disagree which of the two is tissue"
                raise SlideError(reason, "save the mask with 8 bits a pixel, 0 where there is no tissue")
            has_alpha = file.mode in ("LA", "PA", "RGBA", "La", "RGBa")
            samples = np.asarray(file.convert("RGB") if file.mode in OTHER_COLOURS else file)
            if samples.dtype.kind == "f":
                samples = _labels(samples, path.name, threshold)
            samples = samples.reshape(*samples.shape[:2], -1)
            is_tissue = (samples[..., : samples.shape[2] - has_alpha] != 0).any(axis=2)
            if file.has_transparency_data:
                is_tissue &= np.asarray(file.convert("RGBA").getchannel("A")) != 0
            return is_tissue.astype(np.uint8)
    except SlideError:
        raise
    except Exception as error:  # Pillow raises whatever a broken header leads to
        raise SlideError(f"{path.name} cannot be read as a mask image ({error})", "export the mask again") from error


def holds_fractions(path: Path) -> bool:
    """Say whether a mask image is of floats between 0 and 1, so that a threshold counts; of a broken one nothing is said."""
    from PIL import Image

    try:
        with without_pixel_limit(), Image.open(path) as file:
            if file.mode != "F" or file.width * file.height > MAX_WHOLE_PX:
                return False
            samples = np.asarray(file)
    except Exception:  # as in `stored_mask`, which names it
        return False
    return bool(((samples > 0) & (samples < 1)).any())


def _labels(
    samples: Float[np.ndarray, "*shape"], name: str, threshold: float | None
) -> Float[np.ndarray, "*shape"] | Bool[np.ndarray, "*shape"]:
    """Return floats with 0 for what is no number; of probabilities what reaches the threshold, without one they are refused."""
    samples = np.nan_to_num(samples, nan=0.0)
    fractions = samples[(samples > 0) & (samples < 1)]
    if not len(fractions):
        return samples
    least, most = float(samples.min()), float(samples.max())
    if least < 0 or most > 1:
        raise SlideError(
            f"{name} holds fractions ({fractions[0]:.3g} is one) and values from {least:.3g} to {most:.3g}: "
            "neither labels nor probabilities",
            "save the mask as 0 where there is no tissue and 1 where there is, or as probabilities from 0 to 1",
        )
    if threshold is None:
        raise SlideError(
            f"{name} holds fractions ({fractions[0]:.3g} is one), as of probabilities: where tissue begins is not said",
            "choose a threshold with --mask_threshold, or save the mask as 0 below and 1 above it",
        )
    return samples >= threshold
