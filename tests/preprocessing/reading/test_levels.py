"""Levels of a pyramid: used where they show the slide, left out and named where they do not."""

import numpy as np
import pytest
import tifffile

from common.parallel import Outcome
from preprocessing.checks.slide_checks import check_slide, slide_findings
from preprocessing.reading.jpeg_tiles import NotJpegTilesError, open_jpeg_slide
from preprocessing.reading.levels import has_one_ratio, has_scale
from preprocessing.reading.openslide_handle import OpenSlideHandle
from preprocessing.reading.slide import open_slide, read_tile

WHITE = 255
TILED = {"photometric": "rgb", "tile": (128, 128), "metadata": None, "resolutionunit": "CENTIMETER"}


def red_square(width=600, height=1000):
    image = np.full((height, width, 3), WHITE, np.uint8)
    image[896:960, 512:576] = (255, 0, 0)
    return image


def write_pages(path, pages):
    """Write tiled pages (pixels, µm a pixel or None, whether flagged reduced)."""
    with tifffile.TiffWriter(path) as file:
        for pixels, mpp, is_reduced in pages:
            resolution = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp)}
            file.write(pixels, subfiletype=int(is_reduced), **resolution, **TILED)


def padded_level(image, side=512):
    padded = np.full((side, side, 3), WHITE, np.uint8)
    half = image[::2, ::2]
    padded[: half.shape[0], : half.shape[1]] = half[:side, :side]
    return padded


def test_r1_a_level_padded_to_whole_tiles_is_left_out_and_said(tmp_path):
    image = red_square()
    write_pages(tmp_path / "s.tif", [(image, 0.5, False), (padded_level(image), 1.0, True)])
    with open_slide(tmp_path / "s.tif") as slide:
        tile = read_tile(slide, 512, 896, tile_um=32, tile_px=32)
        assert slide.level_dimensions == ((600, 1000),)
        assert len(slide.remarks) == 1
        assert "512 x 512" in slide.remarks[0]
    assert (tile[2:-2, 2:-2] == (255, 0, 0)).all()
    check = check_slide("s", tmp_path / "s.tif", None, 16.0)
    findings = slide_findings([Outcome("s", check, None)], {})
    assert any("512 x 512" in finding.found for finding in findings)


def test_r1_a_square_level_with_padding_is_known_by_its_own_resolution(tmp_path):
    image = np.full((600, 600, 3), WHITE, np.uint8)
    image[512:576, 512:576] = (255, 0, 0)
    write_pages(tmp_path / "s.tif", [(image, 0.5, False), (padded_level(image), 1.0, True)])
    with open_slide(tmp_path / "s.tif") as slide:
        assert slide.level_dimensions == ((600, 600),)
        assert (read_tile(slide, 512, 512, tile_um=32, tile_px=32)[2:-2, 2:-2] == (255, 0, 0)).all()


@pytest.mark.parametrize("mpp", [0.5, 1.0, None])
def test_r1_a_true_level_stays_whatever_its_resolution_copies(tmp_path, mpp):
    image = red_square()
    write_pages(tmp_path / "s.tif", [(image, 0.5, False), (np.ascontiguousarray(image[::2, ::2]), mpp, True)])
    with open_slide(tmp_path / "s.tif") as slide:
        assert slide.level_dimensions == ((600, 1000), (300, 500))
        assert slide.remarks == ()


def test_r1_the_raw_tiles_leave_the_level_out_too(tmp_path):
    image = red_square()
    with tifffile.TiffWriter(tmp_path / "s.tif") as file:
        for pixels, reduced in ((image, 0), (padded_level(image), 1)):
            file.write(pixels, subfiletype=reduced, compression="jpeg", **TILED)
    jpeg = open_jpeg_slide(tmp_path / "s.tif")
    assert [(level.width, level.height) for level in jpeg.levels] == [(600, 1000)]
    jpeg.close()


def test_r2_a_macro_flagged_reduced_is_no_level(tmp_path):
    image = red_square()
    macro = np.zeros((125, 250, 3), np.uint8)
    write_pages(tmp_path / "s.tif", [(image, 0.5, False), (image[::2, ::2].copy(), 1.0, True), (macro, None, True)])
    with open_slide(tmp_path / "s.tif") as slide:
        assert slide.level_dimensions == ((600, 1000), (300, 500))
        assert "250 x 125" in slide.remarks[0]


def test_r1_every_level_of_the_good_slides_stays(shared_data):
    for name, n_levels in (
        ("case14_dsrct_half.tif", 8),
        ("granular_cell_tumor_half.tif", 8),
        ("TCGA-CR-7395-01A-01-TS1.svs", 2),
    ):
        with open_slide(shared_data / "slides" / name, mpp=(0.5, 0.5)) as slide:
            assert (len(slide.level_dimensions), slide.remarks) == (n_levels, ())
    handle = OpenSlideHandle(shared_data / "formats" / "dicom_jcupitt_cmu1" / "level-0-frames-0-30.dcm")
    assert (len(handle.level_dimensions), handle.remarks) == (5, ())
    handle.close()


def test_one_ratio_within_a_pixel_and_scales_within_a_pixel():
    assert has_one_ratio((29418, 14876), (1838, 929))
    assert not has_one_ratio((29418, 14876), (1840, 933))
    assert has_scale((2220, 2967), (138, 185), (16.0, 16.0))
    assert not has_scale((600, 600), (512, 512), (2.0, 2.0))


def test_r3_the_largest_page_is_the_slide_where_a_macro_lies_before_it(tmp_path):
    macro, image = np.zeros((300, 300, 3), np.uint8), np.full((3000, 3000, 3), 200, np.uint8)
    write_pages(tmp_path / "s.tif", [(macro, 2.0, False), (image, 0.5, False)])
    with open_slide(tmp_path / "s.tif") as slide:
        assert (slide.width, slide.height, slide.mpp_x) == (3000, 3000, pytest.approx(0.5))
        assert (read_tile(slide, 0, 0, tile_um=32, tile_px=64) == 200).all()
    with pytest.raises(NotJpegTilesError):
        open_jpeg_slide(tmp_path / "s.tif")


@pytest.mark.parametrize(("side", "is_so"), [(50, True), (49, True), (51, True), (48, False), (52, False)])
def test_a_level_has_its_scale_to_within_one_of_its_pixels(monkeypatch, side, is_so):
    monkeypatch.setattr("preprocessing.reading.levels.TAG_PRECISION", 0.0)
    assert has_scale((100, 100), (50, side), (2.0, 2.0)) == is_so
    assert has_scale((100, 100), (side, 50), (2.0, 2.0)) == is_so
