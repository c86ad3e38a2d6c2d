"""Which densities are pen, by colour and strength, on squares of one colour."""

import numpy as np
import pytest

from preprocessing.tissue.density_bytes import OD_STEP, Densities
from preprocessing.tissue.pen_strokes import find_ink


def squared(colour):
    """A square of 0.48 mm of one colour, optical densities red, green and blue, in glass at 8 µm a pixel."""
    planes = [np.zeros((120, 120), np.uint8) for _ in range(3)]
    for plane, density in zip(planes, colour, strict=True):
        plane[30:90, 30:90] = round(density / OD_STEP)
    strongest, weakest = np.maximum.reduce(planes), np.minimum.reduce(planes)
    return Densities(*planes, strongest, strongest - weakest)


@pytest.mark.parametrize(
    ("colour", "is_pen"),
    [
        ((0.50, 0.30, 0.10), True),  # blue pen
        ((0.34, 0.20, 0.08), False),  # the same, faint: a shadow
        ((0.35, 0.20, 0.08), False),
        ((0.36, 0.20, 0.08), True),
        ((0.50, 0.45, 0.10), False),  # haematoxylin takes nearly as much green as red
        ((0.70, 0.72, 0.75), True),  # black
        ((0.56, 0.58, 0.60), False),  # grey
        ((0.70, 1.20, 0.80), False),  # dark, one channel below 0.62 of the strongest
        ((0.04, 0.50, 0.40), True),  # red pen
        ((0.02, 0.35, 0.28), False),  # faint
        ((0.02, 0.36, 0.28), True),
        ((0.10, 0.50, 0.40), False),  # takes red as eosin does
        ((0.04, 0.50, 0.25), False),  # takes as little blue as eosin does
    ],
)
def test_pen_is_told_by_colour_and_strength(colour, is_pen):
    ink = find_ink(squared(colour), 8.0)
    assert ink[32:88, 32:88].all() == ink.any() == is_pen


def test_a_margin_of_24_micrometres_goes_with_the_stroke():
    ink = find_ink(squared((0.50, 0.30, 0.10)), 8.0)
    rows = np.flatnonzero(ink[:, 60])
    assert (rows[0], rows[-1]) == (30 - 3, 89 + 3)


def test_dots_below_their_area_are_no_pen():
    """0.004 mm2 are 62.5 pixels of 8 µm."""
    for side, is_pen in ((8, True), (7, False)):
        planes = [np.zeros((60, 60), np.uint8) for _ in range(3)]
        for plane, density in zip(planes, (50, 30, 10), strict=True):
            plane[20 : 20 + side, 20 : 20 + side] = density
        strongest, weakest = np.maximum.reduce(planes), np.minimum.reduce(planes)
        assert find_ink(Densities(*planes, strongest, strongest - weakest), 8.0).any() == is_pen
