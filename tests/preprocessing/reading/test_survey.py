"""The survey: the same picture as plain reading, at whole factors, with what cannot be read marked and nothing else."""

import io
from typing import ClassVar

import numpy as np
import pytest
import tifffile
from PIL import Image

from common.failures import SlideError
from preprocessing.reading import survey
from preprocessing.reading.slide import Slide, open_slide
from preprocessing.reading.survey import _cuts, _halves, survey_slide
from preprocessing.synthetic.scanner import write_pyramid
from tests.reference.slow_overview import slow_overview

RNG = np.random.default_rng(1)
NOISE = RNG.integers(0, 256, (1200, 1440, 3), dtype=np.uint8)


def write_tiled(path, image, *, tile, mpp=0.5):
    tifffile.imwrite(path, image, tile=(tile, tile), photometric="rgb", compression="jpeg", metadata=None,
                     resolution=(1e4 / mpp, 1e4 / mpp), resolutionunit="CENTIMETER")  # fmt: skip


def damage(path, tiles):
    with tifffile.TiffFile(path) as file:
        spans = [(file.pages[0].dataoffsets[index], file.pages[0].databytecounts[index]) for index in tiles]
    content = bytearray(path.read_bytes())
    for offset, size in spans:
        content[offset : offset + size] = bytes(size)
    path.write_bytes(content)


def means(image, factor):
    """The slow twin: the mean of each square of pixels."""
    height, width = (-(-side // factor) for side in image.shape[:2])
    return np.array(
        [
            [image[y * factor :, x * factor :][:factor, :factor].mean(axis=(0, 1)) for x in range(width)]
            for y in range(height)
        ]
    )


@pytest.mark.parametrize("block_px", [2048, 300, 64])
@pytest.mark.parametrize("shape", [{"rowsperstrip": 48}, {"tile": (240, 240)}, {"tile": (256, 256)}])
def test_it_is_the_mean_of_the_pixels_whatever_the_blocks(tmp_path, monkeypatch, block_px, shape):
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, NOISE, photometric="rgb", compression="deflate", **shape)
    monkeypatch.setattr(survey, "BLOCK_PX", block_px)
    with open_slide(path, mpp=(0.5, 0.5)) as slide:
        found = survey_slide(slide, 8.0)
    assert found.image.shape == (75, 90, 3)
    assert found.mpp == (8.0, 8.0)
    assert not found.is_unreadable.any()
    assert np.abs(found.image - means(NOISE, 16)).max() <= 0.6


def test_a_scale_between_levels_is_resampled_to_the_overviews_size(tmp_path):
    path = tmp_path / "s.tif"
    smooth = np.asarray(Image.fromarray(NOISE).resize((30, 25)).resize((1440, 1200), Image.Resampling.BICUBIC))
    write_pyramid(path, smooth, 0.5)
    with open_slide(path) as slide:
        found, plain = survey_slide(slide, 2.8), slow_overview(slide, 2.8)
    assert found.image.shape == plain.shape
    assert np.abs(found.image.astype(int) - plain).mean() < 3


def test_pixels_that_are_not_square_are_shrunk_by_their_own_factors(tmp_path):
    tifffile.imwrite(tmp_path / "s.tif", NOISE, photometric="rgb", compression="deflate", rowsperstrip=48)
    with open_slide(tmp_path / "s.tif", mpp=(0.5, 1.0)) as slide:
        assert survey_slide(slide, 8.0).image.shape == (150, 90, 3)


@pytest.mark.parametrize(("mpp", "shape"), [((0.5, 1.0), (150, 90, 3)), ((1.0, 0.5), (75, 180, 3))])
def test_the_level_is_as_fine_as_the_finer_axis_needs(tmp_path, mpp, shape):
    """Beside level 0 lies one 16 times smaller, enough for one axis: it is not taken."""
    levels = NOISE, means(NOISE, 16).round().astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "s.tif") as file:
        for level, pixels in enumerate(levels):
            file.write(
                pixels, photometric="rgb", compression="deflate", tile=(64, 64), subfiletype=level, metadata=None
            )
    with open_slide(tmp_path / "s.tif", mpp=mpp) as slide:
        assert len(slide.level_dimensions) == 2
        found = survey_slide(slide, 8.0).image
    assert found.shape == shape
    by_y, by_x = 1200 // shape[0], 1440 // shape[1]
    expected = NOISE.reshape(shape[0], by_y, shape[1], by_x, 3).mean(axis=(1, 3))
    assert np.abs(found - expected).max() <= 0.6


@pytest.mark.parametrize(("tile", "n_across"), [(256, 6), (240, 6)])
def test_unreadable_tiles_are_marked_and_the_rest_is_read(tmp_path, tile, n_across):
    path = tmp_path / "s.tif"
    write_tiled(path, NOISE, tile=tile)
    with open_slide(path) as slide:
        whole = survey_slide(slide, 4.0).image
    damage(path, [n_across + 2, 3 * n_across + 4])
    with open_slide(path) as slide:
        found = survey_slide(slide, 4.0)
    is_damaged = np.zeros(found.image.shape[:2], bool)
    for row, column in ((1, 2), (3, 4)):
        rows, columns = (slice(at * tile // 8, -(-(at + 1) * tile // 8)) for at in (row, column))
        is_damaged[rows, columns] = True
    assert (found.is_unreadable == is_damaged).all()
    assert found.unreadable_share == is_damaged.mean()
    assert (found.image[is_damaged] == 255).all()
    assert (found.image[~is_damaged] == whole[~is_damaged]).all()


def test_where_tiles_and_units_disagree_no_more_than_quarter_tiles_are_lost(tmp_path):
    path = tmp_path / "s.tif"
    write_tiled(path, NOISE, tile=240)
    damage(path, [6 + 2])  # rows 240 to 480, columns 480 to 720
    with open_slide(path) as slide:
        lost = survey_slide(slide, 16.0).is_unreadable  # units of 32 px
    assert lost[8:15, 15:22].all()
    outside = lost.copy()
    outside[5:18, 12:25] = False
    assert not outside.any()


def test_a_damaged_strip_costs_its_rows_only(tmp_path):
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, NOISE, photometric="rgb", compression="deflate", rowsperstrip=48)
    damage(path, [10])
    with open_slide(path, mpp=(0.5, 0.5)) as slide:
        lost = survey_slide(slide, 4.0).is_unreadable
    assert (np.flatnonzero(lost.all(axis=1)) == np.arange(60, 66)).all()
    assert lost.sum() == 6 * lost.shape[1]


def test_more_than_half_unreadable_is_a_failure(tmp_path):
    path = tmp_path / "s.tif"
    write_tiled(path, NOISE, tile=240)
    damage(path, range(16))
    with open_slide(path) as slide, pytest.raises(SlideError, match="more than 20% of the slide cannot be read: the"):
        survey_slide(slide, 8.0)


def test_sparse_tiles_and_transparency_become_background(tmp_path):
    path = tmp_path / "s.tif"
    write_tiled(path, NOISE, tile=256)
    content = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].tags["TileByteCounts"]
        counts = np.frombuffer(content, "<u4" if tag.dtype == 4 else "<u2", tag.count, tag.valueoffset).copy()
        counts[7] = 0
    patched = io.BytesIO(content)
    patched.seek(tag.valueoffset)
    patched.write(counts.tobytes())
    path.write_bytes(patched.getvalue())
    with open_slide(path) as slide:
        found = survey_slide(slide, 4.0)
        assert slide.bounds == (0, 0, 1440, 1200)
    assert not found.is_unreadable.any()
    assert (found.image[32:64, 32:64] == 255).all()
    assert found.image[:32].std() > 5


def test_blocks_begin_where_level_0_has_a_pixel():
    cuts = _cuts(20_000, 2048, 256, 1, 4.0)
    assert all(cut % 256 == 0 for cut in cuts[:-1])
    assert max(np.diff(cuts)) <= 2048
    exact = _cuts(20_000, 2048, 256, 1, 16.0047)
    offsets = [abs(round(cut * 16.0047) / 16.0047 - cut) for cut in exact[:-1]]
    assert max(offsets) < 1 / 1024
    assert max(np.diff(exact)) <= 4096
    assert all(cut % 30 == 0 for cut in _cuts(20_000, 2048, 256, 30, 4.000237)[:-1])
    assert _cuts(4000, 2048, 256, 1, 4.000237) == [0, 4000]  # no exact cut in reach: one block


def test_halves_end_at_tiles():
    assert _halves(0, 1024, 256, 32) == [(0, 512), (512, 512)]
    assert _halves(256, 256, 256, 32) == [(256, 256)]
    assert _halves(0, 300, 256, 1) == [(0, 256), (256, 44)]
    assert _halves(200, 100, 256, 1) == [(200, 56), (256, 44)]


def test_real_slides_are_the_overview(shared_data):
    for name, mpp in (("CMU-1-Small-Region.svs", 0.499), ("case14_dsrct_half.tif", 0.5)):
        with open_slide(shared_data / "slides" / name, mpp=(mpp, mpp)) as slide:
            found, plain = survey_slide(slide, 8.0), slow_overview(slide, 8.0)
        resized = np.asarray(Image.fromarray(found.image).resize(plain.shape[1::-1], Image.Resampling.BILINEAR))
        assert abs(found.mpp[0] / 8 - 1) < 0.05
        assert np.abs(resized.astype(int) - plain).mean() < 5


class SparseHandle:
    """As OpenSlide opens an MRXS: only the middle was scanned, the rest is transparent."""

    reader, orientation, remarks = "openslide mirax", 1, ()
    dimensions, level_dimensions, level_downsamples = (400, 300), ((400, 300),), (1.0,)
    properties: ClassVar = {
        "openslide.background-color": "F0E0D0", "openslide.bounds-x": "100", "openslide.bounds-y": "60",
        "openslide.bounds-width": "200", "openslide.bounds-height": "120",
    }  # fmt: skip

    def piece_px(self, level):
        return 256, 256

    def close(self):
        pass

    def read_region(self, origin, level, size):
        whole = Image.new("RGBA", self.dimensions)
        whole.paste((180, 90, 150, 255), (100, 60, 300, 180))
        return whole.crop((*origin, origin[0] + size[0], origin[1] + size[1]))


def test_what_was_never_scanned_is_background_and_bounds_say_where(tmp_path):
    slide = Slide(tmp_path / "s.mrxs", SparseHandle(), (0.5, 0.5), "file")
    found = survey_slide(slide, 2.0)
    assert slide.bounds == (100, 60, 200, 120)
    assert (found.image[15:45, 25:75] == (180, 90, 150)).all()
    assert (found.image[:15] == (0xF0, 0xE0, 0xD0)).all()
    assert not found.is_unreadable.any()
