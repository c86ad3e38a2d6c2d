"""Outlines: area true, holes and pieces kept, ours told from edited ones, exclusions and QuPath's origin."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx
from scipy.ndimage import gaussian_filter, label
from shapely import Polygon
from shapely.affinity import translate
from skimage.measure import find_contours

from preprocessing.tissue.outline import filled, geojson, outlines, read_geojson


def ring_mask():
    mask = np.zeros((120, 160), bool)
    mask[10:110, 20:90] = True
    mask[40:70, 40:60] = False
    mask[20:60, 110:150] = True
    return mask


def test_a_hole_and_two_pieces_keep_their_area():
    pieces = outlines(ring_mask(), slide_px=(1600, 1200))
    # the corners of a hole are cut by half a pixel
    assert [piece.area for piece in pieces] == approx([(100 * 70 - 30 * 20) * 100, 40 * 40 * 100], abs=250)
    assert [len(piece.interiors) for piece in pieces] == [1, 0]
    assert pieces[0].bounds == (200, 100, 900, 1100)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_area_equals_counted_pixels_and_scikit_image_and_pieces_are_scipys(seed):
    mask = gaussian_filter(np.random.default_rng(seed).standard_normal((90, 110)), 5) > 0.02
    pieces = outlines(mask, slide_px=(1100, 900))
    area = sum(piece.area for piece in pieces) / 100
    assert area == approx(mask.sum(), rel=0.04, abs=4)
    rings = [ring for ring in find_contours(np.pad(mask, 1).astype(float), 0.5) if len(ring) >= 4]
    theirs = abs(sum(np.sum(r[:-1, 1] * r[1:, 0] - r[1:, 1] * r[:-1, 0]) / 2 for r in rings))
    assert area == approx(theirs, rel=0.05, abs=6)
    _, n_theirs = label(mask, structure=np.ones((3, 3)))
    assert len(pieces) <= n_theirs  # a piece of one or two pixels has no outline
    assert len(pieces) >= (np.bincount(label(mask, structure=np.ones((3, 3)))[0].ravel())[1:] > 12).sum()


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_the_way_through_geojson_and_back_into_a_mask_is_true(seed):
    mask = gaussian_filter(np.random.default_rng(seed).standard_normal((90, 110)), 6) > 0.02
    pieces = outlines(mask, slide_px=(1100, 900))
    found = read_geojson(geojson(pieces))
    assert not found.is_edited
    assert len(found.pieces) == len(pieces)
    back = filled(found.pieces, mask.shape, slide_px=(1100, 900)).view(bool)
    assert (back ^ mask).sum() <= 0.02 * mask.sum() + 40  # simplified corners


def test_numbers_follow_the_order_from_top_to_left():
    pieces = outlines(ring_mask(), slide_px=(160, 120))
    numbers = filled(pieces, (120, 160), slide_px=(160, 120), numbered=True)
    assert numbers[15, 30] == 1
    assert numbers[30, 120] == 2
    assert numbers[50, 50] == 0  # the hole


def test_small_pieces_are_left_out_when_asked():
    pieces = outlines(ring_mask(), slide_px=(160, 120), min_area_level0=2000)
    assert len(pieces) == 1


def as_qupath(text, change):
    """What QuPath writes: our marker is gone, features stay."""
    content = json.loads(text)
    return json.dumps({"type": "FeatureCollection", "features": change(content["features"])})


def test_an_edited_outline_is_known_and_used_with_its_holes():
    text = geojson(outlines(ring_mask(), slide_px=(1600, 1200)))
    assert not read_geojson(text).is_edited
    assert not read_geojson(json.dumps(json.loads(text), indent=4)).is_edited  # only laid out otherwise
    kept = read_geojson(as_qupath(text, lambda features: features[:1]))
    assert kept.is_edited
    assert len(kept.pieces) == 1
    assert len(kept.pieces[0].interiors) == 1
    moved = json.loads(text)
    moved["features"][0]["geometry"]["coordinates"][0][0][0] += 50
    moved["features"][0]["geometry"]["coordinates"][0][-1][0] += 50
    assert read_geojson(json.dumps(moved)).is_edited


@pytest.mark.parametrize("name", ["Ignore*", "Exclude", "artefact", "Artifact"])
def test_exclusions_are_told_by_their_class(name):
    text = geojson(outlines(ring_mask(), slide_px=(1600, 1200)))
    area = {
        "type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [300, 0], [300, 300], [0, 0]]]},
        "properties": {"classification": {"name": name}},
    }  # fmt: skip
    found = read_geojson(as_qupath(text, lambda features: [*features, area]))
    assert len(found.pieces) == 2
    assert found.exclusions[0].area == approx(45_000)


def test_multipolygons_notes_and_lists_of_features_are_read():
    square = [[[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]]
    far = [[[500, 0], [600, 0], [600, 100], [500, 100], [500, 0]]]
    features = [
        {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": [far, square]}, "properties": {}},
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [5, 5]}, "properties": {"name": "note"}},
    ]
    found = read_geojson(json.dumps(features))
    assert [piece.bounds[0] for piece in found.pieces] == [0, 500]
    assert found.is_edited


def test_the_origin_of_the_scanned_bounds_is_taken_off_and_added_again():
    piece = Polygon([(1000, 2000), (1400, 2000), (1400, 2600), (1000, 2600)])
    text = geojson([piece], [translate(piece, 10, 10)], origin=(900, 1900))
    assert json.loads(text)["features"][0]["geometry"]["coordinates"][0][0][0] in (100.0, 500.0)
    found = read_geojson(text, origin=(900, 1900))
    assert found.pieces[0].equals(piece)
    assert found.exclusions[0].equals(translate(piece, 10, 10))


@pytest.mark.parametrize("text", ["<html>", "{}", '{"features": 5}', "3"])
def test_what_is_no_outline_is_refused(text):
    with pytest.raises(ValueError, match=r"JSON|FeatureCollection"):
        read_geojson(text)


def feature(geometry, **classification):
    return {"type": "Feature", "geometry": geometry, "properties": {"classification": classification}}


def test_both_lobes_of_a_crossing_outline_and_areas_inside_collections_are_kept():
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [1000, 1000], [1000, 0], [0, 1000], [0, 0]]]}
    square = {"type": "Polygon", "coordinates": [[[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]]}
    both = {"type": "GeometryCollection", "geometries": [square, {"type": "Point", "coordinates": [5, 5]}]}
    found = read_geojson(json.dumps([feature(bow)]))
    assert sum(piece.area for piece in found.pieces) == approx(500_000)
    assert [piece.area for piece in read_geojson(json.dumps([feature(both)])).pieces] == [10_000]
    with pytest.raises(ValueError, match="a Polygon in it is none"):
        read_geojson(json.dumps([feature({"type": "Polygon", "coordinates": [["a"]]})]))


@pytest.mark.parametrize(
    "classification", [{"name": "Ignore*"}, {"name": "Ignore: fold"}, {"names": ["Exclude", "pen"]}]
)
def test_classes_derived_from_an_exclusion_exclude(classification):
    square = {"type": "Polygon", "coordinates": [[[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]]}
    found = read_geojson(json.dumps([feature(square, **classification)]))
    assert (len(found.pieces), len(found.exclusions)) == (0, 1)


SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]]}
HIGH = {"type": "Polygon", "coordinates": [[[0, 0, 5], [100, 0, 5], [100, 100, 5], [0, 100, 5], [0, 0, 5]]]}


@pytest.mark.parametrize(
    "content",
    [
        {"type": "Feature", "geometry": SQUARE},
        SQUARE,
        [SQUARE],
        {"type": "GeometryCollection", "geometries": [SQUARE]},
        {"type": "Feature", "geometry": HIGH},
        {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": SQUARE, "properties": "x"}]},
        [{"type": "Feature", "geometry": SQUARE, "properties": {"classification": {"name": None, "names": 5}}}],
        {"type": "FeatureCollection", "features": [{"type": "FeatureCollection", "features": [feature(SQUARE)]}]},
    ],
)
def test_m5_every_form_that_qupath_writes_is_read(content):
    found = read_geojson(json.dumps(content))
    assert [piece.area for piece in found.pieces] == [10_000]
    assert found.is_edited
    assert not found.pieces[0].has_z


def test_m7_only_annotations_count_once_and_background_excludes():
    cells = [{**feature(SQUARE), "properties": {"objectType": kind}} for kind in ("cell", "detection", "tile")]
    old = {"type": "Feature", "id": "PathCellObject", "geometry": SQUARE, "properties": {}}
    tissue = {**feature(SQUARE, name="Tumor"), "id": "PathAnnotationObject"}
    background = feature({**SQUARE, "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]]}, name="Background")
    found = read_geojson(json.dumps([*cells, old, tissue, tissue, background, feature(HIGH)]))
    assert (len(found.pieces), len(found.exclusions)) == (1, 1)
    assert found.classes == ("no class", "Tumor")


@pytest.mark.parametrize(
    "text", ["[" * 990 + "]" * 990, "[" * 5000 + "]" * 5000, '{"features":' * 900 + "[]" + "}" * 900]
)
def test_lists_in_lists_without_end_are_refused_by_a_message(text):
    with pytest.raises(ValueError, match=r"not readable as JSON|no list of features"):
        read_geojson(text)


@pytest.mark.parametrize("kind", ["Polygon", "MultiPolygon"])
@pytest.mark.parametrize(
    "wrong", ["", None, [], [[]], [""], ["ab"], [[1]], [["1", "2"]], [[True, 1]], {}, 5, [[[1, 2]]]]
)
def test_what_is_no_ring_of_numbers_is_refused_before_shapely_sees_it(kind, wrong):
    """An empty text in the place of a hole ended the process."""
    rings = [[[0, 0], [9, 0], [9, 9], [0, 0]], wrong]
    geometry = {"type": kind, "coordinates": rings if kind == "Polygon" else [rings]}
    content = {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": geometry, "properties": {}}]}
    with pytest.raises(ValueError, match=f"a {kind} in it is none"):
        read_geojson(json.dumps(content))


@pytest.mark.parametrize("member", [5, None, "Polygon", [], {}, {"type": 5}, {"type": ["Polygon"]}, {"type": None}])
def test_what_is_no_geometry_in_a_collection_is_refused(member):
    geometry = {"type": "GeometryCollection", "geometries": [member]}
    content = {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": geometry, "properties": {}}]}
    with pytest.raises(ValueError, match="a GeometryCollection in it is none"):
        read_geojson(json.dumps(content))
