"""Which levels of a pyramid show the slide: a file's word for it is checked against sizes and the level's own scale.

Some writers pad levels to whole tiles, some flag a label or macro as a smaller level: tiles read there would lie elsewhere
and have another scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TAG_PRECISION = 0.001  # of a resolution in whole pixels a centimetre, at the scales of levels
MAX_UM = 200.0  # a pixel; dots per inch of a screen or 1 a centimetre are what writers put who know no scale
Size = tuple[int, int]


def sound_levels(
    sizes: Sequence[Size], scales: Mapping[Size, tuple[float, float]]
) -> tuple[list[int], tuple[str, ...]]:
    """Return which levels show the slide, and a line on each that does not.

    Args:
        sizes: width and height of every level, the finest first.
        scales: size of a level to its µm a pixel on x and y, or any unit that is the same for all; where the file says so.
    """
    kept, remarks = [0], []
    width, height = sizes[0]
    for level, size in enumerate(sizes[1:], start=1):
        downsample = _own_downsample(scales.get(sizes[0]), scales.get(size))
        if not has_one_ratio(sizes[0], size):
            fault = f"is not in the proportion of the slide ({width} x {height} px)"
        elif downsample is not None and not has_scale(sizes[0], size, downsample):
            fault = f"says that it is {downsample[0]:.4g} times smaller than the slide, and has not that size"
        else:
            kept.append(level)
            continue
        remarks.append(f"level {level} of {size[0]} x {size[1]} px {fault}: padded, or a label; it is not used")
    return kept, tuple(remarks)


def has_one_ratio(slide: Size, level: Size) -> bool:
    """Say whether one factor makes the slide's size the level's, to within one pixel of the level on both axes."""
    least = max(full / (side + 1) for full, side in zip(slide, level, strict=True))
    most = min(full / (side - 1) if side > 1 else math.inf for full, side in zip(slide, level, strict=True))
    return least <= most


def has_scale(slide: Size, level: Size, downsample: tuple[float, float]) -> bool:
    """Say whether a level is as many times smaller as it says, to within one of its pixels."""
    return all(
        abs(full / by - side) <= 1 + TAG_PRECISION * side
        for full, side, by in zip(slide, level, downsample, strict=True)
    )


def _own_downsample(
    of_slide: tuple[float, float] | None, of_level: tuple[float, float] | None
) -> tuple[float, float] | None:
    """Return by how much a level says to be smaller; None where it says nothing, or copies what the slide says."""
    if of_slide is None or of_level is None or of_slide == of_level:
        return None
    return of_level[0] / of_slide[0], of_level[1] / of_slide[1]


def tiff_scales(pages: Sequence[Any]) -> dict[Size, tuple[float, float]]:
    """Return size to scale of the pages of a TIFF that have a resolution; of one size the first counts."""
    scales: dict[Size, tuple[float, float]] = {}
    for page in pages:
        um = {2: 25400.0, 3: 10000.0}.get(page.tags.valueof("ResolutionUnit", 1))
        values = [page.tags.valueof(tag) for tag in ("XResolution", "YResolution")]
        if um is not None and all(value is not None and value[0] and value[1] for value in values):
            x, y = (um * value[1] / value[0] for value in values)
            if max(x, y) <= MAX_UM:
                scales.setdefault((int(page.imagewidth), int(page.imagelength)), (x, y))
    return scales


def dicom_scales(files: Sequence[Path]) -> dict[Size, tuple[float, float]]:
    """Return size to pixel spacing of the files of a DICOM series; files that are none are passed over."""
    from pydicom.filereader import dcmread

    scales: dict[Size, tuple[float, float]] = {}
    for file in files:
        try:
            header: Any = dcmread(file, stop_before_pixels=True, specific_tags=list(_SPACING_TAGS))
            measures = header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
            y, x = (float(value) for value in measures.PixelSpacing)
            size = (int(header.TotalPixelMatrixColumns), int(header.TotalPixelMatrixRows))
        except Exception:  # pydicom raises whatever a broken header leads to; the file itself is opened elsewhere
            continue
        if x > 0 and y > 0:
            scales.setdefault(size, (x, y))
    return scales


_SPACING_TAGS = ("SharedFunctionalGroupsSequence", "TotalPixelMatrixColumns", "TotalPixelMatrixRows")
