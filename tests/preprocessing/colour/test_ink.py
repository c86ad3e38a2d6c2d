"""Colours of ink and of red cells, each rule at its bound."""

import numpy as np
import pytest

from preprocessing.colour.ink import MIN_RED_CELL_OD, ground_blue, is_ink_colour, is_no_stain, is_red_cell


@pytest.mark.parametrize(
    ("colour", "is_ink"),
    [
        ((0.50, 0.40, 0.10), True),  # takes more red than green
        ((0.46, 0.40, 0.10), False),  # as a stain does
        ((0.35, 0.20, 0.10), False),  # too faint to say
        ((0.36, 0.20, 0.10), True),
        ((0.80, 1.00, 0.20), True),  # blue ink over eosin
        ((0.80, 1.00, 0.30), False),
        ((0.80, 1.00, 0.28), False),
        ((0.75, 1.00, 0.20), False),  # more red than three quarters of green
        ((0.76, 1.00, 0.20), True),
        ((0.45, 0.50, 0.10), False),  # dense enough over tissue to say
        ((0.45, 0.51, 0.10), True),
        ((1.20, 1.30, 1.50), True),  # black
        ((1.20, 1.30, 1.70), False),
        ((1.05, 1.10, 1.15), False),
    ],
)
def test_ink_is_a_colour_that_no_stain_makes(colour, is_ink):
    assert is_ink_colour(np.array([[colour]], np.float32))[0, 0] == is_ink


@pytest.mark.parametrize("density", [0.6, 0.8, 1.4])
@pytest.mark.parametrize(
    ("share", "is_ink"),
    [((0.80, 0.27), True), ((0.80, 0.29), False), ((0.74, 0.2), False), ((1.14, 0.5), False), ((1.16, 0.5), True)],
)
def test_blue_ink_is_told_by_shares_of_green_however_dense_it_is(density, share, is_ink):
    colour = (share[0] * density, density, share[1] * density)
    assert is_ink_colour(np.array([[colour]], np.float32))[0, 0] == is_ink


@pytest.mark.parametrize(
    ("colour", "ground_blue", "is_red"),
    [
        ((0.30, 1.00, 0.80), 0.0, True),
        ((0.15, MIN_RED_CELL_OD, 0.40), 0.0, False),  # denser than this
        ((0.15, np.nextafter(MIN_RED_CELL_OD, 1), 0.40), 0.0, True),
        ((0.50, 1.00, 0.80), 0.0, False),  # takes red as nuclei do
        ((0.30, 1.00, 0.60), 0.0, False),  # as little blue as eosin
        ((0.30, 1.00, 0.80), 0.70, False),  # a slide whose ground takes much blue
        ((0.30, 1.00, 0.80), 0.65, True),
        ((0.30, 1.00, 1.30), 0.0, False),  # more blue than blood: a pen
    ],
)
def test_red_cells_are_dense_and_take_blue_and_hardly_any_red(colour, ground_blue, is_red):
    assert is_red_cell(np.array([colour]), ground_blue=ground_blue)[0] == is_red
    assert is_red_cell(np.tile(np.array(colour), (2, 5, 1)), ground_blue=ground_blue).tolist() == [[is_red] * 5] * 2


@pytest.mark.parametrize("density", [0.6, 0.8, 1.3, 1.7])
@pytest.mark.parametrize(
    ("share", "is_red"),
    [
        ((0.44, 0.80), True),
        ((0.46, 0.80), False),
        ((0.30, 0.60), False),
        ((0.30, 0.64), True),
        ((0.30, 1.24), True),
        ((0.30, 1.26), False),
    ],
)
def test_red_cells_are_told_by_shares_of_green_however_dense_they_are(density, share, is_red):
    colour = np.array([[share[0] * density, density, share[1] * density]])
    assert is_red_cell(colour, ground_blue=0.0)[0] == is_red


@pytest.mark.parametrize(
    ("colour", "is_no"),
    [
        ((1.14, 1.0, 0.5), False),
        ((1.16, 1.0, 0.5), True),
        ((0.5, 1.0, 1.25), False),
        ((0.5, 1.0, 1.26), True),
        ((0.0, 0.0, 0.0), False),
    ],
)
def test_what_takes_more_red_or_blue_than_green_does_not_enter_a_fit(colour, is_no):
    assert is_no_stain(np.array([colour]))[0] == is_no
    assert is_no_stain(np.tile(np.array(colour), (2, 5, 1))).tolist() == [[is_no] * 5] * 2


def test_the_blue_of_the_ground_is_the_median_of_what_may_be_pink():
    pink = np.array([[0.1, 1.0, 0.3], [0.2, 2.0, 1.2], [0.74, 1.0, 0.5]])
    nuclei = np.array([[0.75, 1.0, 0.9], [0.9, 1.0, 0.9], [0.8, 0.9, 0.1]])
    assert ground_blue(np.concatenate([pink, nuclei])) == pytest.approx(0.5)
    assert ground_blue(nuclei) == ground_blue(nuclei[:0]) == 0.0
