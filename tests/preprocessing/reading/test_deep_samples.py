"""Samples of more than 8 bits: where 16 bits hold the 8 to 14 of a sensor, those are the range, and it is said."""

import contextlib
import time

import imagecodecs
import numpy as np
import pytest
import tifffile

from common.failures import SlideError
from common.parallel import Outcome
from preprocessing.checks.slide_checks import check_slide, slide_findings
from preprocessing.reading import tiff_page
from preprocessing.reading.slide import open_slide

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (512, 640, 3), dtype=np.uint8)
RGB[:64, :64] = 255  # glass
LAYOUTS = {
    "tiles": {"tile": (128, 128)},
    "compressed tiles": {"tile": (128, 128), "compression": "deflate"},
    "strips": {"rowsperstrip": 16, "compression": "lzw"},
    "mapped": {},
}


def deep(bits, rgb=RGB):
    noise = np.random.default_rng(bits).integers(0, 2 ** (bits - 8), rgb.shape)
    return (rgb.astype(np.uint16) << (bits - 8)) + noise.astype(np.uint16)


def pixels_and_remarks(path):
    with open_slide(path, mpp=(0.5, 0.5)) as slide:
        return slide.read_area((0, 0), (640, 512), (640, 512)), slide.remarks


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_r9_bits_in_use_are_found_by_the_brightest_sample(tmp_path, bits, layout):
    tifffile.imwrite(tmp_path / "s.tif", deep(bits), photometric="rgb", metadata=None, **LAYOUTS[layout])
    pixels, remarks = pixels_and_remarks(tmp_path / "s.tif")
    assert (pixels == RGB).all()
    assert [f"use {bits} " in remark for remark in remarks] == ([] if bits == 16 else [True])


def test_r9_check_study_says_which_bits_are_used_and_finds_no_dark_ground(tmp_path):
    tifffile.imwrite(tmp_path / "s.tif", deep(12, RGB | 128), photometric="rgb", metadata=None, tile=(128, 128))
    check = check_slide("s", tmp_path / "s.tif", ((0.5, 0.5), "--mpp"), 64.0)
    found = [finding.found for finding in slide_findings([Outcome("s", check, None)], {})]
    assert any("use 12" in text for text in found)
    assert not any("dark" in text for text in found)


@pytest.mark.parametrize("tag", [281, 341])
def test_r9_a_tag_decides_where_no_sample_is_bright(tmp_path, tag):
    dim = deep(12, RGB // 8)
    extra = [(tag, "H", 3, (4095, 4095, 4095), True)]
    tifffile.imwrite(tmp_path / "s.tif", dim, photometric="rgb", metadata=None, tile=(128, 128), extratags=extra)
    pixels, remarks = pixels_and_remarks(tmp_path / "s.tif")
    assert (pixels == RGB // 8).all()
    assert "tag" in remarks[0]


def test_r9_significant_bits_of_ome_decide_and_the_range_of_the_type_says_nothing(tmp_path):
    dim = deep(12, RGB // 8)
    for bits, wanted in ((12, RGB // 8), (16, None)):
        options = {"photometric": "rgb", "tile": (128, 128)}
        with tifffile.TiffWriter(tmp_path / f"{bits}.ome.tif", ome=True) as file:
            file.write(dim, metadata={"axes": "YXS", "SignificantBits": bits}, **options)
        pixels, remarks = pixels_and_remarks(tmp_path / f"{bits}.ome.tif")
        if wanted is not None:
            assert (pixels == wanted).all()
        assert len(remarks) == 1


def test_r9_levels_are_scaled_as_the_slide_is(tmp_path):
    half = np.ascontiguousarray(deep(12)[::2, ::2]) // 2  # darker: its own brightest would say 12 bits too, or 11
    with tifffile.TiffWriter(tmp_path / "s.tif") as file:
        options = {"photometric": "rgb", "tile": (128, 128), "metadata": None}
        file.write(deep(12), subifds=1, **options)
        file.write(half // 4, subfiletype=1, **options)
    with open_slide(tmp_path / "s.tif", mpp=(0.5, 0.5)) as slide:
        small = slide.read_area((0, 0), (640, 512), (320, 256))
    assert (small == half // 4 >> 4).all()


def test_r9_a_sample_brighter_than_the_bits_found_is_an_error_and_never_wraps(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_page, "LOOKED_AT_SEGMENTS", 1)
    image = deep(12)
    image[-1, -1] = 50_000
    tifffile.imwrite(tmp_path / "s.tif", image, photometric="rgb", metadata=None, tile=(128, 128))
    with pytest.raises(SlideError, match="a sample of 50000, and 12 bits are in use"):
        pixels_and_remarks(tmp_path / "s.tif")


def test_r9_samples_packed_in_12_bits_are_read_without_a_word(tmp_path):
    bits = np.unpackbits(deep(12)[..., 0].astype(">u2").view(np.uint8).reshape(512, 640, 2), axis=2)
    tifffile.imwrite(tmp_path / "s.tif", np.packbits(bits[..., 4:].reshape(512, -1), axis=1), metadata=None)
    with tifffile.TiffFile(tmp_path / "s.tif", mode="r+b") as file:
        tags = file.pages.first.tags
        tags["ImageWidth"].overwrite(640)
        tags["BitsPerSample"].overwrite(12)
    pixels, remarks = pixels_and_remarks(tmp_path / "s.tif")
    assert (pixels == RGB[..., :1]).all()
    assert remarks == ()


def test_r9_a_sample_without_a_meaning_is_not_the_brightest(tmp_path):
    samples = np.dstack([deep(12), np.full((512, 640), 65535, np.uint16)])
    options = {"photometric": "rgb", "extrasamples": ["unspecified"], "metadata": None, "tile": (128, 128)}
    tifffile.imwrite(tmp_path / "s.tif", samples, **options)
    assert (pixels_and_remarks(tmp_path / "s.tif")[0] == RGB).all()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["grey", "rgb", "rgba"])
def test_r9_a_png_of_16_bits_is_scaled_by_its_brightest_sample(tmp_path, bits, kind):
    samples = deep(bits) if kind != "grey" else np.ascontiguousarray(deep(bits)[..., 0])
    if kind == "rgba":
        samples = np.dstack([samples, np.full((512, 640), 2**bits - 1, np.uint16)])
    (tmp_path / "s.png").write_bytes(imagecodecs.png_encode(samples))
    pixels, remarks = pixels_and_remarks(tmp_path / "s.png")
    assert (pixels == (RGB[..., :1] if kind == "grey" else RGB)).all()
    assert [f"use {bits} " in remark for remark in remarks] == ([] if bits == 16 else [True])


def test_an_image_that_claims_billions_of_rows_is_opened_or_refused_at_once(tmp_path):
    tifffile.imwrite(
        tmp_path / "s.tif", deep(12), photometric="rgb", metadata=None, rowsperstrip=16, compression="deflate"
    )
    with tifffile.TiffFile(tmp_path / "s.tif", mode="r+b") as file:
        file.pages.first.tags["ImageLength"].overwrite(2**31)
    began = time.monotonic()
    with contextlib.suppress(SlideError), open_slide(tmp_path / "s.tif", mpp=(0.5, 0.5)):
        pass
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(("kind", "wanted"), [("assocalpha", (150, 120, 105)), ("unassalpha", (131, 113, 105))])
def test_what_shows_through_is_glass_whether_alpha_is_multiplied_in_or_not(tmp_path, kind, wanted):
    samples = np.empty((256, 256, 4), np.uint8)
    samples[:] = (45, 15, 0, 150)
    options = {"photometric": "rgb", "extrasamples": [kind], "metadata": None}  # strips: read here, not by OpenSlide
    tifffile.imwrite(tmp_path / "s.tif", samples, **options)
    with open_slide(tmp_path / "s.tif", mpp=(0.5, 0.5)) as slide:
        found = slide.read_area((0, 0), (256, 256), (256, 256))
    assert (found == wanted).all(), found[0, 0]
