"""Slides: scale from the file or given, areas exact in micrometres on any scale, unreadable regions named."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from pytest import approx

from common.failures import SlideError
from preprocessing.reading.handles import open_handle
from preprocessing.reading.slide import open_slide, read_tile
from preprocessing.synthetic.scanner import write_pyramid
from tests.reference.slow_overview import slow_overview


def stripes(width_um, height_um, mpp, period_um=64.0):
    """A slide whose red rises along x and green along y, in steps of `period_um`."""
    x = (np.arange(round(width_um / mpp)) + 0.5) * mpp
    y = (np.arange(round(height_um / mpp)) + 0.5) * mpp
    image = np.full((len(y), len(x), 3), 200, np.uint8)
    image[..., 0] = (np.floor(x / period_um) % 2 * 120 + 60)[None, :]
    image[..., 1] = (np.floor(y / period_um) % 2 * 120 + 60)[:, None]
    return image


def write_lossless(path, image, mpp_x, mpp_y, *, n_levels=1):
    with tifffile.TiffWriter(path) as file:
        for level in range(n_levels):
            part = image[:: 2**level, :: 2**level]
            resolution = tuple((10**9, round(mpp * 2**level * 1e5)) for mpp in (mpp_x, mpp_y))  # exact
            file.write(part, tile=(256, 256), photometric="rgb", compression="deflate", resolution=resolution,
                       resolutionunit="CENTIMETER", subfiletype=int(level > 0), metadata=None)  # fmt: skip


@pytest.mark.parametrize("mpp", [0.25, 0.299, 0.310, 0.5])
def test_a_tile_is_the_same_square_of_tissue_at_any_scale(tmp_path, mpp):
    path = tmp_path / "s.tif"
    write_lossless(path, stripes(1100, 900, mpp), mpp, mpp)
    with open_slide(path) as slide:
        assert slide.mpp_x == approx(mpp, rel=1e-6)
        assert slide.mpp_source == "file"
        corner = round(512 / slide.mpp_x)
        tile = read_tile(slide, corner, 0, tile_um=256.0, tile_px=256).astype(float)
    # edges of the 64 µm stripes must lie at 64, 128 and 192 px of a tile at 1 µm a pixel
    profile = tile[128, :, 0]
    crossings = np.flatnonzero(np.diff((profile > 120).astype(int)))
    fractions = [index + (120 - profile[index]) / (profile[index + 1] - profile[index]) for index in crossings]
    offset_um = 512 - corner * mpp  # the corner is a whole pixel
    assert np.array(fractions) - offset_um == approx(np.array([63.5, 127.5, 191.5]), abs=mpp / 2 + 0.05)


def test_anisotropic_pixels_give_square_tiles(tmp_path):
    path = tmp_path / "s.tif"
    image = stripes(1024, 1024, 0.5)[::2]  # twice as high a pixel
    write_lossless(path, image, 0.5, 1.0)
    with open_slide(path) as slide:
        assert (slide.mpp_x, slide.mpp_y) == approx((0.5, 1.0), rel=1e-6)
        tile = read_tile(slide, 0, 0, tile_um=256.0, tile_px=256).astype(float)
    assert np.abs(tile[..., 0] - tile[..., 1].T).mean() < 6


def test_levels_and_level_0_agree(tmp_path):
    path = tmp_path / "s.tif"
    image = np.kron(np.random.default_rng(0).integers(0, 255, (16, 16, 3)), np.ones((64, 64, 1))).astype(np.uint8)
    write_lossless(path, image, 0.5, 0.5, n_levels=3)
    with open_slide(path) as slide:
        assert slide.level_for(2.0) == 1
        assert slide.level_for(1.9) == 0
        whole = slow_overview(slide, 8.0)
        tile = read_tile(slide, 0, 0, tile_um=512.0, tile_px=256)
    assert whole.shape == (64, 64, 3)
    blocks = image.reshape(64, 16, 64, 16, 3).mean(axis=(1, 3))
    assert np.abs(whole.astype(float) - blocks)[1:-1, 1:-1].mean() < 12  # neighbours blend at the edges of squares
    assert tile.shape == (256, 256, 3)


def test_the_overview_of_blocks_equals_one_read(tmp_path, monkeypatch):
    path = tmp_path / "s.tif"
    write_pyramid(path, stripes(900, 700, 0.5), 0.5, is_single_level=True)
    with open_slide(path) as slide:
        whole = slow_overview(slide, 4.0)
        monkeypatch.setattr("tests.reference.slow_overview.BLOCK_PX", 256)
        parts = slow_overview(slide, 4.0)
    assert np.abs(whole.astype(int) - parts).max() <= 40  # only the filter's reach at seams
    assert np.abs(whole.astype(int) - parts).mean() < 1


def test_a_given_scale_wins_and_a_missing_or_absurd_one_is_named(tmp_path):
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, np.zeros((512, 512, 3), np.uint8), tile=(256, 256), photometric="rgb")
    with pytest.raises(SlideError, match=r"cohort\.csv"), open_slide(path):
        pass
    with open_slide(path, mpp=(0.4, 0.4), mpp_source="cohort table") as slide:
        assert (slide.mpp_x, slide.mpp_source) == (0.4, "cohort table")
    for value in (0.0, float("nan"), 1000.0):
        with pytest.raises(SlideError, match=r"outside 0\.05 to 10"), open_slide(path, mpp=(value, value)):
            pass


def test_a_lying_header_is_refused_and_overridden(shared_data):
    path = shared_data / "slides" / "case14_dsrct_half.tif"
    with pytest.raises(SlideError, match=r"mpp on x is 1000 \(file\)"), open_slide(path):
        pass
    with open_slide(path, mpp=(0.6, 0.6)) as slide:
        assert slow_overview(slide, 32.0).shape[2] == 3


def test_files_that_are_no_slides_are_named(tmp_path):
    (tmp_path / "text.svs").write_text("<html>")
    with pytest.raises(SlideError, match="no slide that OpenSlide"), open_slide(tmp_path / "text.svs"):
        pass


def test_an_unreadable_region_is_an_error_and_not_white(tmp_path):
    path = tmp_path / "s.tif"
    rng = np.random.default_rng(0)
    write_pyramid(path, rng.integers(0, 255, (1024, 1024, 3), dtype=np.uint8), 0.5, is_single_level=True)
    with tifffile.TiffFile(path) as file:
        offset, size = file.pages[0].dataoffsets[5], file.pages[0].databytecounts[5]
    content = bytearray(path.read_bytes())
    content[offset : offset + size] = bytes(size)  # row 1, column 1 of 256 px tiles
    path.write_bytes(content)
    with open_slide(path) as slide:
        with pytest.raises(SlideError, match="cannot be read"):
            read_tile(slide, 256, 256, tile_um=128.0, tile_px=128)
        slide.reopen()
        assert read_tile(slide, 512, 512, tile_um=128.0, tile_px=128).std() > 10


def test_broken_files_fail_by_name(shared_data):
    for path in sorted((shared_data / "broken").iterdir()):
        with pytest.raises(SlideError), open_slide(path) as slide:
            slow_overview(slide, 8.0)
            raise SlideError("too small to be a slide")  # osp_small is a valid tiny file


def test_a_large_area_read_in_parts_equals_one_read(tmp_path, monkeypatch):
    path = tmp_path / "s.tif"
    write_pyramid(path, stripes(900, 700, 0.5), 0.5, is_single_level=True)
    with open_slide(path) as slide:
        area = ((3.0, 5.0), (1711.0, 1301.0), (213, 162))
        whole = slide.read_area(*area)
        regions = []
        read = slide._read
        monkeypatch.setattr(
            slide, "_read", lambda origin, level, size: regions.append(size) or read(origin, level, size)
        )
        monkeypatch.setattr("preprocessing.reading.slide.MAX_REGION_PX", 90_000)
        parts = slide.read_area(*area)
    assert parts.shape == whole.shape
    assert max(width * height for width, height in regions) < 1.1 * 90_000
    assert np.abs(whole.astype(int) - parts).max() <= 40  # only the filter's reach at seams
    assert np.abs(whole.astype(int) - parts).mean() < 1


def test_m10_bounds_of_generic_tiff_are_no_origin(tmp_path):
    pixels = np.full((512, 512, 3), 200, np.uint8)
    tifffile.imwrite(tmp_path / "s.tif", pixels, photometric="rgb", tile=(128, 128), metadata=None)
    with tifffile.TiffFile(tmp_path / "s.tif", mode="r+b") as file:
        tags = file.pages.first.tags
        counts, offsets = list(tags["TileByteCounts"].value), list(tags["TileOffsets"].value)
        tags["TileByteCounts"].overwrite([0] * 4 + counts[4:])
        tags["TileOffsets"].overwrite([0] * 4 + offsets[4:])
    with open_slide(tmp_path / "s.tif", mpp=(0.5, 0.5)) as slide:
        assert slide.bounds[:2] == (0, 128)
        assert slide.outline_origin == (0, 0)


def failing_slide(path, times, monkeypatch):
    """Open a slide whose every handle shares its failures."""
    left = [times]

    def opened(path):
        handle = open_handle(path)
        read = handle.read_region

        def read_region(*arguments):
            left[0] -= 1
            if left[0] >= 0:
                raise SlideError("the region cannot be read (Stale file handle)")
            return read(*arguments)

        handle.read_region = read_region
        return handle

    monkeypatch.setattr("preprocessing.reading.slide.open_handle", opened)
    return open_slide(path, mpp=(0.5, 0.5))


def test_a_region_that_fails_for_a_moment_is_read_all_the_same(tmp_path, monkeypatch):
    path = tmp_path / "s.tif"
    write_pyramid(path, np.random.default_rng(0).integers(0, 255, (512, 512, 3)).astype(np.uint8), 0.5)
    with open_slide(path, mpp=(0.5, 0.5)) as slide:
        wanted = slide.read_area((0, 0), (256, 256), (256, 256))
    with failing_slide(path, 1, monkeypatch) as slide:
        assert (slide.read_area((0, 0), (256, 256), (256, 256)) == wanted).all()


def test_a_disk_that_goes_on_failing_is_no_damage_of_the_slide(tmp_path, monkeypatch):
    path = tmp_path / "s.tif"
    write_pyramid(path, np.zeros((256, 256, 3), np.uint8), 0.5)
    with failing_slide(path, 99, monkeypatch) as slide, pytest.raises(SlideError, match="cannot be read"):
        slide.read_area((0, 0), (256, 256), (256, 256))  # the disk itself is well
    original = Path.open

    def stale(self, *arguments, **options):
        if self == path:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(self))
        return original(self, *arguments, **options)

    with failing_slide(path, 99, monkeypatch) as slide:
        monkeypatch.setattr(Path, "open", stale)
        with pytest.raises(OSError, match="Stale file handle"):
            slide.read_area((0, 0), (256, 256), (256, 256))
        monkeypatch.undo()
