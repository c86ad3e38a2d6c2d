"""Where patches for the stain fit are taken: the fullest tile of each stretch, none where the pen went; unreadable ones go."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from common.failures import SlideError
from preprocessing.colour.stain import NO_STAIN, REFERENCE
from preprocessing.reading.slide import open_slide
from preprocessing.tiling import slide_stain
from preprocessing.tiling.slide_stain import SlideStain, fit_slide_stain, slide_patches
from preprocessing.tiling.slide_tiles import NO_EXCLUSIONS
from preprocessing.tiling.tile_choice import ChosenTiles
from preprocessing.tiling.tiling_settings import TilingConfig
from preprocessing.tissue.segmentation import Segmentation

CONFIG = TilingConfig(tile_um=20.0)


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """A slide of 400 x 400 µm; its brightness says the place."""
    path = tmp_path_factory.mktemp("slide") / "s.png"
    Image.fromarray(np.zeros((400, 800, 3), np.uint8)).save(path)
    with open_slide(path, mpp=(0.5, 1.0)) as opened:
        yield opened


def tiles_at(coords, fraction):
    coords = np.array(coords, np.int64).reshape(-1, 2)
    return ChosenTiles(coords, np.array(fraction, np.float32), {}, NO_EXCLUSIONS, ())


def masks(ink=None):
    nothing = np.zeros((40, 40), bool)
    is_ink = nothing.copy()
    if ink is not None:
        is_ink[ink] = True
    return Segmentation(
        overview=np.zeros((40, 40, 3), np.uint8), mpp=10.0, is_tissue=nothing, is_ink=is_ink, is_dropped=nothing,
        is_unreadable=nothing, glass=(250.0, 240.0, 230.0),
    )  # fmt: skip


def test_no_patch_comes_from_a_tile_on_which_pen_was_measured_unless_all_have_some(monkeypatch, slide):
    coords = [(40 * index, 0) for index in range(8)]
    share = np.array([0.0, 0.05, 0.001, 0.003, 0.0, 0.002, 0.09, 0.0], np.float32)
    tiles = tiles_at(coords, [1.0] * 8)
    clean = [(40 * index, 0) for index in (0, 2, 4, 5, 7)]
    assert [each[:2] for each in asked_for(monkeypatch, slide, replace(tiles, columns={"pen": share}))] == clean
    everywhere = replace(tiles, columns={"pen": share + np.float32(0.01)})
    assert len(asked_for(monkeypatch, slide, everywhere)) == 8


def asked_for(monkeypatch, slide, tiles, *, ink=None, config=CONFIG, unread=()):
    asked = []

    def read(_slide, x, y, *, tile_um, tile_px):
        asked.append((x, y, tile_um, tile_px))
        if (x, y) in unread:
            raise SlideError("no", "none")
        return np.full((8, 8, 3), 7, np.uint8)

    monkeypatch.setattr(slide_stain, "read_tile", read)
    patches = slide_patches(slide, tiles, masks(ink), config)
    assert len(patches) == len(asked) - len([each for each in asked if each[:2] in unread])
    return asked


@pytest.mark.parametrize(("n_tiles", "n_patches"), [(0, 0), (3, 3), (32, 32), (33, 32), (320, 32)])
def test_the_fullest_tile_of_each_of_32_stretches_is_read(monkeypatch, slide, n_tiles, n_patches):
    fraction = np.random.default_rng(0).random(n_tiles).astype(np.float32) / 2 + 0.5
    coords = [(number, 2 * number) for number in range(n_tiles)]
    asked = asked_for(monkeypatch, slide, tiles_at(coords, fraction))
    assert len(asked) == n_patches
    stretches = np.array_split(np.arange(n_tiles), n_patches) if n_patches else []
    wanted = [max(stretch, key=lambda number: fraction[number]) for stretch in stretches]
    assert [(x, y) for x, y, *_ in asked] == [(number, 2 * number) for number in wanted]


def test_no_tile_that_the_pen_touched_is_read_and_others_of_its_stretch_are(monkeypatch, slide):
    """Tiles are 40 x 20 px of level 0: 2 x 2 pixels of the mask."""
    coords = [(0, 0), (40, 0), (80, 0), (120, 0)]
    assert len(asked_for(monkeypatch, slide, tiles_at(coords, [1, 1, 1, 1]), ink=np.s_[0:1, 1:2])) == 3
    found = asked_for(monkeypatch, slide, tiles_at(coords, [1, 1, 1, 1]), ink=np.s_[0:1, 2:4])
    assert [x for x, *_ in found] == [0, 80, 120]
    monkeypatch.setattr(slide_stain, "N_PATCHES", 2)
    found = asked_for(monkeypatch, slide, tiles_at(coords, [1, 0.5, 0.2, 0.6]), ink=np.s_[0:1, 0:1])
    assert [x for x, *_ in found] == [40, 120]


@pytest.mark.parametrize(("tile_um", "patch_um"), [(20.0, 20.0), (128.0, 128.0), (256.0, 128.0)])
def test_patches_are_as_large_as_tiles_and_128_micrometres_at_most(monkeypatch, slide, tile_um, patch_um):
    config = replace(CONFIG, tile_um=tile_um)
    assert asked_for(monkeypatch, slide, tiles_at([(4, 5)], [1]), config=config) == [(4, 5, patch_um, 256)]


def test_what_cannot_be_read_is_passed_over_and_without_a_patch_there_is_no_strip(monkeypatch, slide):
    coords = [(0, 0), (40, 0), (80, 0)]
    asked_for(monkeypatch, slide, tiles_at(coords, [1, 1, 1]), unread=[(40, 0)])
    asked_for(monkeypatch, slide, tiles_at(coords, [1, 1, 1]), unread=coords)
    found = fit_slide_stain(slide, tiles_at(coords, [1, 1, 1]), masks(), CONFIG)
    assert found.strip is None
    assert found.fit.glass == (250.0, 240.0, 230.0)
    asked_for(monkeypatch, slide, tiles_at(coords, [1, 1, 1]))
    unfitted = fit_slide_stain(slide, tiles_at(coords, [1, 1, 1]), masks(), replace(CONFIG, stain="none"))
    assert (unfitted.fit.method, unfitted.strip) == ("none", None)
    assert fit_slide_stain(slide, tiles_at(coords, [1, 1, 1]), masks(), CONFIG).strip is not None


@pytest.mark.parametrize(
    ("fit", "flags"),
    [(REFERENCE, ("colours kept",)), (NO_STAIN, ()), (replace(NO_STAIN, method="macenko", strength=0.4), ("colours turned 40%",)),
     (replace(NO_STAIN, method="macenko"), ())],
)  # fmt: skip
def test_colours_that_were_kept_or_turned_in_part_are_flagged(fit, flags):
    assert SlideStain(fit, None).flags == flags
