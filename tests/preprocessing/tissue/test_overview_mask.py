"""Tissue on painted overviews: pale, all tissue, fat, pen, shadows; the grid against a slow twin; outlines with holes."""

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pytest import approx
from scipy.ndimage import gaussian_filter
from shapely.geometry import shape

from preprocessing.tiling.grid import box_shares, piece_of_tiles, shares_of_tiles, tile_grid
from preprocessing.tissue import overview_mask
from preprocessing.tissue.density_bytes import OD_STEP, Densities, densities_of, texture
from preprocessing.tissue.open_fat import STRAY_OD, veil
from preprocessing.tissue.outline import geojson, outlines
from preprocessing.tissue.overview_mask import _true_pieces, find_tissue, glass_colour

MPP = 8.0


def overview(*, strength=1.0, glass=(240, 240, 243), size=(300, 400), seed=0):
    """Glass with an ellipse of stained tissue; returns the image and the truth."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    truth = ((y - size[0] / 2) / (0.33 * size[0])) ** 2 + ((x - size[1] / 2) / (0.3 * size[1])) ** 2 < 1
    amount = strength * truth * (0.45 + 0.2 * gaussian_filter(rng.standard_normal(size), 1.5) * 3)
    od = np.maximum(amount, 0)[..., None] * np.array([0.35, 0.85, 0.45])
    light = np.array(glass) * np.exp(-od) + rng.normal(0, 1.5, (*size, 3))
    return np.clip(light, 0, 255).astype(np.uint8), truth


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("strength", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("glass", [(240, 240, 243), (222, 220, 216), (254, 254, 254)])
def test_pale_and_dark_tissue_is_found_on_any_glass(strength, glass):
    image, truth = overview(strength=strength, glass=glass)
    found = find_tissue(image, mpp=MPP)
    assert dice(found.is_tissue, truth) > 0.97
    assert found.glass == approx(glass, abs=4)
    assert not found.is_ink.any()


def test_bare_glass_has_no_tissue():
    rng = np.random.default_rng(1)
    image = np.clip(238 + rng.normal(0, 2.5, (200, 300, 3)), 0, 255).astype(np.uint8)
    assert not find_tissue(image, mpp=MPP).is_tissue.any()


def test_a_view_full_of_tissue_is_tissue():
    image, _ = overview(size=(300, 300))
    image = image[90:210, 90:210]
    assert find_tissue(image, mpp=MPP).is_tissue.mean() > 0.99


def test_fat_is_kept():
    image, truth = overview()
    rng = np.random.default_rng(2)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    for _ in range(120):  # vacuoles of 30 to 80 µm, as bright as glass
        cy, cx = rng.uniform(110, 190), rng.uniform(130, 270)
        image[(y - cy) ** 2 + (x - cx) ** 2 < rng.uniform(2, 5) ** 2] = (240, 240, 243)
    found = find_tissue(image, mpp=MPP).is_tissue
    assert found[truth].mean() > 0.97


@pytest.mark.parametrize("gap", [0.0, 0.3])
def test_open_fat_with_thin_broken_walls_is_bridged_and_a_lumen_beside_it_is_not(gap):
    """Cells of 100 µm whose walls of 4 µm have gaps, beside stroma; a clear lumen of 0.3 mm2 stays glass."""
    rng = np.random.default_rng(3)
    mpp, fine = 8.0, 4  # painted at 2 µm
    od = np.zeros((400 * fine, 400 * fine))
    y, x = np.mgrid[: len(od), : len(od)]
    walls = ((y + 6 * np.sin(x / 40)) % 50 < 2) | ((x + 6 * np.sin(y / 40)) % 50 < 2)
    walls &= np.kron(rng.random((len(od) // 10, len(od) // 10)), np.ones((10, 10))) >= gap
    is_fat, is_stroma = (y > 300) & (y < 1300) & (x > 600) & (x < 1400), (x > 200) & (x <= 600) & (y > 300) & (y < 1300)
    od[is_fat & walls] = 0.5
    od[is_stroma] = (0.6 + 0.2 * gaussian_filter(rng.standard_normal(od.shape), 2) * 4)[is_stroma]
    is_lumen = (y - 800) ** 2 + (x - 1000) ** 2 < 170**2
    od[is_lumen] = 0
    light = 243 * np.exp(-np.maximum(od, 0)[..., None] * np.array([0.35, 1.0, 0.5])) + rng.normal(0, 1, (*od.shape, 3))
    image = light.reshape(400, fine, 400, fine, 3).mean(axis=(1, 3)).clip(0, 255).astype(np.uint8)
    found = find_tissue(image, mpp=mpp).is_tissue
    wanted, lumen = ((mask[::fine, ::fine]) for mask in ((is_fat | is_stroma) & ~is_lumen, is_lumen))
    assert found[wanted].mean() > 0.95
    assert found[lumen].mean() < 0.15
    assert found[~wanted & ~lumen].mean() < 0.02


def test_a_large_pale_piece_is_kept_for_its_texture_and_a_grey_one_is_dropped_and_said():
    rng = np.random.default_rng(5)
    shape = (500, 400)
    texture = gaussian_filter(rng.standard_normal(shape), 1.2)
    od = np.zeros((*shape, 3))
    od[50:250, 50:350] = (0.14 + 0.05 * texture / texture.std())[50:250, 50:350, None] * np.array([0.85, 1.0, 0.87])
    od[300:450, 50:350] = (0.14 + 0.05 * texture / texture.std())[300:450, 50:350, None]  # 2.9 mm2 of grey
    image = (244 * np.exp(-np.maximum(od, 0)) + rng.normal(0, 0.5, od.shape)).clip(0, 255).astype(np.uint8)
    found = find_tissue(image, mpp=MPP)
    assert found.is_tissue[55:245, 55:345].mean() > 0.98
    assert not found.is_tissue[290:].any()
    assert found.is_dropped[305:445, 55:345].mean() > 0.9
    assert not found.is_dropped[:280].any()


def test_stray_light_beside_dense_tissue_is_glass():
    rng = np.random.default_rng(6)
    od = np.full((300, 300), 0.7) + 0.15 * rng.standard_normal((300, 300))
    y, x = np.mgrid[:300, :300]
    lumen = (y - 150) ** 2 + (x - 150) ** 2 < 40**2  # 0.32 mm2
    od[lumen] = 0.08
    od[:20] = 0
    image = (243 * np.exp(-np.maximum(od, 0)[..., None] * np.array([0.6, 1.0, 0.7]))).clip(0, 255).astype(np.uint8)
    image = (image + rng.normal(0, 1, image.shape)).clip(0, 255).astype(np.uint8)
    found = find_tissue(image, mpp=MPP).is_tissue
    assert found[lumen].mean() < 0.2
    assert found[30:][~lumen[30:]].mean() > 0.97


@pytest.mark.parametrize("stray", [0.06, 0.075, 0.09])
def test_a_lumen_lit_by_stray_light_is_glass_up_to_its_edge(stray):
    rng, side = np.random.default_rng(0), 300
    od = np.zeros((side, side, 3))
    y, x = np.mgrid[:side, :side] - side / 2
    is_tissue, is_lumen = np.hypot(y, x) < 120, np.hypot(y, x) < 48  # 0.46 mm2
    od[is_tissue] = np.array([0.3, 0.8, 0.45]) * rng.uniform(0.6, 1.4, (int(is_tissue.sum()), 1))
    od[is_lumen] = stray * np.array([0.92, 1.0, 0.94])
    image = np.clip(243 * np.exp(-od) + rng.normal(0, 1.6, od.shape), 0, 255).astype(np.uint8)
    found = find_tissue(image, mpp=8.0).is_tissue
    assert found[is_lumen].mean() < 0.16
    assert dice(found, is_tissue & ~is_lumen) > 0.97


@pytest.mark.parametrize("colour", [(40, 60, 190), (30, 140, 80), (28, 28, 34)])
def test_pen_on_glass_and_across_tissue_is_left_out(colour):
    image, truth = overview()
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    stroke = np.abs(y - 0.5 * x - 40) < 8
    image[stroke] = colour
    found = find_tissue(image, mpp=MPP)
    assert found.is_ink[stroke].mean() > 0.98
    assert not (found.is_tissue & stroke).any()
    clean = truth & ~found.is_ink
    assert dice(found.is_tissue, clean) > 0.95
    assert (found.is_ink & truth).sum() < 0.35 * truth.sum()


def test_grey_shadows_and_dust_are_no_tissue():
    image, truth = overview()
    image = image.astype(float)
    image[:, 370:376] *= 0.8  # the edge of a cover slip
    image[20:24, 20:24] = 60
    found = find_tissue(image.astype(np.uint8), mpp=MPP).is_tissue
    assert dice(found, truth) > 0.97
    assert not found[:, 365:].any()


@pytest.mark.parametrize("tint", [(1.0, 1.0, 1.0), (1.0, 0.95, 0.9)])
@pytest.mark.parametrize("depth", [0.2, 0.35, 0.6])
def test_a_shadow_that_closing_would_join_to_tissue_is_glass_and_pale_tissue_at_the_edge_is_not(depth, tint):
    image, truth = overview()
    reach = np.clip(np.arange(77) / 15, 0, 1)  # full after 120 µm, and begins 24 µm from the ellipse
    shadow = np.zeros(truth.shape)
    shadow[:, -77:] = depth * reach
    image[:, 280:] = (image[:, 280:] * np.exp(-shadow[:, 280:, None] * np.array(tint))).clip(0, 255).astype(np.uint8)
    rng = np.random.default_rng(3)
    pale = np.zeros(truth.shape, bool)
    pale[:, :35] = True
    amount = 0.15 + 0.04 * gaussian_filter(rng.standard_normal(truth.shape), 1.5) * 5
    image[pale] = (240 * np.exp(-(amount[..., None] * np.array([0.75, 1.0, 0.8]))[pale])).clip(0, 255).astype(np.uint8)
    image[:60, :35] = image[240:, :35] = (240, 240, 243)
    pale[:60], pale[240:] = False, False
    found = find_tissue(image, mpp=MPP).is_tissue
    is_shadow = (shadow > 0) & ~truth
    assert found[is_shadow].mean() < 0.06
    assert found[pale].mean() > 0.95
    assert dice(found & ~is_shadow, truth | pale) > 0.96


def test_white_filling_does_not_pass_for_glass():
    image, _ = overview(glass=(225, 222, 220))
    image[:, :150] = 255
    assert glass_colour(image) == approx((225, 222, 220), abs=4)


def test_a_wrong_scale_is_refused():
    with pytest.raises(ValueError, match="2 to 32"):
        find_tissue(overview()[0], mpp=0.5)


@given(st.integers(0, 10_000), st.floats(0.2, 1.1), st.floats(0.2, 1.1), st.floats(60, 400))
@settings(max_examples=40, deadline=None)
def test_grid_equals_counting_pixels(seed, mpp_x, mpp_y, tile_um):
    rng = np.random.default_rng(seed)
    slide_px = (int(rng.integers(900, 3000)), int(rng.integers(900, 3000)))
    mask = gaussian_filter(rng.standard_normal((60, 70)), 3) > 0
    coords, share = tile_grid(mask, slide_px=slide_px, mpp=(mpp_x, mpp_y), tile_um=tile_um, min_tissue=0.3)
    fine = np.kron(mask, np.ones((20, 20)))  # 20 samples a mask pixel
    for (x, y), value in zip(coords[:8], share[:8], strict=True):
        assert x + tile_um / mpp_x <= slide_px[0] + 0.5
        assert y + tile_um / mpp_y <= slide_px[1] + 0.5
        left, right = (round(v / slide_px[0] * fine.shape[1]) for v in (x, x + tile_um / mpp_x))
        top, bottom = (round(v / slide_px[1] * fine.shape[0]) for v in (y, y + tile_um / mpp_y))
        assert value == approx(fine[top:bottom, left:right].mean(), abs=0.03)
    assert (share >= 0.3).all()
    order = np.lexsort((coords[:, 0], coords[:, 1]))
    assert (order == np.arange(len(coords))).all()  # row by row


@pytest.mark.parametrize("mpp", [0.25, 0.299, 0.310, 0.5])
def test_corners_are_multiples_of_the_tile_in_micrometres(mpp):
    side = round(4000 / mpp)
    coords, _ = tile_grid(
        np.ones((100, 100), bool), slide_px=(side, side), mpp=(mpp, mpp), tile_um=256.0, min_tissue=0.5
    )
    um = np.unique(coords[:, 0]) * mpp
    assert um == approx(np.arange(len(um)) * 256.0, abs=mpp / 2 + 1e-9)
    assert len(um) == 15


def test_outlines_keep_holes_and_pieces_and_area():
    mask = np.zeros((100, 120), bool)
    mask[10:60, 10:70] = True
    mask[25:40, 30:50] = False
    mask[28:36, 36:44] = True  # an island in the hole
    mask[70:90, 80:110] = True
    pieces = outlines(mask, slide_px=(1200, 1000))
    assert len(pieces) == 3
    assert sum(piece.area for piece in pieces) == approx(mask.sum() * 100, rel=0.03)
    found = json.loads(geojson(pieces))
    assert [feature["properties"]["objectType"] for feature in found["features"]] == ["annotation"] * 3
    read = [shape(feature["geometry"]) for feature in found["features"]]
    assert sum(len(piece.interiors) for piece in read) == 1
    assert max(piece.bounds[2] for piece in read) == approx(1100, abs=11)


def test_a_smooth_smear_is_no_tissue():
    image, truth = overview()
    smeared = image.astype(float)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    smear = gaussian_filter(((y > 240) & (y < 290) & (x > 20) & (x < 120)).astype(float), 6)
    smeared *= np.exp(-smear[..., None] * np.array([0.10, 0.28, 0.15]))
    found = find_tissue(smeared.astype(np.uint8), mpp=MPP).is_tissue
    assert dice(found, truth) > 0.97
    assert not found[245:285, 30:110].any()


def test_a_frame_around_the_tissue_goes_and_the_tissue_stays():
    image, truth = overview()
    framed = image.astype(float)
    frame = np.zeros(truth.shape, bool)
    frame[8:-8, 8:-8] = True
    frame[14:-14, 14:-14] = False
    framed[frame] *= 0.6  # the edge of the cover slip, all around
    found = find_tissue(framed.astype(np.uint8), mpp=MPP).is_tissue
    assert dice(found, truth) > 0.97
    assert not (found & frame).any()


def test_red_pen_is_ink_and_blood_is_not():
    image, truth = overview()
    rng = np.random.default_rng(3)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    stroke = np.abs(np.hypot(y - 150, x - 200) - 128) < 9
    pen = image.copy()
    pen[stroke] = (220, 84, 116)
    found = find_tissue(pen, mpp=MPP)
    assert found.is_ink[stroke].mean() > 0.95
    blood = image.copy()
    pool = truth & (gaussian_filter(rng.standard_normal(truth.shape), 9) > 0.03)
    amount = 0.6 + 0.5 * rng.random(truth.shape)
    colour = (np.array([243, 241, 244]) * np.exp(-amount[..., None] * np.array([0.09, 1.0, 1.0]))).astype(np.uint8)
    blood[pool] = colour[pool]
    found = find_tissue(blood, mpp=MPP)
    assert found.is_ink.mean() < 0.002
    assert dice(found.is_tissue, truth) > 0.97


def test_e10_a_tile_that_rounding_puts_half_a_pixel_beyond_the_slide_is_full():
    laid = {"slide_px": (1000, 1000), "mpp": (1.0, 1.0), "tile_um": 250.1}
    is_tissue = np.ones((10, 10), bool)
    for least in (0.5, 1.0):
        coords, share = tile_grid(is_tissue, min_tissue=least, **laid)
        assert len(coords) == 16
        assert (share == 1).all()


def test_e10_a_tile_that_another_tool_laid_over_the_edge_keeps_the_share_of_its_whole_square():
    coords = np.array([[0, 0], [900, 0], [900, 900]])
    share = shares_of_tiles(np.ones((10, 10), bool), coords, side=(200.0, 200.0), slide_px=(1000, 1000))
    assert share == approx([1, 0.5, 0.25])


@given(st.floats(0.2, 1.1), st.floats(0.2, 1.1), st.floats(60, 400), st.integers(40, 90))
@example(0.41, 0.98, 64.1, 78)  # each of the three had tiles over the edge
@example(0.27, 0.73, 61.4, 87)
@example(0.45, 0.38, 380.1, 62)
@settings(max_examples=60, deadline=None)
def test_a_full_tile_is_full_whatever_the_rounding(mpp_x, mpp_y, tile_um, side):
    is_tissue = np.ones((side, side + 7), bool)
    laid = {"slide_px": (5003, 4001), "mpp": (mpp_x, mpp_y), "tile_um": tile_um}
    every, _ = tile_grid(is_tissue, min_tissue=0.5, **laid)
    full, share = tile_grid(is_tissue, min_tissue=1.0, **laid)
    assert len(full) == len(every)
    assert (share > 0.999).all()


def test_v3_a_tile_belongs_to_the_piece_that_covers_most_of_it():
    labels = np.zeros((10, 40), np.int32)
    labels[:, :3], labels[:, 3:10] = 1, 2  # 30 and 70 of 100
    labels[:, 10:17], labels[:, 17:20] = 1, 2
    labels[0, 25] = 2  # one pixel of a piece, the rest is glass
    coords = np.array([[0, 0], [100, 0], [200, 0], [300, 0]])
    pieces = piece_of_tiles(labels, coords, side=(100.0, 100.0), slide_px=(400, 100))
    assert pieces.tolist() == [2, 1, 2, 0]


def test_v4_a_hole_below_a_twentieth_of_a_square_millimetre_is_filled():
    for hole_mm2, is_filled in ((0.03, True), (0.12, False)):
        image, truth = overview(strength=2.0)
        y, x = np.mgrid[: image.shape[0], : image.shape[1]]
        hole = (y - 150) ** 2 + (x - 200) ** 2 < hole_mm2 / (np.pi * (MPP / 1000) ** 2)
        image[hole] = (240, 240, 243)
        found = find_tissue(image, mpp=MPP).is_tissue
        assert found[150, 200] == is_filled
        assert found[hole].mean() == (1 if is_filled else approx(0, abs=0.2))
        assert dice(found, truth if is_filled else truth & ~hole) > 0.97


@pytest.mark.parametrize(
    ("hole_px", "width_px", "is_kept"),
    [
        (30, 5, True),  # a hole of 0.058 mm2 stays open; 0.045 mm2 around it are enough
        (30, 3, False),  # 0.025 mm2 around it are too little, though the whole covers 0.083
        (26, 3, True),  # the hole of 0.043 mm2 is filled and counts: 0.065
        (14, 3, False),  # 0.026 mm2, the hole included
    ],
)
def test_v10_a_ring_is_measured_less_its_large_hole_and_with_its_small_one(hole_px, width_px, is_kept):
    mask = np.zeros((80, 80), bool)
    outer = hole_px + 2 * width_px
    mask[20 : 20 + outer, 20 : 20 + outer] = True
    mask[20 + width_px : 20 + width_px + hole_px, 20 + width_px : 20 + width_px + hole_px] = False
    view = np.full((80, 80, 3), 240, np.uint8)
    view[::2] = (150, 80, 160)  # coloured and uneven everywhere: sizes alone decide
    densities = densities_of(view, (240.0, 240.0, 240.0), 1.0)
    found = _true_pieces(mask, densities, texture(densities, MPP), MPP)
    assert found[20, 20] == is_kept
    assert found[20 + outer // 2, 20 + outer // 2] == (is_kept and hole_px < 28)


@pytest.mark.parametrize(
    ("side_px", "chroma", "uneven", "is_kept"),
    [
        (8, 4, 1, True),  # 0.25 mm2, coloured, as uneven as is wanted
        (8, 4, 0, False),
        (8, 3, 9, False),
        (16, 2, 2, True),  # 1 mm2 of pale tissue
        (15, 2, 2, False),
        (16, 1, 2, False),
        (16, 2, 1, False),
    ],
)
def test_a_piece_is_tissue_by_colour_and_texture_and_a_large_one_may_be_pale(side_px, chroma, uneven, is_kept):
    """Flat planes in hundredths of optical density; a pixel of 62.5 µm, so that 16 x 16 are 1 mm2."""
    mask, plane = np.zeros((40, 40), bool), np.zeros((40, 40), np.uint8)
    mask[10 : 10 + side_px, 10 : 10 + side_px] = True
    densities = Densities(plane, plane, plane, plane, plane + np.uint8(chroma))
    assert (_true_pieces(mask, densities, plane + np.uint8(uneven), 62.5) == (mask & is_kept)).all()


def test_a_box_half_a_pixel_beyond_the_slide_is_cut_at_its_edge_and_one_further_is_not():
    mask = np.ones((10, 10), bool)
    for beyond, share in ((0.5, 1.0), (0.75, (5 / 5.75) ** 2)):
        found = box_shares(mask, np.array([5]), np.array([5]), side=(5 + beyond, 5 + beyond), slide_px=(10, 10))
        assert found[0, 0] == pytest.approx(share)


@pytest.mark.parametrize(("length", "n_corners"), [(10, 2), (9.5, 2), (9, 1), (4.5, 1), (4, 0)])
def test_a_last_tile_may_end_half_a_pixel_beyond_the_slide(length, n_corners):
    """Of tiles of 5 px: the length of the slide is set by its side less, in half pixels."""
    side = 5.0
    slide = int(np.ceil(length))
    coords, _ = tile_grid(
        np.ones((slide, slide), bool), slide_px=(slide, slide), mpp=(1.0, 1.0), tile_um=side + (slide - length), min_tissue=0.0,
        stride_um=side,
    )  # fmt: skip
    assert len(np.unique(coords[:, 0])) == n_corners


def test_a_tile_without_tissue_is_no_tile_and_one_of_just_enough_is():
    mask = np.zeros((10, 20), bool)
    mask[:, 10:15] = True
    for least, wanted in ((0.0, [[10, 0]]), (0.5, [[10, 0]]), (0.51, [])):
        coords, share = tile_grid(mask, slide_px=(20, 10), mpp=(1.0, 1.0), tile_um=10.0, min_tissue=least)
        assert coords.tolist() == wanted
        assert share.tolist() == [0.5] * len(wanted)


@pytest.mark.parametrize("factor", [1, 3])
def test_shares_are_those_of_counted_pixels_at_any_scale_of_the_mask(factor):
    rng = np.random.default_rng(1)
    mask = rng.random((12, 18)) < 0.4
    fine = mask.repeat(factor, axis=0).repeat(factor, axis=1)
    coords = np.array([[0, 0], [6, 3], [12, 6], [1, 5], [3, 8]])
    found = shares_of_tiles(fine, coords, side=(6.0, 4.0), slide_px=(18, 12))
    assert found == pytest.approx([mask[y : y + 4, x : x + 6].mean() for x, y in coords], abs=1e-6)


@pytest.mark.parametrize(("light", "has_rim"), [(STRAY_OD, False), (STRAY_OD + OD_STEP, True)])
def test_a_lumen_has_its_rim_where_more_than_stray_light_is_in_it(light, has_rim):
    nothing = np.zeros((200, 200), np.uint8)
    distance = np.full((200, 200), round(light / OD_STEP), np.uint8)
    distance[:, :100] = 100  # dense tissue
    unevenness = nothing.copy()
    unevenness[:, 100:103] = 10  # its texture, as it is measured beside it
    found = veil(Densities(nothing, nothing, nothing, nothing, nothing), distance, unevenness, 8.0)
    assert (
        found[100, 100 + 4 + 45] and not found[:, 100 + 4 + 51 :].any()
    )  # 400 µm from where squares of 200 µm are dense
    assert found[100, 101] == has_rim
    assert not found[:, :100].any()


def test_the_glass_is_read_off_some_pixels_evenly(monkeypatch):
    monkeypatch.setattr(overview_mask, "N_GLASS_PIXELS", 150)
    overview = np.full((20, 30, 3), 250, np.uint8)
    overview[::2, ::2] = 230  # 150 pixels: every second
    assert glass_colour(overview) == approx((230, 230, 230), abs=1)
    monkeypatch.setattr(overview_mask, "N_GLASS_PIXELS", 151)  # 600 pixels: all
    assert glass_colour(overview) == approx((250, 250, 250), abs=1)
