"""Segmentation of whole slides: two passes, masks and outlines from elsewhere, unreadable areas, slides of any size."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image
from pytest import approx

from common.failures import SlideError
from preprocessing.reading.slide import open_slide
from preprocessing.synthetic.scanner import write_pyramid
from preprocessing.synthetic.slide_and_truth import make_slide, read_truth_mask
from preprocessing.tissue import mask_image
from preprocessing.tissue import source as source_module
from preprocessing.tissue.mask_image import tissue_of_mask
from preprocessing.tissue.outline import filled, geojson, outlines
from preprocessing.tissue.segmentation import Segmentation, overview_mpp, segment_slide, shrunk
from preprocessing.tissue.source import EDITED, MASK, SEGMENTED, TissueSource, find_slide_tissue, find_source
from tests.helpers.slide_recipes import recipe


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("painted")
    make_slide(recipe(width_mm=1.6, height_mm=1.3, fat_share=0.3), folder / "s.tif", folder / "s.json")
    return folder


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_the_second_pass_comes_nearer_to_the_truth(painted):
    truth = read_truth_mask(painted / "s.json", "tissue", 4.0)
    with open_slide(painted / "s.tif") as slide:
        once, twice = (segment_slide(slide, second_pass=second).is_tissue for second in (False, True))
    once = np.kron(once, np.ones((2, 2), bool))[: twice.shape[0], : twice.shape[1]]
    scores = [
        dice(mask[: truth.shape[0], : truth.shape[1]], truth[: mask.shape[0], : mask.shape[1]])
        for mask in (once, twice)
    ]
    assert scores[1] > scores[0]
    assert scores[1] > 0.98


def test_an_unreadable_area_is_no_tissue_and_is_marked(tmp_path, painted):
    path = tmp_path / "s.tif"
    with open_slide(painted / "s.tif") as slide:
        image = slide.read_area((0, 0), (slide.width, slide.height), (slide.width, slide.height))
    write_pyramid(path, image, 0.5, is_single_level=True)
    with tifffile.TiffFile(path) as file:
        across = -(-file.pages[0].shape[1] // 256)
        index = 5 * across + 6
        offset, size = file.pages[0].dataoffsets[index], file.pages[0].databytecounts[index]
    content = bytearray(path.read_bytes())
    content[offset : offset + size] = bytes(size)
    path.write_bytes(content)
    with open_slide(path) as slide:
        found = segment_slide(slide)
    where = np.argwhere(found.is_unreadable) * found.mpp / 0.5
    assert where.min(axis=0) == approx([5 * 256, 6 * 256], abs=40)
    assert where.max(axis=0) == approx([6 * 256, 7 * 256], abs=40)
    assert not shrunk(found.is_tissue, found.is_unreadable.shape)[found.is_unreadable].any()


def test_an_edited_outline_wins_and_an_exclusion_cuts(painted, tmp_path):
    outline = tmp_path / "s.geojson"
    with open_slide(painted / "s.tif") as slide:
        slide_px = (slide.width, slide.height)
        pieces = outlines(np.ones((10, 10), bool), slide_px=slide_px)
        outline.write_text(geojson(pieces))
        assert find_source(outline, None, (0, 0)).kind == SEGMENTED  # ours, not edited
        half = [pieces[0].intersection(pieces[0].buffer(-300))]
        outline.write_text(geojson(half).replace("sarcoma_mil", "other"))
        source = find_source(outline, None, (0, 0))
        assert source.kind == EDITED
        found = find_slide_tissue(slide, source, second_pass=True)
        assert found.masks.is_tissue.mean() == approx(half[0].area / (slide_px[0] * slide_px[1]), abs=0.01)
        outline.write_text(geojson([], half).replace("sarcoma_mil", "other"))
        source = find_source(outline, None, (0, 0))
        assert source.kind == SEGMENTED
        assert source.fingerprint
        cut = find_slide_tissue(slide, source, second_pass=False).masks.is_tissue
    rows, columns = cut.shape
    assert not cut[rows // 3 : rows // 2, columns // 3 : columns // 2].any()
    outline.write_text("no outline")
    with pytest.raises(SlideError, match="QuPath"):
        find_source(outline, None, (0, 0))


def test_a_mask_image_of_any_scale_is_tissue_and_one_of_another_slide_is_refused(painted, tmp_path):
    with open_slide(painted / "s.tif") as slide:
        mask = np.zeros((65, 80), np.uint8)
        mask[10:30, 20:60] = 255
        Image.fromarray(mask).save(tmp_path / "s.png")
        source = find_source(tmp_path / "none.geojson", tmp_path / "s.png", (0, 0))
        assert source.kind == MASK
        found = find_slide_tissue(slide, source, second_pass=True)
        assert found.masks.is_tissue.mean() == approx(20 * 40 / (65 * 80), abs=0.01)
        assert len(found.pieces) == 1
        with pytest.raises(SlideError, match="does not show the whole slide"):
            tissue_of_mask(np.ones((100, 300), np.uint8), slide)
        (tmp_path / "s.png").write_text("no image")
        with pytest.raises(SlideError, match="cannot be read as a mask image"):
            find_slide_tissue(slide, source, second_pass=True)


def test_the_overview_is_coarser_for_a_slide_too_large_and_an_impossible_one_is_refused(painted):
    with open_slide(painted / "s.tif") as slide:
        assert overview_mpp(slide) == 8.0
        slide.width, slide.height = 120_000, 100_000
        assert overview_mpp(slide) == approx(np.sqrt(60_000 * 50_000 / 10.5e6))
        slide.mpp_x = slide.mpp_y = 2.0
        with pytest.raises(SlideError, match="the slide is 240 x 200 mm") as error:
            overview_mpp(slide)
        assert "no microscope slide is so large" in error.value.remedy


@pytest.mark.parametrize("seed", range(4))
def test_a_mask_of_one_pixel_a_tile_is_taken_pixel_by_pixel(painted, seed):
    mask = np.random.default_rng(seed).random((13, 16)) < 0.4
    with open_slide(painted / "s.tif") as slide:
        size = (slide.width, slide.height)
        pieces = outlines(tissue_of_mask(mask.astype(np.uint8), slide), slide_px=size)
    back = filled(pieces, (13 * 16, 16 * 16), slide_px=size).view(bool)
    assert (back != np.repeat(np.repeat(mask, 16, axis=0), 16, axis=1)).mean() < 0.005


def test_masks_that_can_be_misread_are_refused_and_transparent_ones_are_no_tissue(painted, tmp_path):
    mask = np.zeros((65, 80), bool)
    mask[10:30, 20:60] = True
    source = TissueSource(MASK, None, tmp_path / "s.tif", "")
    with open_slide(painted / "s.tif") as slide:
        tifffile.imwrite(tmp_path / "s.tif", mask)  # one bit a pixel, of which 0 is white
        with pytest.raises(SlideError, match="0 is white"):
            find_slide_tissue(slide, source, second_pass=False)
        layers = np.dstack([np.full((65, 80, 3), 255, np.uint8), mask.astype(np.uint8) * 255])
        Image.fromarray(layers).save(tmp_path / "s.png")
        found = find_slide_tissue(slide, replace(source, mask_file=tmp_path / "s.png"), second_pass=False)
        assert found.masks.is_tissue.mean() == approx(20 * 40 / (65 * 80), abs=0.01)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mask_image, "MAX_WHOLE_PX", 5000)
            with pytest.raises(SlideError, match="80 x 65 pixels, more than 5,000"):
                find_slide_tissue(slide, replace(source, mask_file=tmp_path / "s.png"), second_pass=False)


def outline_source(path, *features):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))
    return find_source(path, None, (0, 0))


def area(*corners, name="Tissue"):
    ring = [[*map(float, corner)] for corner in (*corners, corners[0])]
    return {
        "type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"classification": {"name": name}},
    }  # fmt: skip


def test_m4_an_outline_without_an_area_is_named(tmp_path):
    with pytest.raises(SlideError, match="holds no area") as error:
        outline_source(tmp_path / "s.geojson")
    assert "delete" in error.value.remedy


def test_m6_an_outline_off_the_slide_and_one_that_excludes_everything_are_named(painted, tmp_path):
    far = [(1e6, 1e6), (2e6, 1e6), (2e6, 2e6)]
    whole = [(-9, -9), (99999, -9), (99999, 99999), (-9, 99999)]
    with open_slide(painted / "s.tif") as slide:
        with pytest.raises(SlideError, match="wholly off the slide"):
            find_slide_tissue(slide, outline_source(tmp_path / "a.geojson", area(*far)), second_pass=False)
        everything = outline_source(tmp_path / "b.geojson", area(*whole), area(*whole, name="Ignore"))
        with pytest.raises(SlideError, match="exclusions of the outline cut all"):
            find_slide_tissue(slide, everything, second_pass=False)


@pytest.mark.slow
def test_m8_huge_outlines_are_clipped_to_the_slide(painted, tmp_path):
    far = 2e9
    with open_slide(painted / "s.tif") as slide:
        square = area((-far, -far), (far, -far), (far, far), (-far, far))
        found = find_slide_tissue(slide, outline_source(tmp_path / "s.geojson", square), second_pass=False)
        assert found.masks.is_tissue.all()
        turn = np.linspace(0, 2 * np.pi, 1_000_000)[:-1]
        radius = min(slide.width, slide.height) / 2
        circle = area(*np.stack([slide.width / 2 + radius * np.cos(turn), slide.height / 2 + radius * np.sin(turn)], 1))
        found = find_slide_tissue(slide, outline_source(tmp_path / "c.geojson", circle), second_pass=False)
        expected = np.pi * radius**2 / (slide.width * slide.height)
        assert found.masks.is_tissue.mean() == approx(expected, rel=0.01)


def test_m9_a_mask_of_everything_and_an_inverted_one_are_flagged(painted, tmp_path):
    with open_slide(painted / "s.tif") as slide:
        true = segment_slide(slide).is_tissue
        for name, mask, flag in (
            ("all", np.ones_like(true), "mask covers the whole slide"),
            ("inverted", ~true, "mask agrees better inverted"),
            ("true", true, None),
        ):
            Image.fromarray(mask.astype(np.uint8)).save(tmp_path / f"{name}.png")
            source = find_source(tmp_path / "none.geojson", tmp_path / f"{name}.png", (0, 0))
            flags = find_slide_tissue(slide, source, second_pass=False).flags
            assert flags == (() if flag is None else (flag,))


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_what_is_not_taken_for_tissue_is_told_from_a_size_on(share):
    """Pixels of 0.0004 mm2; tissue in half of them where `share` asks for it."""
    is_tissue, is_dropped = np.zeros((400, 400), bool), np.zeros((200, 200), bool)
    is_tissue[: round(400 * share)] = True
    least = max(source_module.MIN_DROPPED_MM2, source_module.MIN_DROPPED_SHARE * 16 * share)
    nothing = np.zeros((200, 200), bool)
    n = int(np.ceil(least / 0.0004 - 1e-6))
    for n_dropped, is_told in ((n - 1, False), (n + 1, True)):
        is_dropped.ravel()[:] = np.arange(40_000) < n_dropped
        masks = Segmentation(
            np.zeros((200, 200, 3), np.uint8), 20.0, is_tissue, nothing, is_dropped, nothing, (255.0,) * 3
        )
        told = f"{n_dropped * 0.0004:.1f} mm2 not taken for tissue"
        assert source_module._dropped_flags(masks) == ((told,) if is_told else ())
