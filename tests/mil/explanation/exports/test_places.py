"""A planted square of 8 x 8 tiles, put at the right place by every export, as other readers see it."""

import json
import math
import resource
import time
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image
from shapely import box, union_all
from shapely.geometry import shape

from mil.explanation.exports.colours import coloured, scale_of, signed_colours
from mil.explanation.exports.overlay import map_layer, overlay_size, write_overlay
from mil.explanation.exports.pyramid import BLOCK_PX, write_pyramid
from mil.explanation.exports.qupath import write_geojson
from mil.explanation.exports.sheets import SheetTile, write_sheet
from mil.explanation.place import TilePlaces, map_grid

CASES = {
    "plain": {"mpp": (0.5, 0.5)},
    "bounds": {"mpp": (0.5, 0.5), "origin": (3001, 1777)},
    "unequal mpp": {"mpp": (0.25, 0.4)},
    "overlap": {"mpp": (0.5, 0.5), "stride_um": 128.0},
    "gaps": {"mpp": (0.5, 0.5), "stride_um": 320.0},
    "three quarters": {"mpp": (0.5, 0.5), "stride_um": 192.0},
    "all of it": {"mpp": (0.2527, 0.3101), "origin": (517, 4093), "stride_um": 192.0},
}
N, FIRST, SQUARE = 20, (6, 5), 8


def places_of(mpp, origin=(0, 0), tile_um=256.0, stride_um=256.0, n=N):
    """A grid of n x n tiles that begins at the origin, and which of them are the square."""
    column, row = np.meshgrid(np.arange(n), np.arange(n))
    step = np.array([stride_um / mpp[0], stride_um / mpp[1]])
    corners = np.round(np.stack([column.ravel(), row.ravel()], axis=1) * step).astype(np.int64) + np.array(origin)
    in_square = [(first <= axis) & (axis < first + SQUARE) for axis, first in zip((column, row), FIRST, strict=True)]
    shown = tuple(math.ceil(v) for v in step * (n - 1) + np.array([tile_um / mpp[0], tile_um / mpp[1]]))
    places = TilePlaces(corners=corners, mpp=mpp, tile_um=tile_um, stride_um=stride_um, origin=origin, shown=shown)
    return places, (in_square[0] & in_square[1]).ravel()


@pytest.fixture(params=sorted(CASES))
def planted(request):
    return places_of(**CASES[request.param])


def square_on_shown(places, is_square):
    """The union of the square's tiles, in pixels of the slide as it is shown."""
    own = places.corners[is_square] - np.array(places.origin)
    width, height = places.tile_um / places.mpp[0], places.tile_um / places.mpp[1]
    return union_all([box(x, y, x + width, y + height) for x, y in own.tolist()])


def test_geojson_covers_the_square_to_the_pixel_and_its_rings_are_right(planted, tmp_path):
    places, is_square = planted
    left, top = places.origin
    tissue = [box(left + 10, top + 10, left + 900, top + 700).difference(box(left + 50, top + 50, left + 90, top + 90))]
    values = {"contribution LMS": np.where(is_square, 1.25, -0.5), 'attention "x"': np.full(len(is_square), 1e-7)}
    write_geojson(tmp_path / "s.geojson", places, values, tissue)
    content = json.loads((tmp_path / "s.geojson").read_text())
    assert content["type"] == "FeatureCollection"
    tiles = [own for own in content["features"] if own["properties"]["objectType"] == "detection"]
    (outline,) = [own for own in content["features"] if own["properties"]["objectType"] == "annotation"]
    assert len(tiles) == N * N
    shapes = []
    for own, wanted in zip(tiles, is_square, strict=True):
        polygon, known = shape(own["geometry"]), own["properties"]["measurements"]
        assert polygon.is_valid
        assert known == {"contribution LMS": 1.25 if wanted else -0.5, 'attention "x"': 1e-7}
        if wanted:
            shapes.append(polygon)
    wanted = square_on_shown(places, is_square)
    assert union_all(shapes).symmetric_difference(wanted).area < 0.01 * wanted.length
    for feature in content["features"]:
        rings = feature["geometry"]["coordinates"]
        assert all(ring[0] == ring[-1] and len(ring) >= 4 for ring in rings)
        assert np.isfinite(np.concatenate([np.array(ring) for ring in rings])).all()
        polygon = shape(feature["geometry"])
        assert polygon.exterior.is_ccw
        assert not any(ring.is_ccw for ring in polygon.interiors)
    assert outline["properties"]["classification"]["name"] == "Tissue"
    assert shape(outline["geometry"]).bounds == pytest.approx((10, 10, 900, 700))


def test_a_measurement_that_is_no_number_is_refused(tmp_path):
    places, _ = places_of((0.5, 0.5), n=2)
    with pytest.raises(ValueError, match="not finite"):
        write_geojson(tmp_path / "s.geojson", places, {"a": np.array([1.0, np.nan, 0, 0])})
    assert not (tmp_path / "s.geojson").exists()


def test_ome_tiff_covers_the_square_to_its_pixel(planted, tmp_path):
    places, is_square = planted
    values = {"LMS": np.where(is_square, 2.0, 0.25), "attention": np.full(len(is_square), 0.5)}
    grid = write_pyramid(tmp_path / "s.ome.tif", places, values, name="s")
    with tifffile.TiffFile(tmp_path / "s.ome.tif") as file:
        assert file.is_ome
        series = file.series[0]
        image, pages = series.asarray(), series.pages
        assert pages[0].is_tiled
        described = ET.fromstring(file.ome_metadata)
    names = [own.get("Name") for own in described.iter() if own.tag.endswith("Channel")]
    assert names == ["LMS", "attention", "tiles over the pixel"]
    (pixels,) = [own for own in described.iter() if own.tag.endswith("Pixels")]
    sides = [float(pixels.get(f"PhysicalSize{axis}")) for axis in "XY"]
    assert sides[0] == sides[1] == grid.pixel_um
    height, width = image.shape[1:]
    # every pixel's centre, in µm from the corner of the shown area, lies in a tile of the square or it does not
    y, x = np.mgrid[:height, :width]
    centres = np.stack([(x + 0.5) * sides[0] / places.mpp[0], (y + 0.5) * sides[1] / places.mpp[1]], axis=-1)
    wanted, others = np.zeros((height, width), bool), np.zeros((height, width), bool)
    for (left, top), own in zip((places.corners - np.array(places.origin)).tolist(), is_square, strict=True):
        inside = (
            (centres[..., 0] > left) & (centres[..., 0] < left + places.side[0])
            & (centres[..., 1] > top) & (centres[..., 1] < top + places.side[1])
        )  # fmt: skip
        wanted |= inside & own
        others |= inside & ~own
    assert np.array_equal(image[0] > 1.9, wanted & ~others)
    assert np.array_equal(image[2] > 0, wanted | others)
    if places.stride_um < places.tile_um:
        mixed = wanted & others
        assert ((image[0][mixed] > 0.25) & (image[0][mixed] < 2)).all()


@pytest.mark.parametrize("orientation", [(0, -1, 0, -1, 0, 0), (1, 0, 0, 0, 1, 0)])
def test_a_dicom_parametric_map_covers_the_square_to_its_pixel(planted, tmp_path, shared_data, orientation):
    """Read back by pydicom alone: every frame's pixels put on the glass, and from there on the slide."""
    pytest.importorskip("highdicom", reason="highdicom is not installed")
    import pydicom

    from mil.explanation.exports.dicom import source_of, write_parametric_map

    places, is_square = planted
    source = source_of(shared_data / "formats" / "dicom_highdicom" / "sm_image.dcm")
    source.ImageOrientationSlide = list(orientation)
    source.TotalPixelMatrixColumns, source.TotalPixelMatrixRows = (
        a + b for a, b in zip(places.origin, places.shown, strict=True)
    )
    spacing = source.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    spacing.PixelSpacing = [places.mpp[1] / 1000, places.mpp[0] / 1000]
    values = {"LMS": np.where(is_square, 2.0, 0.25), "attention": np.full(len(is_square), 0.5)}
    for name in ("a.dcm", "b.dcm"):
        write_parametric_map(tmp_path / name, places, values, source, name="s")
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    made = pydicom.dcmread(tmp_path / "a.dcm")
    assert made.SOPClassUID.name == "Parametric Map Storage"
    assert made.FrameOfReferenceUID == source.FrameOfReferenceUID
    mappings = [own.RealWorldValueMappingSequence[0] for own in made.PerFrameFunctionalGroupsSequence]
    assert {own.LUTExplanation for own in mappings} == {"LMS", "attention"}
    grid = map_grid(places)
    own_origin, origin = made.TotalPixelMatrixOriginSequence[0], source.TotalPixelMatrixOriginSequence[0]
    directions = np.array(orientation, float).reshape(2, 3)[:, :2]
    pixel_mm = [float(v) for v in made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing]
    height, width = made.TotalPixelMatrixRows, made.TotalPixelMatrixColumns
    image = np.zeros((height + 256, width + 256), np.float32)
    frames = np.frombuffer(made.FloatPixelData, np.float32).reshape(-1, made.Rows, made.Columns)
    for frame, group, mapping in zip(frames, made.PerFrameFunctionalGroupsSequence, mappings, strict=True):
        if mapping.LUTExplanation == "LMS":
            place = group.PlanePositionSlideSequence[0]
            x, y = place.ColumnPositionInTotalImagePixelMatrix - 1, place.RowPositionInTotalImagePixelMatrix - 1
            image[y : y + made.Rows, x : x + made.Columns] = frame
    image = image[: grid.size[1], : grid.size[0]]
    y, x = np.mgrid[: grid.size[1], : grid.size[0]]
    start, zero = (
        np.array([float(own.XOffsetInSlideCoordinateSystem), float(own.YOffsetInSlideCoordinateSystem)])
        for own in (own_origin, origin)
    )
    glass = start + (x * pixel_mm[1])[..., None] * directions[0] + (y * pixel_mm[0])[..., None] * directions[1]
    level0 = np.stack([(glass - zero) @ directions[axis] * 1000 / places.mpp[axis] + 0.5 for axis in (0, 1)], axis=-1)
    wanted, others = np.zeros(image.shape, bool), np.zeros(image.shape, bool)
    for (left, top), own in zip(places.corners.tolist(), is_square, strict=True):
        end = (left + places.side[0], top + places.side[1])
        inside = (level0 > (left, top)).all(axis=-1) & (level0 < end).all(axis=-1)
        wanted |= inside & own
        others |= inside & ~own
    assert np.array_equal(image > 1.9, wanted & ~others)


def test_a_large_map_has_levels_that_halve_and_keep_means(tmp_path):
    places, is_square = places_of((0.5, 0.5), n=90)
    write_pyramid(tmp_path / "s.ome.tif", places, {"v": np.where(is_square, 3.0, 1.0)}, name="s")
    with tifffile.TiffFile(tmp_path / "s.ome.tif") as file:
        levels = [level.asarray() for level in file.series[0].levels]
    assert [level.shape for level in levels] == [(2, 360, 360), (2, 180, 180)]
    assert levels[1][0] == pytest.approx(levels[0][0].reshape(180, 2, 180, 2).mean(axis=(1, 3)))


def test_exports_are_the_same_bytes_each_time(tmp_path):
    places, is_square = places_of((0.5, 0.4))
    thumbnail = np.full((*overlay_size(places)[::-1], 3), 200, np.uint8)
    for name in ("a", "b"):
        write_pyramid(tmp_path / f"{name}.ome.tif", places, {"v": is_square * 1.0}, name="s")
        write_geojson(tmp_path / f"{name}.geojson", places, {"v": is_square * 1.0})
        write_overlay(tmp_path / f"{name}.png", thumbnail, places, is_square * 1.0, "v")
    for ending in ("ome.tif", "geojson", "png"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_the_overlay_lies_over_the_square_to_the_pixel(planted, tmp_path):
    places, is_square = planted
    size = overlay_size(places)
    layer, is_tile = map_layer(places, np.where(is_square, 1.0, -1.0), size)
    wanted = square_on_shown(places, is_square).bounds
    scale = np.array(size) / np.array(places.shown)
    if places.stride_um >= places.tile_um:
        y, x = np.nonzero(layer > 0)
        edges = x.min() / scale[0], y.min() / scale[1], (x.max() + 1) / scale[0], (y.max() + 1) / scale[1]
        assert edges == pytest.approx(wanted, abs=1.01 / scale.min())
    assert size[0] / size[1] == pytest.approx(
        places.shown[0] * places.mpp[0] / (places.shown[1] * places.mpp[1]), rel=2e-3
    )
    thumbnail = np.full((size[1], size[0], 3), 128, np.uint8)
    write_overlay(tmp_path / "s.png", thumbnail, places, np.where(is_square, 1.0, -1.0), "LMS")
    with Image.open(tmp_path / "s.png") as file:
        picture = np.asarray(file)[: size[1], : size[0]]
    assert (picture[layer > 0][:, 0] > picture[layer > 0][:, 2]).all()  # orange
    assert (picture[layer < 0][:, 2] > picture[layer < 0][:, 0]).all()  # blue
    assert (picture[~is_tile] == 128).all()


def test_a_map_of_a_stride_without_common_measure_stays_bounded():
    places, _ = places_of((0.5, 0.5), stride_um=200.7)
    assert map_grid(places).parts == 8
    vast, _ = places_of((0.01, 0.01), tile_um=0.5, stride_um=0.5, n=3)
    grid = map_grid(replace(vast, shown=(500_000, 500_000)))
    assert np.prod(grid.size) < 120_000_000


def test_the_scale_is_symmetric_and_light_in_the_middle():
    from skimage.color import rgb2lab

    lightness = rgb2lab(signed_colours()[None] / 255)[0, :, 0]
    assert lightness.argmax() == 127
    assert (np.diff(lightness[:128]) > 0).all()
    assert (np.diff(lightness[127:]) < 0).all()
    assert abs(lightness[0] - lightness[-1]) < 15
    assert coloured(np.array([0.0]), 1.0)[0].tolist() == signed_colours()[127].tolist()
    assert coloured(np.array([-9.0, 9.0]), 1.0).tolist() == signed_colours()[[0, -1]].tolist()
    assert scale_of(np.zeros(3)) > 0


def test_sheets_take_few_tiles_of_a_slide_and_are_pictures(tmp_path):
    from mil.explanation.map_store import SlideMap
    from mil.explanation.sheet_tiles import Furthest, furthest_of, merged

    found: Furthest = {}
    for slide, values in {"x": np.arange(10.0), "y": np.array([5.5]), "z": -np.arange(4.0)}.items():
        n = len(values)
        own = SlideMap(
            slide_id=slide, patient_id="p", outputs=("A",), told="A", contributions=values[:, None], attention=np.ones(n),
            coords=np.stack([np.arange(n), np.zeros(n, int)], axis=1), coords_unit="level-0 px", known={},
        )  # fmt: skip
        assert merged(found, furthest_of(own), 0) == {}
        found = merged(furthest_of(own), found, 4)
    places = {is_for: [(own.slide_id, own.corner[0]) for own in found["A", is_for]] for is_for in (True, False)}
    assert places[True] == [("x", 9), ("x", 8), ("x", 7), ("y", 0)]
    assert places[False] == [("z", 3), ("z", 2), ("z", 1), ("x", 0)]
    rng = np.random.default_rng(0)
    tiles = [
        SheetTile(pixels=rng.integers(0, 255, (128, 128, 3)).astype(np.uint8), contribution=0.5, slide_id="é<1>")
    ] * 9
    write_sheet(
        tmp_path / "s.png", [("most", tiles), ("least", [SheetTile(pixels=None, contribution=-1.0, slide_id="x")])], 1.0
    )
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.size[0] > 1000


@pytest.mark.slow
def test_200_000_tiles_of_a_large_slide_are_written_in_bounded_time_and_memory(tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    places, is_square = places_of((0.5, 0.5), tile_um=111.5, stride_um=111.5, n=448)
    assert len(is_square) == 200_704
    assert max(places.shown) > 99_000
    values = {f"contribution {k}": np.random.default_rng(k).normal(size=len(is_square)) for k in range(5)}
    start = time.process_time()
    write_geojson(tmp_path / "s.geojson", places, values)
    write_pyramid(tmp_path / "s.ome.tif", places, values, name="s")
    thumbnail = np.full((*overlay_size(places)[::-1], 3), 200, np.uint8)
    write_overlay(tmp_path / "s.png", thumbnail, places, values["contribution 0"], "v")
    assert time.process_time() - start < 90
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024**2 < 1.5


@pytest.mark.parametrize(
    ("um_a_px", "label", "length"), [(6.7, "1 mm", 1000 / 6.7), (6.0, "500 um", 500 / 6.0), (14.0, "2 mm", 2000 / 14)]
)
def test_the_scale_bar_is_as_long_as_it_says(monkeypatch, um_a_px, label, length):
    from PIL import ImageDraw

    from mil.explanation.exports.overlay import with_foot

    texts = []
    own = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda self, at, text, **rest: texts.append((at, text)) or own(self, at, text, **rest),
    )
    foot = np.asarray(with_foot(np.zeros((40, 600, 3), np.uint8), 0.25, "A\x00ß", um_a_px))[40:]
    assert (texts[-1][1], texts[3][1]) == (label, "contribution to A??")
    assert [text for _, text in texts[:3]] == ["-0.25", "0", "+0.25"]
    dark = np.flatnonzero((foot[18, 320:] == (40, 45, 52)).all(axis=1))
    assert len(dark) == pytest.approx(length, abs=1.5)
    assert foot.shape == (foot.shape[0], 600, 3)
    assert np.asarray(with_foot(np.zeros((4, 90, 3), np.uint8), 1.0, "A", 1.0)).shape[1] == 520


def test_levels_of_a_pyramid_end_with_one_block_and_know_their_scale(tmp_path):
    for n, n_levels in ((BLOCK_PX // 4, 1), (BLOCK_PX // 4 + 1, 2)):  # four pixels a tile
        places, _ = places_of((0.5, 0.5), n=n)
        grid = write_pyramid(tmp_path / "m.ome.tif", places, {"A": np.arange(n * n, dtype=float)}, name="m")
        with tifffile.TiffFile(tmp_path / "m.ome.tif") as file:
            levels = file.series[0].levels
            assert len(levels) == n_levels and not file.is_bigtiff
            for step, level in enumerate(levels):
                across = level.pages[0].tags["XResolution"].value
                down = level.pages[0].tags["YResolution"].value
                for resolution in (across, down):
                    assert resolution[0] / resolution[1] == pytest.approx(1e4 / grid.pixel_um / 2**step, rel=1e-5)


def test_a_tile_of_a_sheet_lies_inside_its_frame(tmp_path):
    from mil.explanation.exports.sheets import EDGE_PX, GAP_PX, TILE_PX

    green = np.full((TILE_PX, TILE_PX, 3), (0, 200, 0), np.uint8)
    tiles = [
        SheetTile(slide_id="s", contribution=0.5, pixels=green),
        SheetTile(slide_id="s", contribution=-0.5, pixels=None),
    ]
    write_sheet(tmp_path / "s.png", [("first", tiles)], scale=1.0)
    sheet = np.asarray(Image.open(tmp_path / "s.png").convert("RGB"))
    rows, columns = np.nonzero((sheet == (0, 200, 0)).all(axis=2))
    left, top = GAP_PX + EDGE_PX, 4 + 18 + EDGE_PX
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (top, top + TILE_PX - 1, left, left + TILE_PX - 1)
    frame = tuple(coloured(np.array([0.5]), 1.0)[0])
    assert tuple(sheet[top - 1, left - 1]) == tuple(sheet[top + TILE_PX, left + TILE_PX]) == frame
    beside = left + TILE_PX + 2 * EDGE_PX + GAP_PX
    assert tuple(sheet[top + TILE_PX // 2, beside + 2]) == tuple(coloured(np.array([-0.5]), 1.0)[0])


def test_tiles_of_a_sheet_stand_side_by_side_and_names_are_plain(tmp_path, monkeypatch):
    from PIL import ImageDraw

    from mil.explanation.exports.sheets import COLUMNS, EDGE_PX, GAP_PX, TILE_PX

    texts, own = {}, ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda self, at, text, **rest: texts.setdefault(at, text) and own(self, at, text, **rest),
    )
    tiles = [SheetTile(slide_id="ß\x07s", contribution=float(n), pixels=None) for n in range(COLUMNS + 1)]
    write_sheet(tmp_path / "s.png", [("a\nü", tiles)], scale=9.0)
    labels = {text: at for at, text in texts.items() if text[0] in "+-"}
    step = TILE_PX + 2 * EDGE_PX + GAP_PX
    assert [labels[f"+{n} ??s"][0] for n in range(COLUMNS)] == [GAP_PX + n * step for n in range(COLUMNS)]
    assert labels[f"+{COLUMNS} ??s"][0] == GAP_PX and labels[f"+{COLUMNS} ??s"][1] > labels["+0 ??s"][1]
    assert texts[GAP_PX, 4] == "a??"


def test_a_map_holds_tiles_that_reach_over_the_edge_of_what_is_shown():
    places, _ = places_of((0.5, 0.5), n=3)
    for shown, size in (
        ((1536, 1536), (12, 12)),
        ((1300, 1536), (12, 12)),
        ((1536, 1300), (12, 12)),
        ((1537, 1538), (13, 13)),
    ):
        grid = map_grid(replace(places, shown=shown))
        assert (grid.size, grid.parts) == (size, 4)
        values, counts = grid.painted(np.arange(9.0)[:, None])
        assert counts[:12, :12].tolist() == np.ones((12, 12), int).tolist()
        assert values[0, :12, :12].tolist() == np.kron(np.arange(9.0).reshape(3, 3), np.ones((4, 4))).tolist()


def test_levels_of_odd_sides_keep_the_means_of_tiles_and_the_most_at_their_edge(tmp_path):
    places, _ = places_of((0.5, 0.5), n=80)
    places = replace(places, corners=places.corners + 128)  # a pixel of the map: 321 of them
    values = np.random.default_rng(0).normal(size=len(places.corners))
    keep = np.random.default_rng(1).random(len(values)) < 0.7
    write_pyramid(tmp_path / "s.ome.tif", replace(places, corners=places.corners[keep]), {"v": values[keep]}, name="s")
    with tifffile.TiffFile(tmp_path / "s.ome.tif") as file:
        whole, half = (level.asarray() for level in file.series[0].levels)
    assert (whole.shape, half.shape) == ((2, 321, 321), (2, 161, 161))
    for y, x in ((0, 0), (0, 1), (7, 9), (80, 159), (160, 159), (159, 160), (160, 160)):
        square = whole[:, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].reshape(2, -1)
        is_tile = square[1] > 0
        assert half[0, y, x] == pytest.approx(square[0][is_tile].mean() if is_tile.any() else 0, abs=1e-6)
        assert half[1, y, x] == square[1].max()


def test_a_pixel_of_the_overlay_is_as_large_as_the_scale_bar_takes_it(tmp_path, monkeypatch):
    from mil.explanation.exports import overlay

    asked, own = [], overlay.with_foot
    monkeypatch.setattr(overlay, "with_foot", lambda *given: asked.append(given[-1]) or own(*given))
    places, is_square = places_of((0.25, 0.4))
    width, height = overlay_size(places)
    write_overlay(tmp_path / "s.png", np.zeros((height, width, 3), np.uint8), places, is_square * 1.0, "v")
    assert asked == [pytest.approx(places.shown[0] * 0.25 / width)]
    assert asked[0] * height == pytest.approx(places.shown[1] * 0.4, rel=0.01)
