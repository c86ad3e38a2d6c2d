"""Tile quality: sharpness against blur, contrast and an outside filter; pen, folds and blood; ratings and flags."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from preprocessing.colour.ink import is_ink_colour, is_no_stain
from preprocessing.quality.artefacts import QUALITY_MPP
from preprocessing.quality.measures import (
    COLUMNS,
    REASONS,
    QualityConfig,
    _box_sums,
    measure_tiles,
    n_excluded,
    rate_tiles,
    slide_flags,
)

GLASS = (242.0, 240.0, 243.0)
HAEMATOXYLIN, EOSIN = np.array([0.56, 0.72, 0.41]), np.array([0.22, 0.80, 0.56])
SIDE = 128


def tissue_od(size=(SIDE, SIDE), *, strength=1.0, seed=0):
    """Fibres and nuclei, at QUALITY_MPP."""
    rng = np.random.default_rng(seed)
    fibres = gaussian_filter1d(gaussian_filter(rng.standard_normal(size), 0.8), 6, axis=1)
    eosin = 0.45 + 0.12 * fibres / fibres.std()
    nuclei = np.clip(gaussian_filter(rng.standard_normal(size), 1.6) * 5.6 - 1.2, 0, 0.8)
    return strength * 2.3 * (np.clip(eosin, 0.05, 1)[..., None] * EOSIN * 0.5 + nuclei[..., None] * HAEMATOXYLIN)


def picture(od, *, blur_um=0.0, seed=1):
    light = np.array(GLASS) * np.exp(-od)
    if blur_um:
        light = gaussian_filter(light, (blur_um / QUALITY_MPP, blur_um / QUALITY_MPP, 0))
    noise = np.random.default_rng(seed).normal(0, 0.5, light.shape)
    return np.clip(light + noise + 0.5, 0, 255).astype(np.uint8)


def measure(image, corners=((0.0, 0.0),), side=float(SIDE), is_tissue=None):
    is_tissue = np.ones(image.shape[:2], bool) if is_tissue is None else is_tissue
    return measure_tiles(image, np.array(corners), side, glass=GLASS, is_tissue=is_tissue)


@pytest.mark.parametrize("blur_um", [1.5, 3.0])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_blur_lowers_sharpness_far_below_half_of_the_slide_whatever_the_stain(blur_um, strength):
    sharp = measure(picture(tissue_od(strength=strength)))["sharpness"][0]
    blurred = measure(picture(tissue_od(strength=strength), blur_um=blur_um))["sharpness"][0]
    assert blurred < (0.6 if blur_um == 1.5 else 0.4) * sharp


def test_pale_tissue_is_as_sharp_as_dark_tissue():
    values = [measure(picture(tissue_od(strength=strength)))["sharpness"][0] for strength in (0.5, 1.0, 1.6)]
    assert max(values) < 1.25 * min(values)


def test_glass_beside_the_tissue_and_vacuoles_leave_its_sharpness():
    od = tissue_od()
    whole = measure(picture(od))["sharpness"][0]
    half = od.copy()
    half[:, 60:] = 0
    is_tissue = np.zeros((SIDE, SIDE), bool)
    is_tissue[:, :54] = True  # not its cut edge
    assert measure(picture(half), is_tissue=is_tissue)["sharpness"][0] == approx(whole, rel=0.1)
    y, x = np.mgrid[:SIDE, :SIDE]
    fat = od * (np.hypot(y % 32 - 16, x % 32 - 16) > 13)[..., None]
    assert measure(picture(fat))["sharpness"][0] > 0.8 * whole


def test_sharpness_equals_the_energies_of_scikit_image_filters():
    from skimage.filters import gaussian, laplace

    image = picture(tissue_od())
    fine = np.maximum(np.log((np.array(GLASS) + 1) / (image.astype(float) + 1)), 0).mean(axis=2)
    inner = slice(30, 94)
    stained = fine[inner, inner] > 0.05
    detail = laplace(fine, ksize=3)[inner, inner][stained]
    band = (gaussian(fine, 1.0) - gaussian(fine, 4.0))[inner, inner][stained]
    found = measure(image, corners=((30.0, 30.0),), side=64.0)
    assert found["sharpness"][0] == approx(np.sqrt((detail**2).mean() / ((band**2).mean() + 1e-4)), rel=0.02)
    assert found["od"][0] == approx(fine[inner, inner][stained].mean(), rel=1e-4)


@given(st.integers(0, 10_000), st.floats(2, 40))
@settings(max_examples=30, deadline=None)
def test_box_sums_equal_counting_fine_pixels(seed, side):
    rng = np.random.default_rng(seed)
    field = rng.random((50, 60)).astype(np.float32)
    corners = rng.uniform(0, (60 - side, 50 - side), (4, 2))
    fine = np.kron(field, np.ones((20, 20))) / 400
    for (x, y), found in zip(corners, _box_sums(field, corners, side), strict=True):
        left, right, top, bottom = (round(20 * edge) for edge in (x, x + side, y, y + side))
        assert found == approx(fine[top:bottom, left:right].sum(), rel=0.04, abs=0.3)


def test_what_a_tile_holds_does_not_depend_on_its_block():
    image = picture(tissue_od((400, 400)))
    large = measure(image, corners=((136.0, 136.0),))
    small = measure(image[56:344, 56:344], corners=((80.0, 80.0),))  # MARGIN_UM around
    for name in COLUMNS:
        assert small[name][0] == approx(large[name][0], rel=1e-3, abs=1e-6), name


@pytest.mark.parametrize("colour", [(40, 60, 190), (30, 140, 80), (28, 28, 34)])
def test_a_pen_stroke_is_its_share_of_the_tile(colour):
    image = picture(tissue_od())
    assert measure(image)["pen"][0] == 0
    stroke = image.copy()
    stroke[:, 32:64] = (0.8 * np.array(colour) + 0.2 * image[:, 32:64]).astype(np.uint8)
    assert measure(stroke)["pen"][0] == approx(0.25, abs=0.04)


def test_bare_glass_and_the_bounds_themselves_may_enter_a_stain_fit():
    od = np.array([[0.0, 0, 0], [1.15, 1, 0], [0, 1, 1.25], [1.16, 1, 0], [0, 1, 1.26]])
    assert is_no_stain(od).tolist() == [False, False, False, True, True]


def test_no_mixture_of_the_stains_is_ink():
    amounts = np.linspace(0, 1.2, 40)
    for blue in (0.41, 0.29):
        first = np.array([0.60, 0.72, blue])
        od = 2.3 * (amounts[:, None, None] * first + amounts[None, :, None] * EOSIN)
        assert not is_ink_colour(od.astype(np.float32)).any()


def test_a_fold_is_found_and_a_strand_of_nuclei_is_not():
    size = (400, 400)
    od = tissue_od(size, strength=1.8)
    band = np.abs(np.arange(400) - 200)[:, None] < 20  # 80 µm
    fold = measure(picture(od * np.where(band, 2.0, 1.0)[..., None]), corners=((136.0, 136.0),))["fold"][0]
    assert fold == approx(40 / 128, abs=0.08)
    strand = od + 0.7 * band[..., None] * HAEMATOXYLIN
    assert measure(picture(strand), corners=((136.0, 136.0),))["fold"][0] < 0.05


def test_blood_is_saturated_red_and_eosin_is_not():
    image = picture(tissue_od())
    assert measure(image)["blood"][0] == 0
    image[:, :64] = (200, 60, 70)
    assert measure(image)["blood"][0] == approx(0.5, abs=0.05)
    image[:, :64] = (225, 90, 82)  # bright red cells absorb as little red as a red pen: still no pen
    assert measure(image)["pen"][0] == 0


def test_smooth_eosinophilic_ground_is_necrosis_like_and_fibres_with_nuclei_are_not():
    rng = np.random.default_rng(3)
    ground = 0.4 + 0.06 * gaussian_filter(rng.standard_normal((SIDE, SIDE)), 1.0) * 3.5
    assert measure(picture(2.3 * 0.5 * ground[..., None] * EOSIN))["necrosis_like"][0] > 0.8
    assert measure(picture(tissue_od()))["necrosis_like"][0] < 0.1
    fibres = gaussian_filter1d(gaussian_filter(rng.standard_normal((SIDE, SIDE)), 0.8), 8, axis=1)
    collagen = 0.4 + 0.08 * fibres / fibres.std()
    assert measure(picture(2.3 * 0.5 * collagen[..., None] * EOSIN))["necrosis_like"][0] < 0.1


def test_a_tile_without_tissue_has_no_sharpness_and_is_called_glass():
    blank = measure(picture(np.zeros((SIDE, SIDE, 3))))
    assert np.isnan(blank["sharpness"][0]) and np.isnan(blank["od"][0])
    assert blank["glass"][0] == 1
    _, reason = rate_tiles(blank, QualityConfig())
    assert reason.tolist() == [REASONS.index("glass")]
    assert slide_flags(blank, reason, QualityConfig()) == ["glass 100%", "few tiles"]
    assert rate_tiles(blank, QualityConfig(max_glass=1.0))[0].all()


def test_a_lumen_in_stray_light_is_glass_and_the_walls_of_fat_cells_are_not():
    lumen = np.full((SIDE, SIDE, 3), 0.08) + np.random.default_rng(4).normal(0, 0.005, (SIDE, SIDE, 3))
    assert measure(picture(lumen))["glass"][0] > 0.99
    y, x = np.mgrid[:SIDE, :SIDE]
    walls = 0.4 * ((y % 40 < 2) | (x % 40 < 2))[..., None] * EOSIN  # cells of 80 µm, walls of 4 µm
    found = measure(picture(2.3 * walls))
    assert found["glass"][0] < 0.95
    assert rate_tiles(found, QualityConfig())[0].all()


def test_folds_leave_nothing_out_unless_asked_and_clots_are_blood():
    found = columns(fold=(50, 1.0))
    _, reason = rate_tiles(found, QualityConfig())
    assert not reason.any()
    assert slide_flags(found, reason, QualityConfig()) == ["fold-like 50%"]
    ground = 0.5 * EOSIN * 2.3 * np.ones((SIDE, SIDE, 1))
    clot = np.where((np.arange(SIDE) < SIDE // 2)[:, None, None], np.array([0.42, 1.25, 1.04]), ground)
    shares = measure(picture(clot))
    assert shares["blood"][0] == pytest.approx(0.5, abs=0.03)
    assert shares["fold"][0] == 0
    assert measure(picture(ground))["blood"][0] == 0


def test_a_tile_out_of_the_block_and_impossible_limits_are_refused():
    for corner in ((10.0, 0.0), (0.0, -2.0)):
        with pytest.raises(ValueError, match="reaches out of its block"):
            measure(picture(tissue_od()), corners=(corner,), side=SIDE - 4.0 if corner[1] else float(SIDE))
    with pytest.raises(ValueError, match="--max_pen is a share"):
        QualityConfig(max_pen=1.5)
    with pytest.raises(ValueError, match="--min_focus is a number from 0"):
        QualityConfig(min_focus=-1.0)


def columns(n=100, **changes):
    ground = {"sharpness": 3.5, "pen": 0.0, "fold": 0.0, "blood": 0.0, "necrosis_like": 0.0, "glass": 0.1, "od": 0.4}
    found = {name: np.full(n, value, np.float32) for name, value in ground.items()}
    for name, (count, value) in changes.items():
        found[name][:count] = value
    return found


def test_each_fault_is_left_out_for_its_reason_and_counted():
    found = columns(sharpness=(30, 1.0), pen=(10, 0.5), fold=(20, 0.9), blood=(40, 1.0), necrosis_like=(40, 1.0))
    config = QualityConfig(max_fold=0.3)
    kept, reason = rate_tiles(found, config)
    assert (kept == (reason == 0)).all()
    assert n_excluded(reason) == {
        "n_excluded_pen": 10, "n_excluded_fold": 10, "n_excluded_glass": 0, "n_excluded_blurred": 10, "n_excluded_blood": 0,
        "n_excluded_necrosis_like": 0,
    }  # fmt: skip
    assert slide_flags(found, reason, config) == [
        "pen 10%", "fold-like 18%", "blurred 10%", "blood 40%", "few nuclei 40%"
    ]  # fmt: skip
    everything = QualityConfig(min_sharpness=0.0, max_pen=1.0, max_fold=1.0)
    assert rate_tiles(found, everything)[0].all()


def test_blurred_is_relative_to_the_slide_and_a_slide_out_of_focus_is_flagged_whole():
    soft = columns(sharpness=(100, 1.2))
    kept, reason = rate_tiles(soft, QualityConfig())
    assert kept.all()
    assert slide_flags(soft, reason, QualityConfig()) == ["out of focus"]


def test_tiles_under_pen_do_not_shift_the_median_sharpness():
    found = columns(sharpness=(60, 8.0), pen=(60, 0.9))
    assert (rate_tiles(found, QualityConfig())[0][60:]).all()


def test_pale_slides_ink_before_the_grid_and_few_tiles_are_flagged():
    found = columns(n=8, od=(8, 0.1))
    _, reason = rate_tiles(found, QualityConfig())
    assert slide_flags(found, reason, QualityConfig(), ink_share=0.12) == ["pen 12%", "pale", "few tiles"]
    assert REASONS[0] == "kept"
