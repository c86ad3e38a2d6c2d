"""OME-TIFF keeps its smaller levels in SubIFDs, which OpenSlide does not see: they are used where they show the slide."""

import numpy as np
import pytest
import tifffile
from pytest import approx

from common.parallel import Outcome
from preprocessing.checks.slide_checks import check_slide, slide_findings
from preprocessing.reading.jpeg_tiles import check_against_openslide, open_jpeg_slide
from preprocessing.reading.slide import open_slide, read_tile
from preprocessing.reading.survey import survey_slide

RNG = np.random.default_rng(3)
IMAGE = RNG.integers(0, 256, (32, 40, 3), dtype=np.uint8).repeat(32, 0).repeat(32, 1)  # 1280 x 1024 px
LOSSLESS = [None, "deflate", "lzw", "zstd", "packbits", "lzma", "png", "jpegxl"]


def half(image):
    return np.ascontiguousarray(image[::2, ::2])


def write_ome(path, image, levels, *, compression=None, tile=(256, 256), unit="µm", mpp=0.5, photometric="rgb", **more):
    """Write an OME-TIFF whose smaller levels lie in SubIFDs of the first page."""
    scale = {f"PhysicalSize{axis}{end}": value for axis in "XY" for end, value in (("", mpp), ("Unit", unit))}
    options = {"photometric": photometric, "compression": compression, "tile": tile, **more}
    axes = "YXS" if image.ndim == 3 else "YX"
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(image, subifds=len(levels), metadata={"axes": axes, **scale}, **options)
        for level in levels:
            file.write(level, subfiletype=1, **options)
    return path


@pytest.mark.parametrize("compression", LOSSLESS)
def test_r5_levels_in_subifds_are_used(tmp_path, compression):
    inverted = 255 - half(half(IMAGE))  # tells which level was read
    path = write_ome(tmp_path / "s.ome.tif", IMAGE, [half(IMAGE), inverted], compression=compression)
    with open_slide(path) as slide:
        assert (slide.mpp_x, slide.mpp_y) == (approx(0.5), approx(0.5))
        assert slide.level_dimensions == ((1280, 1024), (640, 512), (320, 256))
        assert slide.level_downsamples == (1.0, 2.0, 4.0)
        assert slide.remarks == ()
        assert (read_tile(slide, 256, 128, tile_um=64, tile_px=128) == IMAGE[128:256, 256:384]).all()
        assert (read_tile(slide, 256, 128, tile_um=128, tile_px=128) == half(IMAGE)[64:192, 128:256]).all()
        assert (read_tile(slide, 256, 128, tile_um=256, tile_px=128) == inverted[32:160, 64:192]).all()


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "webp"])
def test_r5_levels_of_lossy_tiles_are_used(tmp_path, compression):
    path = write_ome(tmp_path / "s.ome.tif", IMAGE, [half(IMAGE)], compression=compression)
    with open_slide(path) as slide:
        assert slide.level_dimensions == ((1280, 1024), (640, 512))
        tile = read_tile(slide, 256, 128, tile_um=128, tile_px=128)
    assert np.abs(tile.astype(int) - half(IMAGE)[64:192, 128:256]).mean() < 12


def test_r5_the_raw_tiles_of_a_level_in_a_subifd_are_taken(tmp_path):
    path = write_ome(tmp_path / "s.ome.tif", IMAGE, [half(IMAGE)], compression="jpeg")
    jpeg = open_jpeg_slide(path)
    assert [(level.width, level.height) for level in jpeg.levels] == [(1280, 1024), (640, 512)]
    check_against_openslide(jpeg, (256, 128), mpp=(0.5, 0.5), tile_um=128.0, tile_px=128)
    jpeg.close()


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"tile": None, "rowsperstrip": 32, "compression": "deflate"}, "rgb"),
        ({"planarconfig": "separate"}, "planes"),
        ({"photometric": "minisblack"}, "grey"),
        ({"compression": "zstd", "predictor": True}, "16 bits"),
    ],
)
def test_r5_levels_of_other_layouts_are_used(tmp_path, options, shape):
    image = {"grey": IMAGE[..., 0], "16 bits": IMAGE.astype(np.uint16) * 257}.get(shape, IMAGE)
    wanted = half(IMAGE) if image.ndim == 3 else np.dstack([half(IMAGE)[..., 0]] * 3)
    if shape == "planes":
        with tifffile.TiffWriter(tmp_path / "s.ome.tif", ome=True) as file:
            given = {"photometric": "rgb", "tile": (256, 256), **options}
            scale = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
            file.write(image.transpose(2, 0, 1), subifds=1, metadata={"axes": "SYX", **scale}, **given)
            file.write(half(image).transpose(2, 0, 1), subfiletype=1, **given)
    else:
        write_ome(tmp_path / "s.ome.tif", image, [half(image)], **options)
    with open_slide(tmp_path / "s.ome.tif") as slide:
        assert slide.level_dimensions == ((1280, 1024), (640, 512))
        assert (read_tile(slide, 256, 128, tile_um=128, tile_px=128) == wanted[64:192, 128:256]).all()


@pytest.mark.parametrize(("unit", "value"), [("nm", 500.0), ("mm", 0.0005), ("cm", 0.00005), ("µm", 0.5)])
def test_r5_the_scale_of_every_unit_is_read(tmp_path, unit, value):
    path = write_ome(tmp_path / "s.ome.tif", IMAGE, [half(IMAGE)], unit=unit, mpp=value)
    with open_slide(path) as slide:
        assert (slide.mpp_x, slide.mpp_y, slide.mpp_source) == (approx(0.5), approx(0.5), "file")


def test_r5_a_level_whose_size_does_not_fit_is_left_out_and_said(tmp_path):
    padded = np.full((512, 768, 3), 255, np.uint8)
    padded[:512, :640] = half(IMAGE)
    path = write_ome(tmp_path / "s.ome.tif", IMAGE, [padded, half(half(IMAGE))])
    with open_slide(path) as slide:
        assert slide.level_dimensions == ((1280, 1024), (320, 256))
        assert len(slide.remarks) == 1
        assert "768 x 512" in slide.remarks[0]
        assert (read_tile(slide, 256, 128, tile_um=256, tile_px=128) == half(half(IMAGE))[32:160, 64:192]).all()
    check = check_slide("s", path, None, 64.0)
    assert any("768 x 512" in finding.found for finding in slide_findings([Outcome("s", check, None)], {}))


def test_r5_a_level_of_another_kind_is_left_out_and_said(tmp_path):
    options = {"tile": (256, 256), "metadata": None}
    with tifffile.TiffWriter(tmp_path / "s.tif") as file:
        file.write(IMAGE, photometric="rgb", subifds=1, **options)
        file.write(half(IMAGE)[..., 0], photometric="minisblack", subfiletype=1, **options)
    with open_slide(tmp_path / "s.tif", mpp=(0.5, 0.5)) as slide:
        assert slide.level_dimensions == ((1280, 1024),)
        assert "640 x 512" in slide.remarks[0]


def test_r5_the_largest_image_is_the_slide_where_it_lies_in_a_subifd(tmp_path):
    options = {"photometric": "rgb", "tile": (256, 256), "metadata": None}
    with tifffile.TiffWriter(tmp_path / "s.tif") as file:
        file.write(half(half(IMAGE)), subifds=2, subfiletype=1, **options)
        file.write(IMAGE, **options)
        file.write(half(IMAGE), subfiletype=1, **options)
    with open_slide(tmp_path / "s.tif", mpp=(0.5, 0.5)) as slide:
        assert slide.level_dimensions == ((1280, 1024), (640, 512), (320, 256))
        assert (read_tile(slide, 256, 128, tile_um=64, tile_px=128) == IMAGE[128:256, 256:384]).all()


def test_r5_other_series_behind_the_slide_are_no_levels(tmp_path):
    macro = np.zeros((200, 500, 3), np.uint8)
    with tifffile.TiffWriter(tmp_path / "s.ome.tif", ome=True) as file:
        options = {"photometric": "rgb", "tile": (256, 256)}
        scale = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        file.write(IMAGE, subifds=1, metadata={"axes": "YXS", **scale}, **options)
        file.write(half(IMAGE), subfiletype=1, **options)
        file.write(macro, metadata={"axes": "YXS", "Name": "macro"}, **options)
    with open_slide(tmp_path / "s.ome.tif") as slide:
        assert slide.level_dimensions == ((1280, 1024), (640, 512))
        assert slide.remarks == ()


def test_r5_a_survey_of_levels_in_subifds_equals_one_of_plain_levels(tmp_path):
    levels = [IMAGE, half(IMAGE), half(half(IMAGE))]
    write_ome(tmp_path / "sub.ome.tif", IMAGE, levels[1:])
    with tifffile.TiffWriter(tmp_path / "plain.tif") as file:
        for number, level in enumerate(levels):
            file.write(level, photometric="rgb", tile=(256, 256), metadata=None, subfiletype=min(number, 1))
    surveys = []
    for name in ("sub.ome.tif", "plain.tif"):
        with open_slide(tmp_path / name, mpp=(0.5, 0.5)) as slide:
            surveys.append(survey_slide(slide, 2.0).image)
    assert (surveys[0] == surveys[1]).all()
