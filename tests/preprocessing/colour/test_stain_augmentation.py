"""Stain augmentation: the same for the same tile, white kept, and equal to scikit-image's separation and recombination."""

from dataclasses import replace

import numpy as np
import pytest
from pytest import approx
from skimage.color import combine_stains, separate_stains

from preprocessing.colour.optical_density import optical_density
from preprocessing.colour.stain import REFERENCE
from preprocessing.colour.stain_augmentation import augment_stains, stain_basis, stain_jitter
from tests.helpers.painted_stains import GLASS, painted_patches

FIT = replace(REFERENCE, glass=GLASS)
NONE = (np.ones(3), np.zeros(3))


def patch():
    return painted_patches(FIT.matrix, np.random.default_rng(0), n_patches=1)[0]


def test_jitter_is_told_by_slide_tile_and_copy_alone():
    one = stain_jitter("S1", 7, copy=1, strength=0.2)
    assert all(np.array_equal(a, b) for a, b in zip(one, stain_jitter("S1", 7, copy=1, strength=0.2), strict=True))
    for other in (("S2", 7, 1), ("S1", 8, 1), ("S1", 7, 2)):
        assert not np.array_equal(one[0], stain_jitter(other[0], other[1], copy=other[2], strength=0.2)[0])


def test_jitter_lies_in_its_range_and_fills_it():
    drawn = [stain_jitter("S", index, copy=0, strength=0.05) for index in range(400)]
    factors, shifts = (np.array(values) for values in zip(*drawn, strict=True))
    for values, middle in ((factors, 1), (shifts, 0)):
        assert np.abs(values - middle).max() <= 0.05
        assert values.std(axis=0) == approx(0.05 / np.sqrt(3), rel=0.15)
    with pytest.raises(ValueError, match=r"0 to 0\.5"):
        stain_jitter("S", 0, copy=0, strength=0.9)


def test_no_strength_changes_nothing():
    tile = patch()
    assert np.abs(augment_stains(tile, FIT, NONE).astype(int) - tile).max() == 0


def test_glass_keeps_its_colour():
    noise = np.random.default_rng(1).integers(-2, 3, (64, 64, 3))
    glass = (np.array(GLASS) + noise).clip(0, 255).astype(np.uint8)
    assert np.array_equal(augment_stains(glass, FIT, stain_jitter("S", 1, copy=0, strength=0.5)), glass)


def test_stains_are_scaled_as_scikit_image_scales_them():
    tile = patch()
    factors = np.array([1.15, 0.85, 1.0])
    white = replace(FIT, glass=(255.0, 255.0, 255.0))
    ours = augment_stains(tile, white, (factors, np.zeros(3)))
    basis = stain_basis(FIT)
    light = (tile.astype(np.float64) + 1) / 256  # their density has no + 1
    with np.errstate(all="ignore"):
        theirs = combine_stains(separate_stains(light, np.linalg.inv(basis)) * factors, basis)
    is_stained = optical_density(tile).max(axis=-1) > 0.2
    residual = (optical_density(tile).astype(float) @ np.linalg.inv(basis))[..., 2]
    is_stained &= residual > 0.01  # theirs cuts negative concentrations off, ours keeps them
    inside = (optical_density(tile).astype(float) @ np.linalg.inv(basis)).min(axis=-1) > 0
    chosen = is_stained & inside
    assert chosen.sum() > 500
    assert ours[chosen].astype(float) == approx(theirs[chosen] * 256 - 1, abs=1.0)


def test_shifts_move_mean_concentrations():
    tile = patch()
    shifts = np.array([0.10, -0.05, 0.0])
    moved = augment_stains(tile, FIT, (np.ones(3), shifts))
    is_stained = optical_density(tile, GLASS).max(axis=-1) > 0.4
    unmix = np.linalg.inv(stain_basis(FIT))
    before, after = (optical_density(image, GLASS)[is_stained].astype(float) @ unmix for image in (tile, moved))
    assert (after - before).mean(axis=0) == approx(shifts, abs=0.02)
