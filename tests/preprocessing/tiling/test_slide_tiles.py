"""The value of a tiled slide: sides, TRIDENT's attributes, counts of what was left out, and the figures of its status."""

from dataclasses import replace

import numpy as np
import pytest

from preprocessing.tiling.slide_tiles import done_status, trident_attributes
from tests.helpers.tiled_slides import TILES


def test_sides_are_micrometres_over_the_scale_of_each_axis():
    assert TILES.slide_px == (4000, 3000)
    assert TILES.side_level0 == (512.0, 256.0)


def test_what_trident_keeps_beside_coordinates():
    assert trident_attributes(TILES) == {
        "patch_size": 256, "patch_size_level0": 512, "level0_magnification": 40.0, "target_magnification": 20.0,
        "overlap": 64, "name": "s1", "savetodir": "", "level0_width": 4000, "level0_height": 3000,
    }  # fmt: skip
    assert trident_attributes(replace(TILES, stride_um=128.0))["overlap"] == 0
    other = trident_attributes(replace(TILES, mpp_x=0.3, tile_um=100.0, tile_px=224))
    assert (other["patch_size_level0"], other["level0_magnification"], other["target_magnification"]) == (
        333,
        33.333,
        22.4,
    )


def test_reasons_are_counted_and_those_that_took_none_are_0():
    assert TILES.exclusions.counts() == {"pen": 1, "fold": 2, "glass": 0}
    assert replace(TILES).exclusions.names[0] == ""


def test_the_status_says_what_was_made():
    status = done_status(TILES)
    assert (status.slide_id, status.step, status.state) == ("s1", "tile_slides", "done")
    assert dict(status.figures) == {
        "mpp_x": 0.25, "mpp_y": 0.5, "mpp_source": "file", "tissue_mm2": 0.123, "tissue_source": "segmented", "n_pieces": 2,
        "n_tiles": 3, "n_excluded_pen": 1, "n_excluded_fold": 2, "n_excluded_glass": 0, "sharpness": 1.5,
        "flags": "pen 3%; pale", "stain": TILES.stain.method, "stain_strength": 0.8, "stain_fallback": "why",
    }  # fmt: skip
    assert done_status(TILES, classes=("a", "b")).figures["tissue_classes"] == "a; b"


@pytest.mark.parametrize("quality", [{}, {"sharpness": np.full(3, np.nan, np.float32)}])
def test_what_was_not_measured_is_nothing(quality):
    assert done_status(replace(TILES, quality=quality)).figures["sharpness"] == ""
