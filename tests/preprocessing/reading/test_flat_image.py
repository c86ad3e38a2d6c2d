"""Flat images: every kind becomes the RGB it means, or is a failure with a name; orientation tags are honoured."""

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from pytest import approx

from common.failures import SlideError
from preprocessing.reading import flat_picture, flat_tiff
from preprocessing.reading.slide import open_slide, read_tile
from preprocessing.reading.survey import survey_slide
from tests.reference.slow_overview import slow_overview

GIVEN = (0.5, 0.5)
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (90, 130, 3), dtype=np.uint8)
DEEP = RGB.astype(np.uint16) * 256 + RNG.integers(0, 256, RGB.shape, dtype=np.uint16)  # 16 bits, the high ones RGB
GREY = RGB[..., 0]
PALETTE = RNG.integers(0, 65536, (3, 256), dtype=np.uint16)
HALF = np.dstack([RGB, np.full((90, 130), 128, np.uint8)])


def pixels_of(path):
    with open_slide(path, mpp=GIVEN) as slide:
        return slide.read_area((0, 0), (slide.width, slide.height), (slide.width, slide.height))


def over_white(rgba):
    alpha = rgba[..., 3:].astype(float) / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


TIFFS = {
    "strips": (RGB, {"photometric": "rgb", "rowsperstrip": 16, "compression": "deflate"}, RGB),
    "mapped": (RGB, {"photometric": "rgb"}, RGB),
    "planes": (RGB.transpose(2, 0, 1), {"photometric": "rgb", "planarconfig": "separate", "rowsperstrip": 32}, RGB),
    "lzw predictor": (RGB, {"photometric": "rgb", "compression": "lzw", "predictor": True}, RGB),
    "grey": (GREY, {"photometric": "minisblack", "rowsperstrip": 7, "compression": "lzw"}, np.dstack([GREY] * 3)),
    "white is zero": (GREY, {"photometric": "miniswhite"}, 255 - np.dstack([GREY] * 3)),
    "16 bits": (DEEP, {"photometric": "rgb"}, RGB),
    "16 bits big-endian": (DEEP, {"photometric": "rgb", "byteorder": ">"}, RGB),
    "palette": (GREY, {"photometric": "palette", "colormap": PALETTE}, (PALETTE >> 8)[:, GREY].transpose(1, 2, 0)),
    "alpha": (HALF, {"photometric": "rgb", "extrasamples": ["unassalpha"]}, over_white(HALF)),
    "tiles of 16 bits and lerc": (
        DEEP, {"photometric": "rgb", "tile": (32, 48), "compression": "zstd"}, RGB,
    ),
    "cmyk": (
        np.dstack([255 - RGB, GREY]), {"photometric": "separated", "compression": "deflate"},
        RGB * ((255 - GREY[..., None]) / 255),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", TIFFS)
def test_every_kind_of_tiff_becomes_the_rgb_it_means(tmp_path, kind):
    image, options, wanted = TIFFS[kind]
    options = dict(options)
    with tifffile.TiffWriter(tmp_path / "s.tif", byteorder=options.pop("byteorder", "<")) as file:
        file.write(image, metadata=None, **options)
    found = pixels_of(tmp_path / "s.tif")
    assert found.shape == wanted.shape
    assert np.abs(found.astype(float) - wanted).max() <= 1


def test_jpeg_strips_decode_as_pillow_does(tmp_path):
    smooth = np.asarray(Image.fromarray(RGB).resize((13, 9)).resize((130, 90), Image.Resampling.BICUBIC))
    tifffile.imwrite(tmp_path / "s.tif", smooth, photometric="rgb", compression="jpeg", rowsperstrip=16)
    with Image.open(tmp_path / "s.tif") as file:
        assert np.abs(pixels_of(tmp_path / "s.tif").astype(int) - np.asarray(file.convert("RGB"))).max() <= 3


@pytest.mark.parametrize("kind", ["float", "signed", "lab"])
def test_kinds_without_a_meaning_in_rgb_are_named(tmp_path, kind):
    image = {"float": RGB.astype(np.float32), "signed": RGB.astype(np.int16), "lab": RGB}[kind]
    photometric = "cielab" if kind == "lab" else "rgb"
    tifffile.imwrite(tmp_path / "s.tif", image, photometric=photometric, metadata=None)
    with pytest.raises(SlideError, match="kind that is not read") as error, open_slide(tmp_path / "s.tif", mpp=GIVEN):
        pass
    assert "8-bit RGB" in error.value.remedy


def test_areas_across_strips_and_off_the_image_equal_the_array(tmp_path):
    tifffile.imwrite(tmp_path / "s.tif", RGB, photometric="rgb", compression="deflate", rowsperstrip=16)
    with open_slide(tmp_path / "s.tif", mpp=(1.0, 1.0)) as slide:
        assert (slide.read_area((20, 10), (60, 50), (60, 50)) == RGB[10:60, 20:80]).all()
        tile = read_tile(slide, 100, 60, tile_um=64.0, tile_px=64)
    assert (tile[:30, :30] == RGB[60:, 100:]).all()
    assert (tile[30:] == 255).all()
    assert (tile[:, 30:] == 255).all()


def test_memory_holds_few_strips(tmp_path, monkeypatch):
    monkeypatch.setattr(flat_tiff, "CACHE_BYTES", 3 * 16 * 130 * 3)
    tifffile.imwrite(tmp_path / "s.tif", RGB, photometric="rgb", compression="deflate", rowsperstrip=16)
    tiff = flat_tiff.FlatTiff(tmp_path / "s.tif")
    tiff.read_region((0, 0), 0, (130, 90))
    assert sum(pixels.nbytes for pixels in tiff._segments.values()) <= 3 * 16 * 130 * 3
    tiff.close()


PICTURES = {
    "rgb.png": "RGB", "grey.png": "L", "palette.png": "P", "alpha.png": "RGBA", "bits.png": "1", "rgb.jpg": "RGB",
    "grey.jpeg": "L", "cmyk.jpg": "CMYK",
}  # fmt: skip


@pytest.mark.parametrize("name", PICTURES)
def test_every_kind_of_picture_becomes_the_rgb_it_means(tmp_path, name):
    mode = PICTURES[name]
    smooth = Image.fromarray(RGB).resize((13, 9)).resize((130, 90), Image.Resampling.BICUBIC)
    image = {"RGBA": Image.fromarray(HALF), "P": smooth.quantize(50)}.get(mode) or smooth.convert(mode)
    image.save(tmp_path / name)
    stored = np.asarray(image).astype(float)
    wanted = {
        "RGBA": lambda: over_white(stored),
        "P": lambda: np.array(image.getpalette()).reshape(-1, 3)[np.asarray(image)],
        "1": lambda: np.dstack([stored * 255] * 3),
        "L": lambda: np.dstack([stored] * 3),
        "CMYK": lambda: (255 - stored[..., :3]) * (255 - stored[..., 3:]) / 255,
    }.get(mode, lambda: stored)()
    assert np.abs(pixels_of(tmp_path / name) - wanted).max() <= (1 if name.endswith("png") else 12)


def test_a_png_of_16_bits_keeps_its_brightness(tmp_path):
    Image.fromarray(DEEP[..., 0]).save(tmp_path / "s.png")
    assert (pixels_of(tmp_path / "s.png") == np.dstack([GREY] * 3)).all()


def test_pictures_that_are_broken_or_too_large_are_named(tmp_path, monkeypatch):
    Image.fromarray(RGB).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.png").write_text("<html>")
    with pytest.raises(SlideError, match=r"cut\.jpg cannot be decoded"):
        pixels_of(tmp_path / "cut.jpg")
    with pytest.raises(SlideError, match=r"text\.png is not readable"):
        pixels_of(tmp_path / "text.png")
    monkeypatch.setattr(flat_picture, "MAX_WHOLE_PX", 1000)
    with pytest.raises(SlideError, match="130 x 90 pixels"):
        pixels_of(tmp_path / "whole.jpg")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["strips.tif", "tiles.tif", "photo.jpg"])
def test_orientation_is_honoured_as_pillow_does(tmp_path, kind, orientation):
    path = tmp_path / kind
    smooth = Image.fromarray(RGB).resize((13, 9)).resize((130, 90), Image.Resampling.BICUBIC)
    if kind == "photo.jpg":
        exif = Image.Exif()
        exif[0x0112] = orientation
        smooth.save(path, exif=exif, quality=95)
        with Image.open(path) as file:
            wanted = np.asarray(ImageOps.exif_transpose(file))
    else:
        shape = {"tile": (32, 32)} if kind == "tiles.tif" else {"rowsperstrip": 16}
        tifffile.imwrite(path, np.asarray(smooth), photometric="rgb", compression="deflate", metadata=None,
                         resolution=(1e4 / 0.5, 1e4 / 0.25), resolutionunit="CENTIMETER",
                         extratags=[(274, "H", 1, orientation, True)], **shape)  # fmt: skip
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = smooth.copy()
        turned.getexif()[0x0112] = orientation
        wanted = np.asarray(ImageOps.exif_transpose(turned))
        with open_slide(path) as slide:
            assert slide.orientation == orientation
            scale = (0.5, 0.25) if orientation < 5 else (0.25, 0.5)
            assert (slide.mpp_x, slide.mpp_y) == approx(scale)
            sizes = survey_slide(slide, 1.0).image.shape[:2], slow_overview(slide, 1.0).shape[:2]
            assert np.abs(np.subtract(*sizes)).max() <= 1
    found = pixels_of(path)
    assert found.shape == wanted.shape
    assert (found == wanted).all()
    with open_slide(path, mpp=(1.0, 1.0)) as slide:
        assert (read_tile(slide, 11, 23, tile_um=40.0, tile_px=40) == wanted[23:63, 11:51]).all()


def test_orientation_of_shared_files_is_honoured(shared_data):
    for orientation in range(1, 9):
        path = shared_data / "formats" / "orientation_large_image" / f"test_orient{orientation}.tif"
        image = Image.fromarray(tifffile.imread(path, key=0))
        image.getexif()[0x0112] = orientation
        wanted = np.asarray(ImageOps.exif_transpose(image))
        assert np.abs(pixels_of(path).astype(int) - wanted[..., None]).max() <= 1, orientation


def test_dots_per_inch_are_no_scale_and_a_true_one_is_read(tmp_path):
    for unit, dots, shape in (("INCH", 72, {}), ("INCH", 96, {}), ("INCH", 300, {"tile": (64, 64)}), ("NONE", 2, {})):
        tifffile.imwrite(tmp_path / "s.tif", RGB, photometric="rgb", resolution=(dots, dots), resolutionunit=unit,
                         compression="deflate", **shape)  # fmt: skip
        with pytest.raises(SlideError, match="mpp") as error, open_slide(tmp_path / "s.tif"):
            pass
        assert "--mpp" in error.value.remedy
    tifffile.imwrite(tmp_path / "s.tif", RGB, photometric="rgb", resolution=(50800, 25400), resolutionunit="INCH")
    with open_slide(tmp_path / "s.tif") as slide:
        assert (slide.mpp_x, slide.mpp_y, slide.mpp_source) == (approx(0.5), approx(1.0), "file")
        assert slide.reader == "tifffile"
    Image.fromarray(RGB).save(tmp_path / "s.png", dpi=(50800, 50800))
    with pytest.raises(SlideError, match="does not say"), open_slide(tmp_path / "s.png"):
        pass


def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    Image.fromarray(RGB).save(tmp_path / "large.png")
    monkeypatch.setattr(flat_picture, "MAX_WHOLE_PX", 1000)
    monkeypatch.setattr(Image.Image, "getexif", lambda _: pytest.fail("decoded"))
    with pytest.raises(SlideError, match="130 x 90 pixels"):
        flat_picture.FlatPicture(tmp_path / "large.png")


@pytest.mark.parametrize("tile", [None, (64, 64)])
def test_r6_a_fourth_sample_without_a_meaning_hides_nothing(tmp_path, tile):
    image = np.concatenate([RGB, np.zeros((*RGB.shape[:2], 1), np.uint8)], axis=2)
    tifffile.imwrite(
        tmp_path / "s.tif", image, photometric="rgb", tile=tile, extrasamples=["unspecified"], metadata=None
    )
    assert (pixels_of(tmp_path / "s.tif") == RGB).all()


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_r6_the_kind_of_a_tiled_file_is_named_before_damage(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "s.tif", RGB.astype(dtype), photometric="rgb", tile=(64, 64), metadata=None)
    with pytest.raises(SlideError, match="kind that is not read"), open_slide(tmp_path / "s.tif", mpp=GIVEN):
        pass


@pytest.mark.parametrize("tag", ["TileWidth", "ImageWidth", "RowsPerStrip"])
def test_a_size_of_nothing_is_a_named_failure(tmp_path, tag):
    options = {"tile": (32, 32)} if tag == "TileWidth" else {"rowsperstrip": 16, "compression": "deflate"}
    tifffile.imwrite(tmp_path / "s.tif", RGB, photometric="rgb", metadata=None, **options)
    with tifffile.TiffFile(tmp_path / "s.tif", mode="r+b") as file:
        file.pages.first.tags[tag].overwrite(0)
    with pytest.raises(SlideError):
        pixels_of(tmp_path / "s.tif")


@pytest.mark.parametrize("value", [9, 99, 12345, 65535])
def test_s6_a_tiff_of_an_unknown_kind_of_colours_is_refused_by_name(tmp_path, value):
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, np.zeros((70, 90, 3), np.uint8), photometric="rgb", metadata=None)
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].tags["PhotometricInterpretation"].valueoffset
    content = bytearray(path.read_bytes())
    content[place : place + 2] = value.to_bytes(2, "little")
    path.write_bytes(content)
    with pytest.raises(SlideError, match=r"s\.tif"):
        flat_tiff.FlatTiff(path)
    with pytest.raises(SlideError, match=r"s\.tif"), open_slide(path, mpp=(0.5, 0.5)):
        pass
