"""Kinds of tissue by colour, what a map does to them, and the strip that shows them: on painted patches and real slides."""

from dataclasses import replace

import numpy as np
import pytest
from pytest import approx
from skimage.color import rgb2lab

from preprocessing.colour import tissue_kinds as tissue_kinds_module
from preprocessing.colour.cielab import hue_and_chroma
from preprocessing.colour.colour_effect import MIN_BLOCKS, ColourEffect, effect_of, fault_of
from preprocessing.colour.colour_strip import MAX_PATCHES, PATCH_PX, colour_strip
from preprocessing.colour.stain import REFERENCE, StainFit, fit_stain, stain_map
from preprocessing.colour.tissue_kinds import TissueKinds, thinned, tissue_kinds
from preprocessing.reading.slide import open_slide
from preprocessing.tiling.slide_stain import slide_patches
from preprocessing.tiling.tile_choice import choose_tiles
from preprocessing.tiling.tiling_settings import TilingConfig
from preprocessing.tissue.segmentation import segment_slide
from tests.helpers.painted_stains import GLASS, painted_patches, random_stains, unit

RED_CELLS = np.array([0.40, 1.25, 1.04])  # optical density of a clot, as on a real slide
MPP = {"nodular_fasciitis_red_cells": 0.6, "myxoid_liposarcoma_pink": 0.55, "granular_cell_tumor_half": 0.6}


def bled(patches, share, rng):
    """Cover a share of every patch with red cells."""
    covered = [patch.copy() for patch in patches]
    for patch in covered:
        rows = round(share * len(patch))
        od = RED_CELLS + rng.normal(0, 0.02, (rows, patch.shape[1], 3))
        patch[:rows] = np.clip((np.array(GLASS) + 1) * np.exp(-od) - 1, 0, 255).round()
    return covered


def angles(one, other):
    return np.degrees(np.arccos(np.clip((one * other).sum(axis=1), -1, 1)))


def test_hue_and_chroma_equal_scikit_image():
    od = np.random.default_rng(0).uniform(0, 2, (50, 3))
    lab = rgb2lab(np.clip(256 * np.exp(-od) - 1, 0, 255)[None] / 255)[0]
    hue, chroma = hue_and_chroma(od)
    assert hue == approx(np.degrees(np.arctan2(lab[:, 2], lab[:, 1])), abs=0.1)
    assert chroma == approx(np.hypot(lab[:, 1], lab[:, 2]), abs=0.05)


@pytest.mark.parametrize("method", ["vahadane", "macenko"])
def test_red_cells_do_not_draw_the_eosin(method):
    rng = np.random.default_rng(1)
    patches = painted_patches(unit([[0.60, 0.71, 0.36], [0.27, 0.85, 0.45]]), rng)
    clean, found = (fit_stain(each, method=method, glass=GLASS) for each in (patches, bled(patches, 0.3, rng)))
    assert angles(clean.matrix, found.matrix).max() < 1.5
    assert len(tissue_kinds(patches, GLASS).red_cells) == 0
    n_blocks = sum(patch.shape[0] * patch.shape[1] for patch in patches) / 16
    assert len(tissue_kinds(bled(patches, 0.3, rng), GLASS).red_cells) == approx(0.3 * n_blocks, rel=0.15)


def test_kinds_are_what_was_painted():
    rng = np.random.default_rng(2)
    matrix = random_stains(rng)
    kinds = tissue_kinds(painted_patches(matrix, rng), GLASS)
    of_nuclei, of_ground = ((od @ np.linalg.pinv(matrix)) for od in (kinds.nuclei, kinds.ground))
    assert np.median(of_nuclei[:, 0]) > 5 * np.median(of_nuclei[:, 1])
    assert np.median(of_ground[:, 1]) > 5 * np.median(of_ground[:, 0])
    assert len(kinds.pink) > 0.5 * len(kinds.ground)
    empty = tissue_kinds([np.full((64, 64, 3), 240, np.uint8), np.zeros((3, 3, 3), np.uint8)], GLASS)
    assert [len(each) for each in (empty.nuclei, empty.ground, empty.pink, empty.red_cells)] == [0, 0, 0, 0]


def test_the_pink_ground_takes_the_hue_of_the_reference_and_nuclei_stay_bluer():
    for seed in range(6):
        rng = np.random.default_rng([3, seed])
        patches = painted_patches(random_stains(rng), rng)
        fit = fit_stain(patches, method="vahadane", glass=GLASS)
        effect = effect_of(tissue_kinds(patches, GLASS), stain_map(fit, REFERENCE).matrix)
        assert effect.pink[1] == approx(hue_and_chroma(REFERENCE.basis[1:])[0][0], abs=6)
        assert effect.pink[1] - effect.nuclei[1] > 15


SOUND = ColourEffect(pink=(-20, -28), nuclei=(-40, -52), red_cells=(10, 0), turned=0.1, bleached=0.05, noise=2.0)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"noise": 6.0}, "grow 6.0 times"),
        ({"bleached": 0.11}, "11% of the tissue is bleached"),
        ({"turned": 0.41}, "41% of the pink ground turns violet"),
        ({"pink": (-20.0, -41.0)}, "pink ground has a hue of -41"),
        ({"pink": (-20.0, 6.0)}, "pink ground has a hue of 6"),
        ({"red_cells": (10.0, -39.0)}, "red cells have a hue of -39"),
        ({"red_cells": (10.0, 51.0)}, "red cells have a hue of 51"),
        ({"nuclei": (-40.0, -35.0)}, "no longer bluer"),
    ],
)
def test_each_harm_is_named(changed, word):
    assert fault_of(SOUND) is None
    assert word in fault_of(replace(SOUND, **changed))


def test_what_was_so_before_is_no_fault_of_the_map_and_nothing_is_judged_that_is_not_there():
    nan = (float("nan"), float("nan"))
    assert fault_of(replace(SOUND, pink=(-40.0, -39.0), nuclei=(-41.0, -52.0))) is None
    assert fault_of(replace(SOUND, red_cells=(-50.0, -49.0))) is None
    assert fault_of(ColourEffect(pink=nan, nuclei=nan, red_cells=nan, turned=0.0, bleached=0.0, noise=1.0)) is None


def test_a_slide_of_noise_is_turned_in_part_or_keeps_its_colours_and_says_so():
    rng = np.random.default_rng(4)
    matrix = unit([[0.56, 0.60, 0.57], [0.49, 0.69, 0.53]])  # a pale strip: stains that hardly differ
    fit = fit_stain(painted_patches(matrix, rng, amounts=(0.9, 0.4)), method="vahadane", glass=GLASS)
    assert fit.strength < 1
    assert "grow" in fit.fallback
    assert "of the way" in fit.fallback


def test_a_slide_without_pink_takes_the_eosin_of_the_reference():
    rng = np.random.default_rng(5)
    crushed = unit([[0.62, 0.68, 0.39], [0.589, 0.652, 0.477]])
    fit = fit_stain(painted_patches(crushed, rng), method="macenko", glass=GLASS)
    assert fit.matrix[1].tolist() == REFERENCE.matrix[1].tolist()
    assert "the reference's eosin taken" in fit.fallback


def test_the_strip_shows_patches_that_differ_and_goes_from_pale_to_dark():
    grey = [np.full((PATCH_PX, PATCH_PX, 3), 200 + index % 3, np.uint8) for index in range(20)]
    red, blue = (np.full((PATCH_PX, PATCH_PX, 3), colour, np.uint8) for colour in ((200, 30, 30), (40, 40, 120)))
    strip = colour_strip([*grey, red, *grey, blue], None)
    shown = [strip[0, index * (PATCH_PX + 4)].tolist() for index in range(MAX_PATCHES)]
    assert [200, 30, 30] in shown
    assert shown[-1] == [40, 40, 120]
    with pytest.raises(ValueError, match="at least one"):
        colour_strip([], None)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MPP))
def test_real_slides_stay_pink_blue_and_red(shared_data, name):
    config = TilingConfig()
    with open_slide(shared_data / "slides" / f"{name}.tif", mpp=(MPP[name], MPP[name]), mpp_source="given") as slide:
        masks = segment_slide(slide)
        patches = slide_patches(slide, choose_tiles(slide, masks, config), masks, config)
    fit = fit_stain(patches, method="vahadane", glass=masks.glass)
    effect = effect_of(tissue_kinds(patches, masks.glass), stain_map(fit, REFERENCE).matrix)
    assert effect.pink[1] == approx(-26, abs=8)
    assert effect.pink[1] - effect.nuclei[1] > 18
    assert not effect.red_cells[1] < -38
    assert fit.strength >= 0.6


def test_slides_that_are_turned_in_part_get_a_flag():
    from preprocessing.tiling.slide_stain import SlideStain

    fit = StainFit(method="macenko", matrix=REFERENCE.matrix, p99=REFERENCE.p99)
    assert SlideStain(fit, None).flags == ()
    assert SlideStain(replace(fit, strength=0.4), None).flags == ("colours turned 40%",)
    assert SlideStain(REFERENCE, None).flags == ("colours kept",)


def test_nuclei_hardly_bluer_than_the_ground_before_need_be_no_bluer_afterwards():
    assert fault_of(replace(SOUND, pink=(-20.0, -28.0), nuclei=(-21.0, -29.5))) is None
    assert "no longer bluer" in fault_of(replace(SOUND, pink=(-20.0, -28.0), nuclei=(-22.0, -29.5)))


def kinds_of(*, pink=0, ground=0, nuclei=0, red_cells=0, colour=(0.2, 1.0, 0.5)):
    def some(n):
        return np.tile(np.array(colour), (n, 1))

    return TissueKinds(nuclei=some(nuclei), ground=some(ground), pink=some(pink), red_cells=some(red_cells))


def test_a_kind_with_few_blocks_is_not_judged():
    effect = effect_of(kinds_of(pink=MIN_BLOCKS - 1, ground=9, nuclei=MIN_BLOCKS, red_cells=MIN_BLOCKS), np.eye(3))
    assert np.isnan(effect.pink).all()
    hue = hue_and_chroma(np.array([[0.2, 1.0, 0.5]]))[0][0]
    assert effect.nuclei == effect.red_cells == approx((hue, hue))
    nothing = effect_of(kinds_of(), np.eye(3))
    assert (nothing.turned, nothing.bleached, nothing.noise) == approx((0.0, 0.0, 1.0))


def test_what_a_map_does_is_counted_by_blocks():
    shares = kinds_of(ground=60, nuclei=30, red_cells=10)
    shares.nuclei[:15] *= 3  # their darker half is looked at
    for factor, wanted in ((0.36, 0.0), (0.34, 1.0)):
        effect = effect_of(shares, factor * np.eye(3))
        assert (effect.bleached, effect.noise) == approx((wanted, factor))
    one_channel = np.diag([0.0, 1.0, 0.0])  # of the others, what falls below 0 counts as none
    assert effect_of(kinds_of(ground=10, colour=(0.1, 0.5, 0.85)), one_channel).bleached == 1.0
    assert effect_of(kinds_of(ground=10, colour=(0.1, 0.6, 0.85)), one_channel).bleached == 0.0
    assert effect_of(kinds_of(ground=10, colour=(0.1, 0.6, 0.85)), np.diag([-9.0, 1.0, 0.0])).bleached == 0.0
    pink = TissueKinds(*[np.array([[0.2, 1.0, 0.5]] * 3 + [[0.65, 1.0, 0.5]] * 2)] * 3, np.empty((0, 3)))
    turning = np.eye(3) + np.outer([0.0, 0.45, 0.0], [1.0, 0.0, 0.0])  # more red: the first three turn violet
    assert effect_of(pink, turning).turned == approx(0.6)
    assert effect_of(pink, np.eye(3)).turned == 0.0


def test_nuclei_are_judged_by_their_darker_half():
    od = np.array([[0.2, 1.0, 0.5]] * 49 + [[0.6, 1.0, 0.5]] * 51)
    effect = effect_of(replace(kinds_of(), nuclei=od), np.eye(3))
    assert effect.nuclei[0] == approx(hue_and_chroma(od[-1:])[0][0])


def test_the_rise_of_noise_is_of_colours_alone():
    grey = np.full((3, 3), 5.0)  # takes densities together: no colour grows
    assert effect_of(kinds_of(), np.eye(3) + grey).noise == approx(1.0)
    one, other = np.array([1.0, -1.0, 0.0]) / np.sqrt(2), np.array([1.0, 1.0, -2.0]) / np.sqrt(6)
    assert effect_of(kinds_of(), 4 * np.outer(one, one) + 2 * np.outer(other, other)).noise == approx(4.0)


def test_pink_is_paler_in_red_than_half_way_to_the_nuclei_and_of_an_eosins_hue():
    nuclei, usual = np.array([[0.9, 1.0, 0.5]] * 3), [[0.2, 1.0, 0.5]] * 9  # half way: 0.55
    asked = {
        (0.54, 1.0, 0.5): True, (0.56, 1.0, 0.5): False, (0.40, 1.0, 0.15): True, (0.40, 1.0, 0.10): False,  # hue -44.6, -46
        (0.1, 1.0, 1.02): True, (0.1, 1.0, 1.2): False,  # 28, 35
        (0.05, 0.1, 0.06): True, (0.03, 0.06, 0.036): False,  # chroma 6.5, 4
        (0.2, 0.26, 0.2): False,  # 0.77 of its green
    }  # fmt: skip
    found = tissue_kinds_module._is_pink(np.array([*asked, *usual]), nuclei)
    assert found.tolist() == [*asked.values(), *[True] * 9]
    assert tissue_kinds_module._is_pink(np.array([[0.6, 1.0, 0.5]]), nuclei[:0]).tolist() == [True]
    assert tissue_kinds_module._is_pink(nuclei[:0], nuclei).tolist() == []


def test_blocks_are_thinned_to_a_number_at_most():
    od = np.arange(30.0).reshape(10, 3)
    for most, left in ((10, 10), (11, 10), (9, 5), (5, 5), (4, 4), (3, 3), (1, 1)):
        found = thinned(od, most)
        assert len(found) == left
        assert found[0].tolist() == [0, 1, 2]
        assert np.isin(found[:, 0], od[:, 0]).all()
    assert thinned(od[:0], 3).shape == (0, 3)
