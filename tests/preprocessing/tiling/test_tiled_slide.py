"""An open slide as tiles, outline and picture: nothing is written before all is reckoned, and a kill leaves no half slide."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from common.failures import SlideError
from common.study import Study
from preprocessing.reading.slide import open_slide
from preprocessing.tiling import tiling_job
from preprocessing.tiling.tiled_slide import SlideOrigin, tile_open_slide
from preprocessing.tiling.tiling_job import TilingJob, tile_slide
from preprocessing.tiling.tiling_settings import TilingConfig
from preprocessing.tissue.source import find_source

CONFIG = TilingConfig(tile_um=64.0, quality=False, stain="none")


def slide_with_a_square(folder, *, is_blank=False):
    image = np.full((1200, 1200, 3), 240, np.uint8)
    if not is_blank:
        image[300:900, 300:900] = np.random.default_rng(0).integers(90, 220, (600, 600, 3))
        image[300:900, 300:900, 1] //= 2
    Image.fromarray(image).save(folder / "s.png")
    return folder / "s.png"


def tiled(folder, path):
    origin = SlideOrigin(slide_id="s", slide_fingerprint="f", settings="{}", preview_file=folder / "s.jpg")
    with open_slide(path, mpp=(1.0, 1.0)) as slide:
        source = find_source(folder / "s.geojson", None, slide.outline_origin)
        return tile_open_slide(slide, source, origin, CONFIG)


def test_a_slide_is_reckoned_without_writing(tmp_path):
    made = tiled(tmp_path, slide_with_a_square(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["s.png"]
    assert made.refusal is None
    assert len(made.tiles.coords) > 0
    assert made.tiles.slide_px == (1200, 1200)
    assert made.tiles.side_level0 == (64.0, 64.0)
    assert '"tissue 1"' in made.outline
    assert made.picture.shape[2] == 3


def test_a_blank_slide_is_a_value_with_its_refusal(tmp_path):
    made = tiled(tmp_path, slide_with_a_square(tmp_path, is_blank=True))
    assert made.refusal.reason == "no tissue found"
    assert str(tmp_path / "s.jpg") in made.refusal.remedy
    assert not len(made.tiles.coords)


def test_a_slide_killed_before_its_tile_file_is_made_again(tmp_path, monkeypatch):
    study = Study(tmp_path / "study")
    job = TilingJob(
        slide_id="s", path=slide_with_a_square(tmp_path), mpp=(1.0, 1.0), mpp_source="--mpp",
        tile_file=study.tile_file("s"), outline_file=study.outline_file("s"), preview_file=study.preview_file("s"),
    )  # fmt: skip

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tiling_job, "write_slide_tiles", killed)
        tile_slide(job, CONFIG)
    assert job.preview_file.is_file()
    assert job.outline_file.is_file()
    assert not job.tile_file.exists()
    first = tile_slide(job, CONFIG)
    written = {path: path.read_bytes() for path in (job.tile_file, job.outline_file, job.preview_file)}
    monkeypatch.setattr(tiling_job, "tile_open_slide", killed)  # what is whole is not made again
    assert tile_slide(job, CONFIG) == first
    assert {path: path.read_bytes() for path in written} == written


@pytest.mark.parametrize("side", [1, 50])
def test_r8_an_image_smaller_than_a_tile_is_named_as_that(tmp_path, side):
    tifffile.imwrite(tmp_path / "s.tif", np.full((side, side, 3), 150, np.uint8), photometric="rgb")
    with pytest.raises(SlideError, match=rf"{side} x {side} px.*smaller than a tile"):
        tiled(tmp_path, tmp_path / "s.tif")
