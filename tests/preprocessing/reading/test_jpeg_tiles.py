"""Raw JPEG tiles give OpenSlide's pixels, and only files that do so are read that way."""

import numpy as np
import pytest
import tifffile

from common.failures import SlideError
from preprocessing.reading.jpeg_tiles import (
    CACHE_BYTES,
    NotJpegTilesError,
    check_against_openslide,
    open_jpeg_slide,
    resampled,
)
from preprocessing.reading.slide import open_slide

MPP = 0.5
APERIO = "Aperio Image Library v11.2.1\n1000x900 (240x240) JPEG/RGB Q=70|AppMag = 20|MPP = 0.5"


def picture(height=900, width=1000, seed=0):
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.integers(30, 240, (height // 20, width // 20, 3)), np.ones((20, 20, 1)))
    return np.clip(coarse + rng.normal(0, 8, coarse.shape), 0, 255).astype(np.uint8)


def write(path, *, side=256, levels=2, photometric="rgb", description="", **options):
    image = picture()
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            file.write(
                image[:: 4**level, :: 4**level], tile=(side, side), photometric=photometric, compression="jpeg",
                description=description if level == 0 else None, resolution=(2e4 / 4**level,) * 2,
                resolutionunit="CENTIMETER", metadata=None, subfiletype=1 if level and not description else 0, **options,
            )  # fmt: skip
    return path


AREAS = [  # corner, size at level 0, pixels
    ((0, 0), (512, 512), (256, 256)),  # half
    ((103, 57), (256, 256), (256, 256)),  # as it is
    ((256, 512), (256, 256), (256, 256)),  # one tile of the file
    ((-256, 0), (256, 256), (256, 256)),  # none
    ((768, 768), (256, 256), (256, 256)),  # one over the edge
    ((768, 512), (256, 256), (256, 256)),  # over the right edge alone
    ((512, 768), (256, 256), (256, 256)),  # over the lower edge alone
    ((103, 57), (256.6, 255.2), (256, 256)),  # not quite
    ((700, 640), (512, 512), (128, 128)),  # the next level, over the edge
    ((-40, -40), (300, 300), (150, 150)),
    ((402, 301), (401.5, 401.5), (100, 100)),  # between the pixels of the next level
]
KINDS = {
    "generic": {},
    "RGB inside, as Aperio writes": {"side": 240, "description": APERIO, "compressionargs": {"outcolorspace": "RGB"}},
    "no subsampling": {"subsampling": (1, 1)},
    "half subsampling": {"subsampling": (2, 1)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_areas_equal_openslides_within_the_decoders_rounding(tmp_path, kind):
    path = write(tmp_path / ("s.svs" if "Aperio" in kind else "s.tif"), **KINDS[kind])
    raw = open_jpeg_slide(path)
    with open_slide(path, mpp=(MPP, MPP)) as slide:
        for area in AREAS:
            difference = np.abs(raw.read_area(*area).astype(int) - slide.read_area(*area))
            assert difference.max() <= 3, area
            assert difference.mean() < 0.3, area
        check_against_openslide(raw, (100, 100), mpp=(MPP, MPP), tile_um=128.0, tile_px=256)
    raw.close()


def test_a_file_whose_colours_are_marked_wrongly_is_read_by_regions(tmp_path):
    raw = open_jpeg_slide(write(tmp_path / "s.tif"))
    levels = tuple(type(level)(**{**level.__dict__, "colorspace": "RGB"}) for level in raw.levels)
    raw.levels = levels
    with pytest.raises(NotJpegTilesError, match="other pixels than OpenSlide's"):
        check_against_openslide(raw, (100, 100), mpp=(MPP, MPP), tile_um=128.0, tile_px=256)
    raw.close()


def test_tables_outside_the_tiles_are_used(shared_data):
    for name, mpp in (("CMU-1-Small-Region.svs", 0.499), ("granular_cell_tumor_half.tif", 0.6)):
        raw = open_jpeg_slide(shared_data / "slides" / name)
        assert raw.levels[0].tables is not None
        with open_slide(raw.path, mpp=(mpp, mpp)) as slide:
            for corner in ((0, 0), (1203, 901), (slide.width - 400, slide.height - 400)):
                for side in (256, 512.4, 1000):
                    area = (corner, (side, side), (256, 256))
                    difference = np.abs(raw.read_area(*area).astype(int) - slide.read_area(*area))
                    assert difference.max() <= 3
                    assert difference.mean() < 0.3
        raw.close()


def test_levels_that_openslide_interpolates_are_left_to_it(shared_data):
    raw = open_jpeg_slide(shared_data / "slides" / "granular_cell_tumor_half.tif")
    with pytest.raises(NotJpegTilesError, match=r"4\.00024 times smaller, no whole number"):
        check_against_openslide(raw, (9000, 7777), mpp=(0.25, 0.25), tile_um=256.0, tile_px=256)
    check_against_openslide(raw, (9000, 7777), mpp=(0.25, 0.25), tile_um=128.0, tile_px=256)
    raw.close()


def test_each_tile_of_the_file_is_decoded_once_over_neighbouring_areas(tmp_path):
    raw = open_jpeg_slide(write(tmp_path / "s.tif", levels=1))
    for x in range(0, 900, 100):
        for y in range(0, 800, 100):
            raw.read_area((x, y), (100, 100), (100, 100))
    assert raw.n_decoded == 4 * 4
    raw.close()


def test_memory_of_decoded_tiles_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("preprocessing.reading.jpeg_tiles.CACHE_BYTES", 3 * 256 * 256 * 3)
    monkeypatch.setattr("preprocessing.reading.jpeg_tiles.CACHE_TILES", 2)
    raw = open_jpeg_slide(write(tmp_path / "s.tif", levels=1))
    whole = raw.read_area((0, 0), (1000, 900), (1000, 900))
    assert raw.held_bytes <= 3 * 256 * 256 * 3 < CACHE_BYTES
    assert np.array_equal(whole[300:400, 300:400], raw.read_area((300, 300), (100, 100), (100, 100)))
    raw.close()


def test_many_large_tiles_are_kept_up_to_the_most(tmp_path, monkeypatch):
    tile_bytes = 256 * 256 * 3
    for name, value in (("CACHE_BYTES", 1), ("CACHE_TILES", 12), ("MOST_BYTES", 5 * tile_bytes)):
        monkeypatch.setattr(f"preprocessing.reading.jpeg_tiles.{name}", value)
    raw = open_jpeg_slide(write(tmp_path / "s.tif", levels=1))
    raw.read_area((0, 0), (1000, 900), (1000, 900))
    assert raw.held_bytes == 5 * tile_bytes
    raw.close()


def test_a_truncated_tile_is_an_error_and_its_neighbours_are_not(tmp_path):
    path = write(tmp_path / "s.tif", levels=1)
    with tifffile.TiffFile(path) as file:
        start, length = file.pages[0].dataoffsets[5], file.pages[0].databytecounts[5]
    content = bytearray(path.read_bytes())
    content[start + length // 2 : start + length] = bytes(length - length // 2)
    path.write_bytes(content)
    raw = open_jpeg_slide(path)
    assert raw.read_area((0, 0), (256, 256), (256, 256)).shape == (256, 256, 3)
    with pytest.raises(SlideError, match="tile 5 of the level 1000 x 900 is cut off"):
        raw.read_area((200, 200), (256, 256), (256, 256))  # libjpeg alone would fill it with grey
    raw.close()


def test_a_file_cut_short_is_an_error(tmp_path):
    path = write(tmp_path / "s.tif", levels=1)
    raw = open_jpeg_slide(path)
    with path.open("rb+") as file:
        file.truncate(raw.levels[0].offsets[7])
    with pytest.raises(SlideError, match="cut off"):
        raw.read_area((900, 800), (100, 100), (100, 100))
    raw.close()


def test_a_format_that_was_not_tried_is_left_to_openslide(tmp_path, monkeypatch):
    path = write(tmp_path / "s.tif")
    monkeypatch.setattr("preprocessing.reading.jpeg_tiles.VENDORS", ("aperio",))
    with pytest.raises(NotJpegTilesError, match="format generic-tiff"):
        open_jpeg_slide(path)


def test_other_formats_are_named(tmp_path, shared_data):
    with pytest.raises(NotJpegTilesError, match="JP2000"):
        open_jpeg_slide(shared_data / "slides" / "TCGA-CR-7395-01A-01-TS1.svs")
    with pytest.raises(NotJpegTilesError, match="DICOM"):
        open_jpeg_slide(shared_data / "formats" / "dicom_jcupitt_cmu1")
    with pytest.raises(NotJpegTilesError, match=r"compression|channels|level"):
        open_jpeg_slide(shared_data / "formats" / "generic_tiff" / "osp_boxes.tiff")
    turned = write(tmp_path / "turned.tif", extratags=[(274, "H", 1, 6, True)])
    with pytest.raises(NotJpegTilesError, match="turned"):
        open_jpeg_slide(turned)
    (tmp_path / "text.svs").write_text("no slide")
    with pytest.raises(NotJpegTilesError, match="OpenSlide cannot open it"):
        open_jpeg_slide(tmp_path / "text.svs")


def test_a_whole_box_is_not_resampled():
    pixels = picture(100, 100)
    assert resampled(pixels, (0.0, 0.0, 100.0, 100.0), (100, 100)) is pixels
    half = resampled(pixels, (0.0, 0.0, 50.0, 100.0), (100, 100))
    assert half.shape == pixels.shape
    assert not np.array_equal(half, pixels)  # the left half, stretched
