"""Which tissue a slide's tiles are laid over: an outline a person edited, a mask of another tool, or our segmentation."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from common.failures import SlideError
from common.files import content_sha256
from preprocessing.reading.slide import Slide
from preprocessing.tissue.mask_image import holds_fractions, read_mask
from preprocessing.tissue.outline import Outline, clipped, filled, outlines, read_geojson
from preprocessing.tissue.overview_mask import MIN_PIECE_MM2
from preprocessing.tissue.segmentation import Segmentation, segment_slide, shrunk

SIMPLER_UM = 0.5  # outlines of very many corners are made simpler by this: a part of a pixel of the mask
MIN_DROPPED_MM2, MIN_DROPPED_SHARE = (
    0.5,
    0.02,
)  # of what is stained and dropped, and of it over the tissue: worth a look
WHOLE_SHARE = 0.99  # of a slide: all of it but a part of a mask's pixel
SEGMENTED, EDITED, MASK = "segmented", "edited outline", "mask image"


@dataclass(frozen=True)
class TissueSource:
    """Where the tissue of a slide comes from: one of SEGMENTED, EDITED and MASK, and the content it hangs on."""

    kind: str
    outline: Outline | None  # edited pieces or exclusions
    mask_file: Path | None
    fingerprint: str  # "" for a segmentation without exclusions
    threshold: float | None = None  # of a mask image of probabilities

    @property
    def name(self) -> str:
        """The kind, and where a threshold made tissue of probabilities, that threshold."""
        return self.kind if self.threshold is None else f"{self.kind}, {self.threshold:g} and more"


@dataclass(frozen=True)
class SlideTissue:
    """The tissue of a slide: masks, pieces and exclusions as polygons in level-0 pixels, and where it came from."""

    masks: Segmentation
    pieces: tuple[Any, ...]
    exclusions: tuple[Any, ...]
    flags: tuple[str, ...] = ()  # what is odd about a mask image, or was dropped by ours


def find_source(
    outline_file: Path, mask_file: Path | None, origin: tuple[int, int], *, mask_threshold: float | None = None
) -> TissueSource:
    """Look for an edited outline, then for a mask image.

    Args:
        outline_file: where the outline of the slide lies, ours or an edited one.
        mask_file: mask image of the slide, if there is one.
        origin: level-0 pixel that is (0, 0) in the outline.
        mask_threshold: from where on probabilities of a mask image are tissue.

    Raises:
        SlideError: the outline is there but cannot be read, or holds no area.
    """
    edited: Outline | None = None
    if outline_file.is_file():
        try:
            outline = read_geojson(outline_file.read_text(encoding="utf-8-sig"), origin=origin)
        except (ValueError, UnicodeDecodeError) as error:
            raise SlideError(
                f"{outline_file}: {error}", "export it from QuPath again, or delete it to have it made anew"
            ) from error
        edited = outline if outline.is_edited else None
    if edited is not None and not edited.pieces and not edited.exclusions:
        raise SlideError(
            f"{outline_file} holds no area: every annotation was deleted, or none is an area",
            "draw the tissue, or delete the file to have the slide segmented again",
        )
    fingerprint = content_sha256(outline_file) if edited is not None else ""
    if edited is not None and edited.pieces:
        return TissueSource(EDITED, edited, None, fingerprint)
    if mask_file is not None:
        threshold = mask_threshold if mask_threshold is not None and holds_fractions(mask_file) else None
        applied = "" if threshold is None else f"{threshold!r} and more;"
        return TissueSource(MASK, edited, mask_file, applied + content_sha256(mask_file) + fingerprint, threshold)
    return TissueSource(SEGMENTED, edited, None, fingerprint)


def find_slide_tissue(slide: Slide, source: TissueSource, *, second_pass: bool) -> SlideTissue:
    """Return the tissue of a slide from its source; exclusions are cut away, unreadable areas too.

    Raises:
        SlideError: the slide or the mask image cannot be read; or a person's outline leaves nothing of the slide.
    """
    slide_px = (slide.width, slide.height)
    min_area = MIN_PIECE_MM2 * 1e6 / (slide.mpp_x * slide.mpp_y)
    masks = segment_slide(slide, second_pass=second_pass and source.kind == SEGMENTED)
    tolerance = SIMPLER_UM / max(slide.mpp_x, slide.mpp_y)
    given = source.outline.exclusions if source.outline is not None else ()
    exclusions = tuple(clipped(given, slide_px, tolerance=tolerance))
    if source.kind == EDITED:
        assert source.outline is not None
        pieces: list[Any] = clipped(source.outline.pieces, slide_px, tolerance=tolerance)  # else what a person drew
        if not pieces:
            raise SlideError(
                "the edited outline lies wholly off the slide", "export it from the project of this slide, or delete it"
            )
    elif source.kind == MASK:
        assert source.mask_file is not None
        is_tissue = read_mask(source.mask_file, slide, source.threshold)
        pieces = outlines(is_tissue, slide_px=slide_px)
    else:
        pieces = outlines(masks.is_tissue, slide_px=slide_px, min_area_level0=min_area)
    shape = (2 * masks.is_ink.shape[0], 2 * masks.is_ink.shape[1])
    is_tissue = filled(pieces, shape, slide_px=slide_px).view(bool)
    flags = _mask_flags(is_tissue, masks.is_tissue) if source.kind == MASK else ()
    if source.kind == SEGMENTED:
        flags = _dropped_flags(masks)
    if exclusions:
        had_tissue = bool(is_tissue.any())
        is_tissue &= ~filled(exclusions, shape, slide_px=slide_px).view(bool)
        if had_tissue and not is_tissue.any():
            raise SlideError(
                "the exclusions of the outline cut all tissue away",
                "edit the outline, or leave the slide out of the table",
            )
    if masks.is_unreadable.any():
        is_tissue &= ~np.repeat(np.repeat(masks.is_unreadable, 2, axis=0), 2, axis=1)
    return SlideTissue(replace(masks, is_tissue=is_tissue), tuple(pieces), exclusions, flags)


def _dropped_flags(masks: Segmentation) -> tuple[str, ...]:
    """Return how much was stained but does not look like tissue, where it is more than a shadow beside a large piece."""
    dropped_mm2 = float(masks.is_dropped.sum() * (masks.mpp / 1000) ** 2)
    tissue_mm2 = float(masks.is_tissue.mean() * masks.is_dropped.size * (masks.mpp / 1000) ** 2)
    is_much = dropped_mm2 >= max(MIN_DROPPED_MM2, MIN_DROPPED_SHARE * tissue_mm2)
    return (f"{dropped_mm2:.1f} mm2 not taken for tissue",) if is_much else ()


def _mask_flags(is_tissue: Bool[np.ndarray, "H W"], segmented: Bool[np.ndarray, "h w"]) -> tuple[str, ...]:
    """Return what is odd about a mask beside our segmentation: tools code tissue as 0, or the ground as 1 or 7."""
    ours = shrunk(segmented, is_tissue.shape)
    if not ours.any():
        return ()
    if is_tissue.mean() > WHOLE_SHARE and ours.mean() < WHOLE_SHARE:
        return ("mask covers the whole slide",)
    return ("mask agrees better inverted",) if (is_tissue == ours).mean() < 0.5 else ()
