"""Shapes of masks against their definitions on few pixels."""

import numpy as np
import pytest

from preprocessing.tissue.mask_shapes import closed, dilated, disk, small_parts, touching


@pytest.mark.parametrize("radius", [0.2, 1.0, 2.4, 3.0, 7.0])
def test_a_disk_holds_the_pixels_whose_centres_lie_within_half_a_pixel_of_its_radius(radius):
    whole = max(1, round(radius))
    steps = range(-whole, whole + 1)
    assert disk(radius).tolist() == [[int(np.hypot(x, y) < whole + 0.5) for x in steps] for y in steps]


def test_a_mask_grows_by_the_radius_and_gaps_close_that_the_disk_does_not_fit_into():
    dot = np.zeros((9, 9), dtype=bool)
    dot[4, 4] = True
    assert (dilated(dot, 2.0)[2:7, 2:7] == disk(2.0).astype(bool)).all()
    assert dilated(dot, 2.0).sum() == disk(2.0).sum()
    for gap, is_closed in ((2, True), (3, False)):
        bars = np.zeros((40, 30), dtype=bool)
        bars[:, 5:10] = bars[:, 10 + gap : 15 + gap] = True
        assert closed(bars, 1.0)[10:30, 10 : 10 + gap].all() == is_closed
        assert not closed(bars, 1.0)[:, :5].any()


def test_parts_below_an_area_are_small_and_one_of_the_area_is_not():
    mask = np.zeros((10, 10), dtype=bool)
    mask[1:3, 1:3] = mask[5, 5:8] = True  # 4 and 3 pixels, a corner apart of nothing
    small = small_parts(mask, 4e-6, 1.0)
    assert small.sum() == 3
    assert small[5, 5:8].all()
    assert not small_parts(mask, 3e-6, 1.0).any()
    mask[3, 3] = True  # touches by a corner only: a part of its own
    assert small_parts(mask, 4e-6, 1.0).sum() == 4


def test_only_parts_that_hold_a_seed_are_kept():
    mask = np.zeros((6, 6), dtype=bool)
    mask[0:2, 0:2] = mask[4, 3:6] = True
    seeds = np.zeros_like(mask)
    seeds[4, 5] = seeds[3, 0] = True  # one inside a part, one on nothing
    kept = touching(mask, seeds)
    assert kept.sum() == 3
    assert kept[4, 3:6].all()
