"""The scale of a slide, µm a pixel on both axes: given by table or flag, or read off the file, never guessed."""

import math
from collections.abc import Mapping
from typing import Any

from common.failures import SlideError

MPP_RANGE = (0.05, 10.0)  # µm a pixel; outside lies no microscope
MPP_REMEDY = "give the true value in a column mpp (or mpp_x and mpp_y) of cohort.csv, or for all slides with --mpp"
MPP_PROPERTIES = ("openslide.mpp-x", "openslide.mpp-y")


def parse_scale(text: str) -> tuple[float, float]:
    """Return µm a pixel on x and y out of "0.5" (both axes) or "0.5,0.25".

    Raises:
        ValueError: the text is neither, or a value is outside the range of microscopes.
    """
    parts = text.split(",")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or not all(is_plausible(value) for value in values):
        raise ValueError(
            f"--mpp is µm a pixel, {MPP_RANGE[0]} to {MPP_RANGE[1]}: one number for both axes (0.5) or two (0.5,0.25), "
            f"got {text!r}"
        )
    return values[0], values[-1]


def given_scale(row: Mapping[str, Any], flag: tuple[float, float] | None) -> tuple[tuple[float, float], str] | None:
    """Return the scale given for a slide and where it came from; the table wins over the flag; None when none is.

    Args:
        row: a row of the clinical table, with mpp, or mpp_x and mpp_y, or none of them.
        flag: the value of --mpp, µm a pixel on x and y.
    """
    both, x, y = (_number(row.get(name)) for name in ("mpp", "mpp_x", "mpp_y"))
    if x is not None and y is not None:
        return (x, y), "cohort table"
    if both is not None:
        return (both, both), "cohort table"
    return None if flag is None else (flag, "--mpp")


def file_scale(properties: Mapping[str, str]) -> tuple[float, float]:
    """Return µm a pixel on x and y out of a slide's properties.

    Raises:
        SlideError: there is none, or it is no number.
    """
    values = []
    for axis, name in zip("xy", MPP_PROPERTIES, strict=True):
        text = properties.get(name)
        if text is None:
            raise SlideError("the file does not say how many µm a pixel is (mpp)", MPP_REMEDY)
        try:
            values.append(float(text))
        except ValueError as error:
            raise SlideError(f"the file's mpp on {axis} is {text[:40]!r}, no number", MPP_REMEDY) from error
    return values[0], values[1]


def check_scale(scale: tuple[float, float], source: str) -> None:
    """Raise a SlideError that names the axis when a scale is zero, not finite, or outside `MPP_RANGE`."""
    for axis, value in zip("xy", scale, strict=True):
        if not is_plausible(value):
            raise SlideError(
                f"mpp on {axis} is {value:g} ({source}), outside {MPP_RANGE[0]} to {MPP_RANGE[1]}", MPP_REMEDY
            )


def is_plausible(mpp: float) -> bool:
    """Say whether a microscope can have this many µm a pixel; NaN is none."""
    return MPP_RANGE[0] <= mpp <= MPP_RANGE[1]


def _number(value: Any) -> float | None:
    return None if value is None or math.isnan(float(value)) else float(value)
