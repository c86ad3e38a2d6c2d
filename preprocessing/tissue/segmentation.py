"""Where the tissue of a slide is: a first pass over the whole slide, a second, finer one along the edges it found.

The overview is as coarse as it takes to hold any slide in bounded memory (8 µm a pixel up to 26 mm squared). The second pass
reads only blocks that an edge runs through, at half the overview's pixel, and decides a band on both sides anew.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from common.failures import SlideError
from preprocessing.reading.slide import Slide
from preprocessing.reading.survey import survey_slide
from preprocessing.tissue.overview_mask import MPP_RANGE, OVERVIEW_MPP, find_tissue, tissue_near_glass

MAX_OVERVIEW_PX = 10_500_000
BAND_PX = 4  # of the overview, on both sides of an edge
BLOCK_PX = 128  # of the overview, side of a block of the second pass
HALO_PX = 12  # of the overview, read around a block so that its rim is decided like its middle


@dataclass(frozen=True)
class Segmentation:
    """A slide's overview and masks, each of the whole slide.

    `is_tissue` has twice the overview's pixels on a side (the same number after one pass); the other masks have its size.
    """

    overview: UInt8[np.ndarray, "h w 3"]
    mpp: float  # of the overview
    is_tissue: Bool[np.ndarray, "H W"]
    is_ink: Bool[np.ndarray, "h w"]
    is_dropped: Bool[np.ndarray, "h w"]  # stained pieces that do not look like tissue
    is_unreadable: Bool[np.ndarray, "h w"]
    glass: tuple[float, float, float]


def overview_mpp(slide: Slide) -> float:
    """Return the scale of a slide's overview: OVERVIEW_MPP, coarser for a slide too large for memory.

    Raises:
        SlideError: the slide's own pixels are larger than a mask needs, or it is larger than any microscope slide.
    """
    area_um2 = slide.width * slide.mpp_x * slide.height * slide.mpp_y
    mpp = max(OVERVIEW_MPP, math.sqrt(area_um2 / MAX_OVERVIEW_PX), slide.mpp_x, slide.mpp_y)
    if mpp > MPP_RANGE[1]:
        raise SlideError(
            f"the slide is {slide.width * slide.mpp_x / 1000:.0f} x {slide.height * slide.mpp_y / 1000:.0f} mm",
            "no microscope slide is so large: correct its scale in a column mpp of cohort.csv, or with --mpp",
        )
    return mpp


def segment_slide(slide: Slide, *, second_pass: bool = True) -> Segmentation:
    """Find the tissue of a slide.

    Raises:
        SlideError: the slide cannot be read, or its size is impossible.
    """
    survey = survey_slide(slide, overview_mpp(slide))
    mpp = (survey.mpp[0] + survey.mpp[1]) / 2
    first = find_tissue(survey.image, mpp=mpp)
    is_tissue = first.is_tissue & ~survey.is_unreadable
    if second_pass:
        is_tissue = _second_pass(slide, is_tissue, first.is_ink | survey.is_unreadable, first.glass, mpp)
    return Segmentation(survey.image, mpp, is_tissue, first.is_ink, first.is_dropped, survey.is_unreadable, first.glass)


def _second_pass(
    slide: Slide,
    is_tissue: Bool[np.ndarray, "h w"],
    is_left_out: Bool[np.ndarray, "h w"],
    glass: tuple[float, float, float],
    mpp: float,
) -> Bool[np.ndarray, "H W"]:
    """Return the mask at twice the scale, with the band along its edges decided on finer pixels."""
    # beside ink the first pass stands: its margin is there so that no rim of a stroke passes for tissue
    reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * BAND_PX + 1, 2 * BAND_PX + 1))
    band = _band(is_tissue) & ~cv2.dilate(is_left_out.view(np.uint8), reach).view(bool)
    height, width = is_tissue.shape
    fine = cv2.resize(is_tissue.view(np.uint8), (2 * width, 2 * height), interpolation=cv2.INTER_NEAREST).view(bool)
    for top in range(0, height, BLOCK_PX):
        for left in range(0, width, BLOCK_PX):
            block = (slice(top, min(top + BLOCK_PX, height)), slice(left, min(left + BLOCK_PX, width)))
            if band[block].any():
                _decide(slide, block, band, fine, glass, mpp)
    return fine


def _band(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * BAND_PX + 1, 2 * BAND_PX + 1))
    return (cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_GRADIENT, kernel)).view(bool)


def _decide(
    slide: Slide,
    block: tuple[slice, slice],
    band: Bool[np.ndarray, "h w"],
    fine: Bool[np.ndarray, "H W"],
    glass: tuple[float, float, float],
    mpp: float,
) -> None:
    """Decide the band inside one block, in place; a block that cannot be read keeps the first pass's answer."""
    height, width = band.shape
    rows, columns = block
    top, left = max(0, rows.start - HALO_PX), max(0, columns.start - HALO_PX)
    bottom, right = min(height, rows.stop + HALO_PX), min(width, columns.stop + HALO_PX)
    step_x, step_y = slide.width / width, slide.height / height
    try:
        image = slide.read_area(
            (left * step_x, top * step_y), ((right - left) * step_x, (bottom - top) * step_y),
            (2 * (right - left), 2 * (bottom - top)),
        )  # fmt: skip
    except SlideError:
        slide.reopen()
        return
    is_near = tissue_near_glass(image, mpp=mpp / 2, glass=glass)
    inside = (
        slice(2 * (rows.start - top), 2 * (rows.stop - top)),
        slice(2 * (columns.start - left), 2 * (columns.stop - left)),
    )
    place = (slice(2 * rows.start, 2 * rows.stop), slice(2 * columns.start, 2 * columns.stop))
    in_band = np.repeat(np.repeat(band[block], 2, axis=0), 2, axis=1)
    fine[place] = np.where(in_band, is_near[inside], fine[place])


def shrunk(mask: Bool[np.ndarray, "H W"], shape: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Return a mask at another size (rows, columns): what is at least half inside."""
    resized: Any = cv2.resize(mask.view(np.uint8) * np.uint8(255), (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(resized) >= 128
