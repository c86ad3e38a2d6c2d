"""The exports of a slide: refused where its tiles are others or it is not there; pixels of single tiles, those that can be read."""

from dataclasses import replace

import numpy as np
import pytest

from common.failures import SlideError
from common.study import Study
from mil.explanation.exports.written import _check_corners, _tissue, export_slide, tile_pixels
from mil.explanation.map_store import SlideMap
from mil.explanation.place import TilePlaces
from tests.helpers.tiled_slides import TILES


def map_of(coords, unit="level-0 px", n=None):
    n = len(coords) if n is None else n
    return SlideMap(
        slide_id="s1", patient_id="P", outputs=("LMS", "UPS"), told="LMS", contributions=np.zeros((n, 2)),
        attention=np.full(n, 1 / max(n, 1)), coords=np.array(coords, np.int64).reshape(-1, 2), coords_unit=unit, known={},
    )  # fmt: skip


def test_corners_are_those_of_the_tile_file_or_some_of_them():
    _check_corners(map_of([[0, 0], [512, 0], [0, 256]]), TILES)
    _check_corners(map_of([[512, 0]]), TILES)  # what could not be read is left out
    for wrong in (map_of([[0, 0], [513, 0]]), map_of([[0, 512]]), map_of([[0, 0]], unit="um"), map_of([], n=2)):
        with pytest.raises(SlideError, match="other tiles than its features"):
            _check_corners(wrong, TILES)


def test_without_a_slide_file_nothing_is_put_in_its_place(tmp_path):
    with pytest.raises(SlideError, match="no slide file of it"):
        export_slide(
            map_of([[0, 0]]), study=Study(tmp_path), slide_file=None, folder=tmp_path / "maps", wanted=("png",)
        )
    assert not (tmp_path / "maps").exists()


def test_tiles_that_cannot_be_read_have_no_pixels(tmp_path):
    import tifffile

    corners = [(0, 0), (10**6, 0), (256, 0)]
    assert tile_pixels(None, TILES, corners, 64) == [None] * 3
    path = tmp_path / "s1.tif"
    assert tile_pixels(path, TILES, corners, 64) == [None] * 3  # it is not there
    pixels = np.full((512, 512, 3), (200, 100, 180), np.uint8)
    tifffile.imwrite(
        path, pixels, tile=(256, 256), photometric="rgb", resolution=(20000, 20000), resolutionunit="CENTIMETER"
    )
    assert tile_pixels(path, None, corners, 64) == [None] * 3
    own = replace(TILES, mpp_x=0.5, mpp_y=0.5, slide_width=512, slide_height=512, mpp_source="--mpp")
    first, beyond, last = tile_pixels(path, own, corners, 64)
    for each in (first, last):
        assert each.shape == (64, 64, 3)
        assert (each == (200, 100, 180)).all()
    assert beyond is None or not (beyond == (200, 100, 180)).all()


def test_an_outline_that_is_gone_or_none_leaves_a_map_without(tmp_path):
    study = Study(tmp_path)
    places = TilePlaces(
        corners=np.zeros((1, 2), np.int64), mpp=(0.5, 0.5), tile_um=128.0, stride_um=128.0, origin=(0, 0), shown=(512, 512)
    )  # fmt: skip
    assert _tissue(study, "s1", places) == ()
    path = study.outline_file("s1")
    path.parent.mkdir(parents=True)
    path.write_text("no outline")
    assert _tissue(study, "s1", places) == ()
    ring = [[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]
    path.write_text(
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, "geometry": '
        f'{{"type": "Polygon", "coordinates": [{ring}]}}}}]}}'
    )
    assert len(_tissue(study, "s1", places)) == 1
