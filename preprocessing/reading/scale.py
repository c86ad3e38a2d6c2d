"""The scale of a slide, µm a pixel on both axes: given by table or flag, or read off the file, never guessed."""

import math
import re
from collections.abc import Mapping
from typing import Any

from common.failures import SlideError

MPP_RANGE = (0.05, 10.0)  # µm a pixel; outside lies no microscope
MPP_REMEDY = "give the true value in a column mpp (or mpp_x and mpp_y) of cohort.csv, or for all slides with --mpp"
OME_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b([^>]*)>")
ATTRIBUTE = re.compile(r"""(\w+)\s*=\s*["']([^"']*)["']""")
UM_OF_UNIT = {
    "µm": 1.0, "\u03bcm": 1.0, "um": 1.0, "&#181;m": 1.0, "&#xB5;m": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6
}  # fmt: skip
OF_FILE = "file"  # where a scale came from that was not given
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


def ome_scale(description: str, size: tuple[int, int]) -> tuple[float, float] | None:
    """Return µm a pixel on x and y out of OME-XML, of the image of this width and height; None where it says nothing."""
    if "<OME" not in description and ":OME" not in description:
        return None
    for tag in OME_PIXELS.findall(description):
        values = dict(ATTRIBUTE.findall(tag))
        if (values.get("SizeX"), values.get("SizeY")) != (str(size[0]), str(size[1])):
            continue
        try:
            x, y = (
                float(values[f"PhysicalSize{axis}"]) * UM_OF_UNIT[values.get(f"PhysicalSize{axis}Unit", "µm")]
                for axis in "XY"
            )
        except (KeyError, ValueError):
            return None
        return x, y
    return None


def ome_bits(description: str) -> int | None:
    """Return how many bits of its samples OME-XML says to be significant, of its first image; None where it says nothing."""
    if "<OME" not in description and ":OME" not in description:
        return None
    for tag in OME_PIXELS.findall(description)[:1]:
        text = dict(ATTRIBUTE.findall(tag)).get("SignificantBits", "")
        return int(text) if text.isdecimal() and 8 <= int(text) <= 16 else None
    return None


def with_ome_scale(properties: Mapping[str, str], description: str, size: tuple[int, int]) -> Mapping[str, str]:
    """Return properties with the scale of OME-XML, where they have none that a microscope can have."""
    try:
        has_scale = all(is_plausible(value) for value in file_scale(properties))
    except SlideError:
        has_scale = False
    scale = None if has_scale else ome_scale(description, size)
    if scale is None:
        return properties
    return {**properties, **dict(zip(MPP_PROPERTIES, map(str, scale), strict=True))}


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
