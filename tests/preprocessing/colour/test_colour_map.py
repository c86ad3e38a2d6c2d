"""The colour map: table and formula give the same bytes; slow twins, scikit-image and TIAToolbox's pictures agree."""

import sys
import warnings

import numpy as np
import pytest
from PIL import Image
from pytest import approx
from skimage.color import rgb2lab

from preprocessing.colour import colour_map
from preprocessing.colour.cielab import lab
from preprocessing.colour.colour_formula import StainMap
from preprocessing.colour.colour_map import (
    TABLE_PAYS_PX,
    apply_map,
    colour_cube,
    colour_factors,
    colour_table,
    paying_table,
)
from preprocessing.colour.colour_strip import GAP_PX, colour_strip
from preprocessing.colour.optical_density import OD_BACKGROUND
from preprocessing.colour.stain import REFERENCE, StainFit, fit_stain, stain_map
from tests.helpers.painted_stains import GLASS, painted_patches, random_stains
from tests.reference.slow_stain import slow_apply, slow_reinhard

LAB = np.array([[62.0, 18.0, -14.0], [14.0, 9.0, 7.0]])


def some_map(method):
    matrix = random_stains(np.random.default_rng(6))
    return stain_map(StainFit(method=method, matrix=matrix, p99=np.array([2.0, 1.2]), glass=GLASS, lab=LAB), REFERENCE)


def colours(n, seed=0):
    """Random colours, the corners of the cube, and all near the glass."""
    rng = np.random.default_rng(seed)
    corners = np.stack(np.meshgrid([0, 1, 254, 255], [0, 1, 254, 255], [0, 1, 254, 255]), -1).reshape(-1, 3)
    near_glass = rng.integers(200, 256, (n // 4, 3))
    return np.concatenate([rng.integers(0, 256, (n, 3)), corners, near_glass]).astype(np.uint8)


@pytest.fixture(scope="module", params=["macenko", "reinhard"])
def mapped(request):
    to_target = some_map(request.param)
    return request.param, to_target, colour_table(to_target)


def test_the_table_gives_the_same_bytes_as_the_formula(mapped):
    _, to_target, table = mapped
    pixels = colours(300_000)
    assert np.array_equal(apply_map(pixels, to_target, table=table), apply_map(pixels, to_target))


def test_a_table_of_a_machine_that_writes_otherwise_gives_the_same_bytes(mapped, monkeypatch):
    _, to_target, table = mapped
    pixels = colours(50_000)
    assert colour_map._writes_in_order() == (sys.byteorder == "little")
    quick = apply_map(pixels, to_target, table=table)
    monkeypatch.setattr(colour_map, "_writes_in_order", lambda: False)
    assert np.array_equal(apply_map(pixels, to_target, table=table), quick)


def test_maps_equal_their_slow_twins_within_one_grey_level(mapped):
    method, to_target, table = mapped
    pixels = colours(600)
    found = apply_map(pixels, to_target, table=table)
    if method == "macenko":
        slow = [slow_apply(p.tolist(), to_target.matrix.tolist(), GLASS, OD_BACKGROUND) for p in pixels]
    else:
        with warnings.catch_warnings():  # scikit-image says so when a colour leaves the gamut
            warnings.simplefilter("ignore")
            slow = [slow_reinhard(p.tolist(), LAB, REFERENCE.lab, GLASS, OD_BACKGROUND) for p in pixels]
    assert np.abs(found - np.array(slow)).max() <= 1.0


def test_a_cube_is_indexed_by_red_green_and_blue(mapped):
    _, to_target, table = mapped
    pixels = colours(1_000)
    red, green, blue = pixels.T
    assert np.array_equal(colour_cube(table)[red, green, blue], apply_map(pixels, to_target))


def test_tiles_and_blocks_of_any_size_give_the_same_bytes(mapped):
    _, to_target, table = mapped
    pixels = colours(200_000)[:160_000]
    tiles = pixels.reshape(4, 200, 200, 3)
    whole = apply_map(tiles, to_target)
    assert whole.shape == tiles.shape
    for index in range(4):
        assert np.array_equal(apply_map(tiles[index], to_target, table=table), whole[index])
        assert np.array_equal(apply_map(tiles[index], to_target), whole[index])
    assert apply_map(tiles[:0], to_target, table=table).shape == (0, 200, 200, 3)
    turned = tiles.transpose(0, 2, 1, 3)
    assert np.array_equal(apply_map(turned, to_target, table=table), whole.transpose(0, 2, 1, 3))


def test_white_stays_white_and_glass_becomes_white(mapped):
    _, to_target, table = mapped
    glass = np.array([GLASS, (255, 255, 255)], dtype=np.uint8)
    assert (apply_map(glass, to_target, table=table) == 255).all()


def test_extreme_maps_stay_finite():
    wild = StainMap(np.array([[140.0, -90, 40], [-160, 120, -30], [60, -40, 90]]), (255.0, 255.0, 255.0))
    pixels = colours(20_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(apply_map(pixels, wild), apply_map(pixels, wild, table=colour_table(wild)))


def test_a_table_is_made_when_it_pays_and_kept():
    to_target = some_map("macenko")
    assert paying_table(to_target, n_pixels=TABLE_PAYS_PX - 1) is None
    table = paying_table(to_target, n_pixels=TABLE_PAYS_PX)
    assert np.array_equal(table, colour_table(to_target))
    assert paying_table(some_map("macenko"), n_pixels=TABLE_PAYS_PX) is table


def test_lab_equals_scikit_image():
    values = np.random.default_rng(0).random((500, 3))
    assert lab(values) == approx(rgb2lab(values[None])[0], abs=1e-9)


def test_reinhard_moves_mean_and_spread_of_tissue_to_the_target():
    rng = np.random.default_rng(12)
    patches = painted_patches(random_stains(rng), rng, amounts=(1.2, 0.8))
    fit = fit_stain(patches, method="reinhard", glass=GLASS)
    assert (fit.method, fit.fallback) == ("reinhard", "")
    target = StainFit(method="reference", matrix=REFERENCE.matrix, p99=REFERENCE.p99, lab=LAB)
    moved = [apply_map(patch, stain_map(fit, target)) for patch in patches]
    found = fit_stain(moved, method="reinhard").lab
    assert found == approx(LAB, abs=2.5)  # colours out of the gamut are clipped, and faint pixels fade out
    assert np.abs(found - LAB).max() < 0.25 * np.abs(fit.lab - LAB).max()


def test_reinhard_needs_a_reference_with_lab_and_a_spread():
    fit = StainFit(method="reinhard", matrix=REFERENCE.matrix, p99=REFERENCE.p99, lab=LAB)
    with pytest.raises(ValueError, match="CIELAB"):
        stain_map(fit, StainFit(method="reference", matrix=REFERENCE.matrix, p99=REFERENCE.p99))
    flat = fit_stain([np.full((144, 144, 3), (150, 90, 160), np.uint8)] * 4, method="reinhard")
    assert flat.method == "reference"
    assert "spread of 0.00" in flat.fallback


def picture(folder, name):
    return np.asarray(Image.open(folder / "stain" / "tiatoolbox" / name).convert("RGB"))


def test_reinhard_of_all_pixels_is_tiatoolbox_s(shared_data):
    """Their mean and SD are over the whole picture; ours, over its tissue: with theirs, the transfer is the same."""
    source, target, wanted = (
        picture(shared_data, name) for name in ("source_image.png", "target_image.png", "norm_reinhard.png")
    )
    spreads = []
    for image in (source, target):
        values = lab(image.reshape(-1, 3) / 255)
        spreads.append(np.stack([values.mean(axis=0), values.std(axis=0)]))
    fits = [StainFit(method="reinhard", matrix=REFERENCE.matrix, p99=REFERENCE.p99, lab=lab_) for lab_ in spreads]
    difference = np.abs(apply_map(source, stain_map(*fits)).astype(float) - wanted).mean() / 255
    assert difference < 0.01, difference


def test_a_strip_shows_patches_before_and_after():
    rng = np.random.default_rng(3)
    patches = painted_patches(REFERENCE.matrix, rng, n_patches=10)
    to_target = some_map("macenko")
    strip = colour_strip(patches, to_target)
    side = 128
    assert strip.shape == (2 * side + GAP_PX, 8 * (side + GAP_PX) - GAP_PX, 3)
    before, after = strip[:side, :side], strip[side + GAP_PX :, :side]
    assert any(np.array_equal(before, patch[8:-8, 8:-8]) for patch in patches)
    assert np.array_equal(after, apply_map(before, to_target))
    assert colour_strip(patches[:2], None).shape == (side, 2 * side + GAP_PX, 3)
    with pytest.raises(ValueError, match="at least one patch"):
        colour_strip([], to_target)


def test_factors_multiply_out_to_the_table_and_reinhards_map_has_none(mapped):
    method, to_target, table = mapped
    factors = colour_factors(to_target)
    if method == "reinhard":
        assert factors is None
        return
    pixels = colours(3_000)
    red, green, blue = pixels.astype(int).T
    product = factors.red_green[:, red + 256 * green] * factors.blue[:, blue] - np.float32(0.5)
    found = np.clip(product, 0, 255).astype(np.uint8).T
    is_glass = (pixels >= factors.first).all(axis=1)
    found[is_glass] = factors.near_glass[tuple((pixels[is_glass] - np.array(factors.first)).T)]
    assert is_glass.any() and not is_glass.all()
    assert np.array_equal(found, apply_map(pixels, to_target, table=table))
