"""Stain fits and maps against slow twins, scikit-image, scikit-learn, known mixtures and the guards."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pytest import approx
from skimage.color import rgb2lab, separate_stains
from sklearn.linear_model import Lasso

from preprocessing.colour import stain as stain_module
from preprocessing.colour.cielab import hue_and_chroma
from preprocessing.colour.colour_map import apply_map
from preprocessing.colour.optical_density import OD_BACKGROUND
from preprocessing.colour.stain import GAIN_LIMIT, NO_STAIN, REFERENCE, StainFit, fit_stain, implausible, stain_map
from preprocessing.colour.stain_matrix import (
    GROUND_PERCENTILE,
    MIN_RED_OF_NUCLEI,
    NUCLEAR_PERCENTILE,
    SPARSITY,
    macenko_matrix,
    sparse_codes,
    with_true_haematoxylin,
)
from preprocessing.colour.stain_samples import (
    SMOOTH_OD,
    SMOOTH_REACH,
    block_densities,
    is_stained,
    smoothed,
    stained_pixels,
)
from preprocessing.colour.stain_store import reference_text
from preprocessing.colour.tissue_kinds import TissueKinds
from tests.helpers.painted_stains import GLASS, painted_patches, random_stains, unit
from tests.reference.slow_stain import slow_apply, slow_codes, slow_macenko, slow_smoothed


@pytest.mark.slow
@pytest.mark.parametrize("method", ["vahadane", "macenko"])
def test_known_stains_are_found_and_never_swapped(method):
    angles = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        matrix = random_stains(rng)
        fit = fit_stain(painted_patches(matrix, rng), method=method, glass=GLASS)
        assert fit.method == method, fit.fallback
        angles.append(np.degrees(np.arccos(np.clip((fit.matrix * matrix).sum(axis=1), -1, 1))))
    assert np.median(angles) < 2
    assert np.max(angles) < 6


def test_fits_are_the_same_bytes_on_two_runs():
    patches = painted_patches(REFERENCE.matrix, np.random.default_rng(1))
    one, two = (fit_stain(patches, method="vahadane", glass=GLASS) for _ in range(2))
    assert one.matrix.tobytes() == two.matrix.tobytes()
    assert one.p99.tobytes() == two.p99.tobytes()


@given(st.lists(st.floats(0, 3), min_size=3, max_size=3), st.integers(0, 1000))
@settings(max_examples=200, deadline=None)
def test_sparse_codes_equal_the_best_of_all_cases(pixel, seed):
    matrix = random_stains(np.random.default_rng(seed))
    od = np.array([pixel])
    found, expected = sparse_codes(od, matrix)[0], slow_codes(od[0], matrix, SPARSITY)

    def objective(code):
        return 0.5 * ((od[0] - code @ matrix) ** 2).sum() + SPARSITY * code.sum()

    assert objective(found) == approx(objective(expected), abs=1e-12)


def test_sparse_codes_equal_scikit_learn():
    rng = np.random.default_rng(3)
    matrix, od = random_stains(rng), rng.uniform(0, 2, (40, 3))
    lasso = Lasso(alpha=SPARSITY / 3, positive=True, fit_intercept=False, tol=1e-12, max_iter=100_000)
    theirs = np.array([lasso.fit(matrix.T, pixel).coef_.copy() for pixel in od])  # its loss is divided by 3 channels
    assert sparse_codes(od, matrix) == approx(theirs, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_macenko_equals_its_slow_twin(seed):
    rng = np.random.default_rng(seed)
    stains = random_stains(rng)
    nuclei = rng.uniform(0.5, 2, (300, 1)) * stains[0] + rng.uniform(0, 0.3, (300, 1)) * stains[1]
    ground = rng.uniform(0.3, 1, (700, 1)) * stains[1] + rng.normal(0, 0.01, (700, 3))
    expected = slow_macenko(nuclei, ground, NUCLEAR_PERCENTILE, GROUND_PERCENTILE)
    assert macenko_matrix(nuclei, ground) == approx(expected, abs=1e-9)


def test_a_handful_of_nuclei_weighs_as_much_as_much_ground():
    rng = np.random.default_rng(13)
    stains = unit([[0.60, 0.71, 0.36], [0.12, 0.88, 0.45]])
    ground = rng.uniform(0.3, 1, (60_000, 1)) * stains[1] + rng.normal(0, 0.02, (60_000, 3))
    nuclei = rng.uniform(0.8, 1.6, (200, 1)) * stains[0] + rng.normal(0, 0.02, (200, 3))
    found = macenko_matrix(nuclei, np.abs(ground))
    assert np.degrees(np.arccos(np.clip((found * stains).sum(axis=1), -1, 1))).max() < 3


def test_a_haematoxylin_with_eosin_above_it_is_moved_to_where_one_can_lie():
    pink, pure = unit([[0.11, 0.89, 0.45]])[0], unit([[0.62, 0.70, 0.36]])[0]
    covered = unit([0.5 * pure + 0.5 * pink])[0]
    moved = with_true_haematoxylin(np.stack([covered, pink]), pink)
    assert moved[0, 0] / moved[0, 1] == approx(MIN_RED_OF_NUCLEI)
    assert np.linalg.matrix_rank(np.stack([moved[0], covered, pink]), tol=1e-9) == 2  # along the line through both
    whole = np.stack([pure, pink])
    assert with_true_haematoxylin(whole, pink) is whole


def test_smoothing_equals_its_slow_twin():
    rng = np.random.default_rng(14)
    od = np.where(rng.random((9, 7, 1)) < 0.3, 0.8, 0.4) + rng.normal(0, 0.02, (9, 7, 3))
    assert smoothed(od) == approx(slow_smoothed(od, SMOOTH_REACH, SMOOTH_OD), abs=1e-12)
    flat = np.full((3, 3, 3), 0.0)
    assert np.array_equal(smoothed(flat), flat)


def test_smoothing_takes_noise_and_keeps_edges():
    rng = np.random.default_rng(15)
    step = np.repeat([[0.4], [0.7]], 16, axis=0)[:, :, None] * np.ones((1, 32, 3))
    noisy = step + rng.normal(0, 0.01, step.shape)
    assert (smoothed(noisy) - step).std() < 0.3 * (noisy - step).std()


def test_concentrations_equal_scikit_image():
    rng = np.random.default_rng(5)
    matrix = random_stains(rng)
    image = painted_patches(matrix, rng, n_patches=1)[0]
    cross = np.cross(matrix[0], matrix[1])
    whole = np.vstack([matrix, cross / np.linalg.norm(cross)])
    theirs = separate_stains(image, np.linalg.inv(whole))  # white 1.0, floor 1e-6, natural logarithm
    light = np.maximum(image / 255, 1e-6)
    ours = (-np.log(light).reshape(-1, 3) @ np.linalg.pinv(matrix)).reshape(*image.shape[:2], 2)
    # scikit-image takes the logarithm to the base of its floor, and clips at 0
    assert theirs[..., :2] == approx(np.maximum(ours, 0) / -np.log(1e-6), abs=1e-6)


def test_maps_equal_the_slow_formula_within_one_grey_level():
    rng = np.random.default_rng(6)
    source = StainFit(method="macenko", matrix=random_stains(rng), p99=np.array([2.0, 1.2]), glass=GLASS)
    to_target = stain_map(source, REFERENCE)
    pixels = rng.integers(0, 256, (500, 3), dtype=np.uint8)
    mapped = apply_map(pixels, to_target)
    slow = np.array([slow_apply(p.tolist(), to_target.matrix.tolist(), GLASS, OD_BACKGROUND) for p in pixels])
    assert np.abs(mapped - slow).max() <= 1.0


def test_glass_becomes_white_and_takes_no_tinge():
    rng = np.random.default_rng(7)
    source = StainFit(method="macenko", matrix=random_stains(rng), p99=np.array([0.8, 0.5]), glass=GLASS)
    noisy = np.clip(np.array(GLASS) + rng.normal(0, 2, (1000, 3)), 0, 255).round().astype(np.uint8)
    mapped = apply_map(noisy, stain_map(source, REFERENCE)).astype(int)
    assert mapped.min() >= 240
    assert np.abs(mapped.mean(axis=0) - mapped.mean()).max() < 1.5


def test_two_labs_become_one_colour():
    rng = np.random.default_rng(8)
    means = []
    for seed in range(2):
        lab = np.random.default_rng(50 + seed)
        patches = painted_patches(random_stains(lab), lab, amounts=(1.2 + seed, 0.7 + 0.6 * seed))
        fit = fit_stain(patches, method="vahadane", glass=GLASS)
        before = np.mean([p.mean(axis=(0, 1)) for p in patches], axis=0)
        after = np.mean([apply_map(p, stain_map(fit, REFERENCE)).mean(axis=(0, 1)) for p in patches], axis=0)
        means.append((before, after))
    gap = [np.abs(means[0][k] - means[1][k]).max() for k in (0, 1)]
    assert gap[1] < 0.25 * gap[0], (gap, rng)


def test_a_slide_without_fit_is_left_alone():
    fit = fit_stain([], method="none", glass=GLASS)
    assert fit.method == NO_STAIN.method == "none"


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        (np.full((96, 96, 3), 240, np.uint8), "0 stained pixels"),
        (None, "colours kept"),
    ],
)
def test_implausible_slides_fall_back_and_say_why(patch, reason):
    if patch is None:  # one stain only: grey to violet
        rng = np.random.default_rng(9)
        od = rng.gamma(3, 0.3, (96, 96, 1)) * np.array([0.58, 0.58, 0.57])
        patch = np.clip(255 * np.exp(-od), 0, 255).astype(np.uint8)
    fit = fit_stain([patch] * 4, method="vahadane")
    assert fit.method == "reference"
    assert reason in fit.fallback


def test_pen_does_not_move_the_fit():
    rng = np.random.default_rng(10)
    patches = painted_patches(REFERENCE.matrix, rng)
    inked = [patch.copy() for patch in patches]
    for patch in inked[:3]:
        patch[:30] = (40, 60, 190)
    clean, found = (fit_stain(p, method="vahadane", glass=GLASS) for p in (patches, inked))
    assert np.degrees(np.arccos(np.clip((clean.matrix * found.matrix).sum(axis=1), -1, 1))).max() < 1.5


@pytest.mark.parametrize("method", ["vahadane", "macenko"])
def test_pale_ground_does_not_move_the_fit(method):
    """A pale wash, where noise and glass decide the hue, covers a third of each patch."""
    rng = np.random.default_rng(11)
    patches = painted_patches(REFERENCE.matrix, rng)
    washed = [patch.copy() for patch in patches]
    for patch in washed:
        od = 0.3 * np.array([0.95, 1.0, 0.1]) + rng.normal(0, 0.01, (48, patch.shape[1], 3))
        patch[:48] = np.clip((np.array(GLASS) + 1) * np.exp(-od) - 1, 0, 255).round()
    clean, found = (fit_stain(p, method=method, glass=GLASS) for p in (patches, washed))
    assert np.degrees(np.arccos(np.clip((clean.matrix * found.matrix).sum(axis=1), -1, 1))).max() < 2


def test_reinhards_colours_are_those_of_scikit_image():
    rng = np.random.default_rng(0)
    patches = [rng.integers((180, 80, 140), (215, 120, 175), size=(64, 64, 3)).astype(np.uint8) for _ in range(2)]
    pixels = np.concatenate([patch.reshape(-1, 3) for patch in patches])
    assert len(stained_pixels(patches[0], (255.0, 255.0, 255.0))) == 64 * 64  # all are seen
    values = rgb2lab(pixels / 255)
    assert fit_stain(patches, method="reinhard").lab == approx(
        np.stack([values.mean(axis=0), values.std(axis=0)]), abs=0.02
    )


def test_unknown_methods_are_refused():
    with pytest.raises(ValueError, match="vahadane, macenko, reinhard, none"):
        fit_stain([], method="reinhardt")


@pytest.mark.slow
def test_the_reference_is_the_median_of_the_2021_tiles(shared_data):
    matrices = []
    for path in sorted((shared_data / "sarcoma_tiles").glob("*_0[13].jpg")):
        image = np.asarray(Image.open(path).convert("RGB"))
        patches = [image[y : y + 256, x : x + 256] for y in range(0, 1024, 256) for x in range(0, 1024, 256)]
        matrices.append(fit_stain(patches, method="vahadane").matrix)
    assert np.median(matrices, axis=0) == approx(REFERENCE.matrix, abs=0.02)


def test_spcn_outputs_of_its_authors_are_met(shared_data):
    """Their second source is so pale that they scale it five times, its noise too; here a stain is scaled three times."""
    folder = shared_data / "stain" / "spcn_original"
    for number, share in ((1, 0.6), (2, 0.8)):
        source, target = (_image(folder, f"{name}{number}") for name in ("source", "target"))
        normed = _image(folder, f"source{number}_norm")
        fits = [fit_stain(_cut(image), method="vahadane") for image in (source, target)]
        ours = apply_map(source, stain_map(fits[0], replace(fits[1], glass=(255.0, 255.0, 255.0))))
        before = np.abs(source.astype(int) - normed).mean()
        after = np.abs(ours.astype(int) - normed[: ours.shape[0], : ours.shape[1]]).mean()
        assert after < share * before, (number, before, after)


def _image(folder, stem):
    (path,) = [p for p in folder.rglob("*") if p.stem == stem]
    return np.asarray(Image.open(path).convert("RGB"))


def _cut(image, side=128):
    return [
        image[y : y + side, x : x + side]
        for y in range(0, image.shape[0] - side + 1, side)
        for x in range(0, image.shape[1] - side + 1, side)
    ]


def test_a_slide_of_one_pink_hue_keeps_its_colours():
    """Two shades of eosin are no haematoxylin: neither is pink turned to blue, nor noise scaled up."""
    rng = np.random.default_rng(12)
    shades = unit([[0.28, 0.82, 0.50], [0.05, 0.91, 0.41]])
    fit = fit_stain(painted_patches(shades, rng), method="vahadane", glass=GLASS)
    assert fit.method == "reference"
    assert "hardly any red" in fit.fallback
    assert stain_map(fit, REFERENCE).matrix == approx(np.eye(3))


def test_glass_becomes_white_even_where_too_little_tissue_is_seen():
    glass = (215.0, 208.0, 220.0)
    fit = fit_stain([np.full((30, 30, 3), (140, 60, 120), np.uint8)], method="vahadane", glass=glass)
    assert "fewer than" in fit.fallback
    assert apply_map(np.array([[glass]], np.uint8), stain_map(fit, REFERENCE)).tolist() == [[[255, 255, 255]]]


def test_v2_a_second_stain_strongest_in_red_or_blue_is_no_eosin():
    first, amounts = [0.65, 0.70, 0.29], np.array([2.0, 1.0])

    def reason(second):
        return implausible(StainFit(method="macenko", matrix=unit([first, second]), p99=amounts))

    assert reason([0.30, 0.66, 0.69]) == "eosin does not absorb green most"
    assert reason([0.66, 0.62, 0.42]) == "eosin does not absorb green most"
    assert "as much red as a haematoxylin (0.90" in reason([0.589, 0.652, 0.477])  # crushed nuclei beside a needle core
    assert reason([0.50, 0.64, 0.60]) is None
    assert "hardly stained" in implausible(StainFit(method="macenko", matrix=REFERENCE.matrix, p99=amounts / 12))


def test_a_pale_slide_is_not_scaled_up_without_end():
    source = StainFit(method="macenko", matrix=REFERENCE.matrix, p99=REFERENCE.p99 / 6)
    mapped = REFERENCE.matrix @ stain_map(source, REFERENCE).matrix
    assert mapped == approx(GAIN_LIMIT * REFERENCE.basis)


def test_half_the_strength_turns_directions_half_of_the_way():
    rng = np.random.default_rng(20)
    source = StainFit(method="macenko", matrix=random_stains(rng), p99=np.array([2.0, 1.0]), strength=0.5)
    mapped = unit(source.matrix @ stain_map(source, REFERENCE).matrix)
    assert mapped == approx(unit((source.matrix + REFERENCE.basis) / 2))


def test_a_slide_mapped_to_itself_stays():
    patches = painted_patches(random_stains(np.random.default_rng(21)), np.random.default_rng(21))
    fit = fit_stain(patches, method="vahadane", glass=GLASS)
    assert stain_map(fit, fit).matrix == approx(np.eye(3), abs=1e-9)


def test_the_pink_of_the_built_in_reference_is_that_of_its_eosin_at_full_strength():
    strong, usual = 2.0 * REFERENCE.matrix[1], 0.8 * REFERENCE.basis[1]
    hues = hue_and_chroma(np.stack([strong, usual]))[0]
    assert hues == approx([-26, -26], abs=0.5)


SOUND = StainFit(method="macenko", matrix=unit([[0.65, 0.70, 0.29], [0.25, 0.85, 0.45]]), p99=np.array([2.0, 1.0]))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"matrix": np.array([[0.65, 0.70, 0.29], [-1e-6, 0.90, 0.43]])}, "a negative stain vector"),
        ({"matrix": np.array([[0.65, 0.70, 0.29], [0.0, 0.90, 0.43]])}, None),
        ({"matrix": np.array([[0.65, 0.70, np.nan], [0.25, 0.85, 0.45]])}, "a negative stain vector"),
        ({"matrix": unit([[0.37, 1.0, 0.5], [0.1, 0.9, 0.3]])}, "takes hardly any red (0.37"),
        ({"matrix": unit([[0.39, 1.0, 0.5], [0.1, 0.9, 0.3]])}, None),
        ({"matrix": unit([[0.65, 0.70, 0.70], [0.25, 0.85, 0.45]])}, "haematoxylin is grey"),
        ({"matrix": unit([[0.65, 0.70, 0.67], [0.25, 0.85, 0.45]])}, None),
        ({"matrix": unit([[0.95, 0.99, 0.29], [0.81, 1.00, 0.45]])}, "as much red as a haematoxylin (0.81"),
        ({"matrix": unit([[0.95, 0.99, 0.29], [0.79, 1.00, 0.45]])}, None),
        ({"matrix": unit([[0.79, 1.0, 0.40], [0.78, 1.0, 0.44]])}, "2 degrees between"),
        ({"matrix": unit([[0.79, 1.0, 0.40], [0.78, 1.0, 0.50]])}, None),  # 4.1
        ({"matrix": unit([[1.0, 0.75, 0.0], [0.0, 0.8, 0.79]])}, None),  # 64.7
        ({"matrix": unit([[1.0, 0.6, 0.0], [0.0, 0.8, 0.79]])}, "69 degrees between"),
        ({"p99": np.array([3.1409 / 12 * 1.001, 1.0])}, None),
        ({"p99": np.array([3.1409 / 12 * 0.999, 1.0])}, "99th percentiles 0.26 and 1.00: hardly stained"),
        ({"p99": np.array([2.0, 1.8232 / 12 * 1.001])}, None),
        ({"p99": np.array([2.0, 1.8232 / 12 * 0.999])}, "hardly stained"),
    ],
)
def test_a_fit_is_judged_at_its_bounds(changes, reason):
    found = implausible(replace(SOUND, **changes))
    assert found is None if reason is None else reason in found


@pytest.mark.parametrize(
    ("n_pink", "told"), [(20, []), (19, ["1.9% of the ground is pink: the reference's eosin taken"])]
)
def test_a_slide_with_hardly_any_pink_ground_says_so(n_pink, told):
    ground = np.ones((1000, 3))
    kinds = TissueKinds(nuclei=ground[:0], ground=ground, pink=ground[:n_pink], red_cells=ground[:0])
    assert stain_module._about_pink(kinds) == told


def test_blocks_are_tissue_between_glass_and_black():
    for colour, wanted in (
        ((0.05, 0.19, 0.10), False), ((0.09, 0.21, 0.09), False), ((0.10, 0.21, 0.12), True),  # the sum is above 0.4, too
        ((1.7, 1.79, 1.9), True), ((1.81, 1.9, 1.9), False), ((1.2, 1.0, 0.9), False),  # black; ink
    ):  # fmt: skip
        assert is_stained(np.array([colour]), 0.2)[0] == wanted


def test_blocks_are_means_of_light_and_what_is_over_is_cut():
    patch = np.random.default_rng(0).integers(0, 250, (11, 14, 3)).astype(np.uint8)
    found = block_densities(patch, GLASS)
    assert found.shape == (2, 3, 3)
    for y, x in ((0, 0), (1, 2)):
        light = patch[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].astype(float).mean(axis=(0, 1))
        assert found[y, x] == approx(np.maximum(np.log((np.array(GLASS) + 1) / (light + 1)), 0))
    assert (block_densities(np.full((8, 8, 3), 255, np.uint8), GLASS) == 0).all()


def test_the_built_in_reference_stays_what_it_is():
    """Features are made with it: another text is another provenance."""
    assert reference_text(REFERENCE) == (
        '{"lab": [[54.06, 29.44, -31.64], [17.18, 7.2, 10.81]], "matrix": [[0.6428, 0.7293, 0.2343], [0.3219, 0.8645, 0.3861]], '
        '"p99": [3.1409, 1.8232], "pink": [0.2876, 0.8711, 0.398]}'
    )
