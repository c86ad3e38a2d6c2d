"""Masks of other tools: what is stored decides, not how it looks; what says nothing certain is refused by name."""

import contextlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from common.failures import SlideError
from preprocessing.reading.slide import Slide
from preprocessing.tissue import mask_image
from preprocessing.tissue.mask_image import holds_fractions, stored_mask, tissue_of_mask


def test_m1_the_index_of_a_palette_decides(tmp_path):
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.putpixel((2, 1), 1)
    image.save(tmp_path / "m.png")
    mask = stored_mask(tmp_path / "m.png")
    assert (mask.sum(), bool(mask[1, 2])) == (1, True)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.array([[0, 0, 3], [0, 0, 0]], np.uint8).reshape(1, 2, 3), [1, 0]),
        (np.array([[-1, 0, 700]], np.int16), [1, 0, 1]),
        (np.array([[0, 1, 65535]], np.uint16), [0, 1, 1]),
        (np.array([[0, 1, 255, np.nan]], np.float32), [0, 1, 1, 0]),
        (np.array([[0, -3, 70000]], np.int32), [0, 1, 1]),
    ],
)
def test_m2_any_stored_sample_that_is_not_0_is_tissue(tmp_path, pixels, expected):
    tifffile.imwrite(tmp_path / "m.tif", pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack")
    assert (stored_mask(tmp_path / "m.tif")[0] != 0).tolist() == [bool(value) for value in expected]


def test_m2_probabilities_are_refused_with_what_to_do(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", np.array([[0, 0.2, 0.5, 0.9, 1]], np.float32))
    with pytest.raises(SlideError, match=r"m\.tif holds fractions \(0\.2") as error:
        stored_mask(tmp_path / "m.tif")
    assert "threshold" in error.value.remedy


@pytest.mark.parametrize("threshold", [0.2, 0.5, 1.0])
def test_m2_probabilities_are_cut_at_the_threshold_that_is_given(tmp_path, threshold):
    stored = np.array([[0, 0.2, 0.5, 0.9, 1, np.nan]], np.float32)
    tifffile.imwrite(tmp_path / "m.tif", stored)
    assert holds_fractions(tmp_path / "m.tif")
    wanted = [value >= threshold for value in (0, np.float32(0.2), 0.5, np.float32(0.9), 1, -1)]
    assert (stored_mask(tmp_path / "m.tif", threshold)[0] != 0).tolist() == wanted


@pytest.mark.parametrize("labels", [np.array([[0, 1, 255]], np.uint8), np.array([[0, 1, 7]], np.float32)])
def test_m2_labels_do_not_heed_a_threshold(tmp_path, labels):
    tifffile.imwrite(tmp_path / "m.tif", labels)
    assert not holds_fractions(tmp_path / "m.tif")
    assert (stored_mask(tmp_path / "m.tif", 0.9)[0] != 0).tolist() == [False, True, True]


@pytest.mark.parametrize("stored", [[0, 0.4, 100], [-3.2, 0.3, 1]])
def test_m2_fractions_beside_other_numbers_are_no_probabilities(tmp_path, stored):
    tifffile.imwrite(tmp_path / "m.tif", np.array([stored], np.float32))
    with pytest.raises(SlideError, match="neither labels nor probabilities"):
        stored_mask(tmp_path / "m.tif", 0.5)


def test_a_damaged_png_is_named_whatever_pillow_raises(tmp_path):
    Image.new("L", (40, 40), 1).save(tmp_path / "m.png")
    whole = (tmp_path / "m.png").read_bytes()
    for at in range(0, len(whole), 3):
        for value in (0, 255):
            (tmp_path / "m.png").write_bytes(whole[:at] + bytes([value]) * 4 + whole[at + 4 :])
            with contextlib.suppress(SlideError):
                stored_mask(tmp_path / "m.png")
            holds_fractions(tmp_path / "m.png")


def test_what_is_transparent_is_no_tissue(tmp_path):
    pixels = np.full((2, 2, 4), 200, np.uint8)
    pixels[0, 0, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "m.png")
    assert (stored_mask(tmp_path / "m.png") != 0).tolist() == [[False, True], [True, True]]


def test_of_an_image_too_large_to_be_read_no_fractions_are_said(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "m.tif", np.array([[0, 0.5, 1]], np.float32))
    monkeypatch.setattr(mask_image, "MAX_WHOLE_PX", 3)
    assert holds_fractions(tmp_path / "m.tif")
    monkeypatch.setattr(mask_image, "MAX_WHOLE_PX", 2)
    assert not holds_fractions(tmp_path / "m.tif")
    tifffile.imwrite(tmp_path / "w.tif", np.array([[0, 1, 5]], np.float32))
    assert not holds_fractions(tmp_path / "w.tif")


@pytest.mark.parametrize(("most", "is_read"), [(48, True), (47, False)])
def test_the_pixels_of_a_mask_are_counted_by_its_area(tmp_path, monkeypatch, most, is_read):
    monkeypatch.setattr(mask_image, "MAX_WHOLE_PX", most)
    tifffile.imwrite(tmp_path / "m.tif", np.full((6, 8), 0.5, np.float32))
    assert holds_fractions(tmp_path / "m.tif") == is_read
    if is_read:
        assert stored_mask(tmp_path / "m.tif", 0.5).all()
    else:
        with pytest.raises(SlideError, match="8 x 6 pixels, more than 47"):
            stored_mask(tmp_path / "m.tif", 0.5)


@pytest.mark.parametrize(
    ("size", "fits"),
    [
        ((100, 100), True),
        ((200, 100), True),
        ((100, 200), False),
        ((150, 100), False),
        ((101, 100), True),
        ((103, 100), False),
    ],
)
def test_a_mask_has_the_sides_of_the_slide_in_micrometres_or_in_pixels(size, fits):
    slide = Slide.__new__(Slide)  # 500 x 500 µm, of 2,000 x 1,000 pixels
    slide.width, slide.height, slide.mpp_x, slide.mpp_y = 2000, 1000, 0.25, 0.5
    image = np.zeros(size[::-1], np.uint8)
    image[:10, :5] = 1
    if fits:
        found = tissue_of_mask(image, slide)
        assert found.shape == image.shape  # finer than an overview: as it is
        assert np.array_equal(found, image == 1)
    else:
        with pytest.raises(SlideError, match=f"the mask image is {size[0]} x {size[1]} px, the slide 2000 x 1000"):
            tissue_of_mask(image, slide)


def test_of_masks_of_one_bit_those_whose_0_is_white_are_refused(tmp_path):
    pixels = np.array([[0, 255, 255], [0, 0, 255]], np.uint8)
    for name in ("m.png", "m.tif"):
        Image.fromarray(pixels).convert("1").save(tmp_path / name)
        assert np.array_equal(stored_mask(tmp_path / name), pixels // 255)
    tifffile.imwrite(tmp_path / "w.tif", pixels > 0, photometric="miniswhite")
    with pytest.raises(SlideError, match="one bit a pixel, of which 0 is white"):
        stored_mask(tmp_path / "w.tif")
    tifffile.imwrite(tmp_path / "g.tif", pixels, photometric="miniswhite")  # 8 bits say what they say
    assert stored_mask(tmp_path / "g.tif").shape == (2, 3)
