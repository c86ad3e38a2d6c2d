"""What the viewer shows, as numbers: scales, places in micrometres, squares, patients, curves, neighbours. No slide is read."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pytest import approx
from shapely.geometry import Point

from common.failures import SlideStatus, StudyError, write_status
from common.study import Study
from mil.bags.bags import BagStore
from mil.explanation.map_store import SlideMap, write_slide_map
from mil.metrics.survival_curves import kaplan_meier_limits
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import by_fold, read_run
from mil.survival.prognosis import prognosis_of
from mil.viewer import layers, neighbours
from mil.viewer.catalogue import Catalogue, ListedSlide, as_json, make_catalogue, predicted_values
from mil.viewer.curves import N_TIMES, predicted_survival, survival_json
from mil.viewer.guard import refused
from mil.viewer.layers import Layer, layers_json, slide_layers
from mil.viewer.neighbours import Neighbours
from mil.viewer.open_slides import SQUARE_PX, Geometry, SlideShelf, geometry_of
from mil.viewer.settings import ServeConfig
from preprocessing.reading.slide import Slide
from preprocessing.tiling.slide_tiles import Exclusions
from preprocessing.tissue.outline import geojson
from tests.helpers.run_folders import FACTS, reseal, run_of, survival_run
from tests.helpers.tiled_slides import TILES

GEOMETRY = Geometry(
    size_um=(1000.0, 640.0), mpp=(0.5, 0.25), scanned_um=(0.0, 0.0, 1000.0, 640.0), origin_px=(0, 0), finest_um=0.25,
    n_levels=5,
)  # fmt: skip
SLIDE = ListedSlide(number=0, slide_id="s", patient_id="p", path=None, map_file=None)


def layer(values, *, is_signed=False):
    return Layer(name="x", group="quality", of="tiles", is_signed=is_signed, values=np.array(values, np.float32))


def test_the_scale_of_a_layer_ends_at_its_99th_percentile_whatever_is_not_known():
    values = [*range(101), np.nan, np.inf]
    assert layer(values).limits == approx((1.0, 99.0))
    assert layer([-200.0, *range(100)], is_signed=True).limits == approx((-99.0, 99.0))
    assert layer([5.0, 5.0]).limits == (5.0, 6.0)  # a scale has two ends
    assert layer([0.0, 0.0], is_signed=True).limits == (-1.0, 1.0)
    assert layer([np.nan]).limits == (0.0, 1.0)
    assert layer([]).limits == (0.0, 1.0)


def test_a_square_is_there_where_it_holds_a_part_of_the_slide():
    assert [GEOMETRY.square_um(level) for level in range(5)] == [1024.0, 512.0, 256.0, 128.0, 64.0]
    for level, column, row, is_there in (
        (0, 0, 0, True), (0, 1, 0, False), (0, 0, 1, False), (-1, 0, 0, False), (5, 0, 0, False), (4, 15, 9, True),
        (4, 16, 0, False), (4, 0, 10, False), (4, -1, 0, False), (4, 0, -1, False), (1, 1, 1, True), (3, 0, 5, False),
    ):  # fmt: skip
        assert GEOMETRY.has(level, column, row) == is_there, (level, column, row)


def slide_of(**known):
    """Return an open slide that has nothing but these."""
    return type("Known", (Slide,), {**known, "__init__": lambda self: None})()


@pytest.mark.parametrize(("width", "n_levels"), [(SQUARE_PX, 1), (SQUARE_PX + 1, 2), (8 * SQUARE_PX, 4), (60, 1)])
def test_levels_go_down_to_one_square(width, n_levels):
    known = {
        "mpp_x": 0.5,
        "mpp_y": 0.5,
        "width": width,
        "height": 40,
        "bounds": (2, 4, 30, 20),
        "outline_origin": (1, 2),
    }
    found = geometry_of(slide_of(**known))
    assert (found.n_levels, found.size_um, found.finest_um) == (n_levels, (width * 0.5, 20.0), 0.5)
    assert (found.scanned_um, found.origin_px) == ((1.0, 2.0, 15.0, 10.0), (1, 2))
    uneven = geometry_of(slide_of(**known | {"mpp_x": 1.0, "width": 128, "height": 1000}))
    assert (uneven.size_um, uneven.scanned_um, uneven.n_levels) == ((128.0, 500.0), (2.0, 2.0, 30.0, 10.0), 3)


@pytest.fixture
def study(tmp_path):
    made = Study(tmp_path / "study")
    made.tiles.mkdir(parents=True)
    return made


def own_map(folder, *, coords, unit="level-0 px"):
    n = 2
    made = SlideMap(
        slide_id="s", patient_id="p", outputs=("A", "B"), told="B", contributions=np.array([[1.0, 2.0], [3.0, 4.0]]),
        attention=np.full(n, 0.5), coords=coords, coords_unit=unit, known={"values": {}},
    )  # fmt: skip
    write_slide_map(folder / "s.h5", made)
    return replace(SLIDE, map_file=folder / "s.h5")


TILED = replace(
    TILES, coords=np.array([[0, 0], [100, 40]]), tissue_fraction=np.array([0.5, 1.0], np.float32),
    piece=np.zeros(2, np.int32), quality={"sharp": np.array([3, 4], np.float32), "blue": np.array([1, 2], np.float32)},
    exclusions=Exclusions(np.array([[8, 4]]), np.array([1], np.uint8), ("", "fold")), mpp_x=0.5, mpp_y=0.25, tile_um=112.0,
    stride_um=56.0,
)  # fmt: skip


def test_tiles_lie_in_micrometres_and_maps_come_before_what_tiling_measured(study, tmp_path):
    slide = own_map(tmp_path, coords=np.array([[100, 40], [0, 0]]))
    for geometry in (GEOMETRY, None):  # a file that cannot be opened: the tiles know the scale
        found = slide_layers(study, slide, geometry, TILED)
        assert [(own.group, own.name, own.is_signed) for own in found.layers] == [
            ("contribution", "A", True), ("contribution", "B", True), ("attention", "attention", False),
            ("quality", "tissue_fraction", False), ("quality", "blue", False), ("quality", "sharp", False),
        ]  # fmt: skip
        assert found.layers[1].values.tolist() == [2.0, 4.0]
        assert found.places["map"].corners_um.tolist() == [[50.0, 10.0], [0.0, 0.0]]
        assert found.places["tiles"].corners_um.tolist() == [[0.0, 0.0], [50.0, 10.0]]
        assert (found.places["map"].tile_um, found.places["tiles"].stride_um) == (112.0, 56.0)
        assert found.left_out.tolist() == [[4.0, 1.0]]
        assert (found.told, found.notes, found.tissue) == ("B", (), ())
    told = layers_json(slide, GEOMETRY, found, "why")
    assert told["places"] == {name: {"n": 2, "tile_um": 112.0, "stride_um": 56.0} for name in ("map", "tiles")}
    assert told["geometry"]["size_um"] == (1000.0, 640.0) and told["geometry"]["n_levels"] == 5
    assert (told["fault"], told["layers"][3]["limits"]) == ("why", [0.505, 0.995])
    assert layers_json(slide, None, found, "")["geometry"] is None


def test_a_map_without_places_is_told_and_not_drawn(study, tmp_path):
    for number, (coords, unit, tiles) in enumerate(
        [
            (np.empty((0, 2)), "level-0 px", TILED),
            (np.zeros((2, 2)), "µm", TILED),
            (np.zeros((2, 2)), "level-0 px", None),
        ]
    ):
        (tmp_path / str(number)).mkdir()
        found = slide_layers(study, own_map(tmp_path / str(number), coords=coords, unit=unit), None, tiles)
        assert len(found.notes) == 1 and "has no places on it" in found.notes[0]
        assert "map" not in found.places and found.told == "B"
        assert {own.group for own in found.layers} == ({"quality"} if tiles else set())
    nothing = slide_layers(study, SLIDE, None, None)
    assert nothing.notes == ("This slide was not tiled: run preprocessing/tile_slides.py.",)
    assert nothing.left_out.shape == (0, 2)
    gone = slide_layers(study, replace(SLIDE, map_file=tmp_path / "gone.h5"), GEOMETRY, TILED)
    assert gone.notes == () and gone.told == ""


def test_an_outline_is_drawn_in_micrometres_and_thinned_where_it_has_many_corners(study, monkeypatch):
    assert layers.MOST_CORNERS == 20_000
    monkeypatch.setattr(layers, "MOST_CORNERS", 200)
    file = study.outline_file("s")
    file.parent.mkdir(parents=True, exist_ok=True)
    for quarter, step in ((40, 1), (80, 2), (110, 3)):
        ring = Point(1000, 2000).buffer(800, quad_segs=quarter)
        ring = ring.difference(Point(1000, 2000).buffer(10, quad_segs=4))
        file.write_text(geojson([ring]))
        found = slide_layers(study, SLIDE, replace(GEOMETRY, size_um=(1e4, 1e4)), TILED)
        outer, inner = found.tissue
        n_corners = len(ring.exterior.coords)
        assert n_corners == 4 * quarter + 1
        assert len(outer) == -(-n_corners // step)
        assert outer.min(axis=0) == approx([100, 300], abs=9) and outer.max(axis=0) == approx([900, 700], abs=9)
        assert np.abs(inner - [500, 500]).max() <= 5.1
    assert slide_layers(study, SLIDE, None, TILED).tissue == ()
    file.write_text("{")
    damaged = slide_layers(study, SLIDE, GEOMETRY, TILED)
    assert damaged.tissue == () and "outline of this slide cannot be read" in damaged.notes[0]


def test_the_list_knows_patients_maps_and_what_tiling_said(study, tmp_path):
    barcode = "TCGA-AB-1234-01Z-00-DX1"
    table = pd.DataFrame({"patient_id": ["p2", "p1"], "slide_id": ["b", "a"], "subtype": ["X", "Y"]})
    table.to_csv(study.cohort_table, index=False)
    rows = [
        SlideStatus(slide_id="a", step="t", state="done", figures={"n_tiles": 12, "flags": "pen; ; blur "}),
        SlideStatus(slide_id="b", step="t", state="failed", reason="no tissue", figures={"n_tiles": "", "flags": ""}),
    ]
    write_status(study.status_file, rows)
    maps = tmp_path / "maps"
    (maps / "tiles").mkdir(parents=True)
    for name in (barcode, "lone", ".hidden"):
        (maps / "tiles" / f"{name}.h5").touch()
    found = make_catalogue(study, task="subtype", name="default", maps=maps)
    assert [slide.slide_id for slide in found.slides] == [barcode, "a", "b", "lone"]
    assert [slide.number for slide in found.slides] == [0, 1, 2, 3]
    assert [slide.patient_id for slide in found.slides] == ["TCGA-AB-1234", "p1", "p2", "lone"]
    assert [patient.patient_id for patient in found.patients] == ["TCGA-AB-1234", "lone", "p1", "p2"]
    assert [patient.slides for patient in found.patients] == [(0,), (3,), (1,), (2,)]
    a, b = found.slides[1:3]
    assert (a.n_tiles, a.flags, a.fault) == ("12", ("pen", "blur"), "")
    assert (b.n_tiles, b.flags, b.fault) == ("", (), "no tissue")
    assert found.slide(3) is found.slides[3] and found.slide(0) is found.slides[0]
    assert found.slide(4) is None and found.slide(-1) is None
    assert found.columns == () and found.run is None
    assert "No finished run in runs/subtype/default" in found.notes[0]
    assert not any("No maps" in note for note in found.notes)
    told = as_json(found)
    assert [slide["has_map"] for slide in told["slides"]] == [True, False, False, True]
    assert [slide["has_file"] for slide in told["slides"]] == [False] * 4
    assert (told["is_synthetic"], told["has_report"], told["is_survival"]) == (False, False, False)
    study.truth.mkdir()
    assert as_json(found)["is_synthetic"]


def test_a_run_without_maps_says_how_they_are_made(study):
    survival_run(study.run("survival", "default"))
    pd.DataFrame({"patient_id": ["p00"], "slide_id": ["a"]}).to_csv(study.cohort_table, index=False)
    found = make_catalogue(study, task="survival", name="default")
    assert any(
        "No maps of this run: make them with python mil/explain.py --task survival" in note for note in found.notes
    )
    assert not any("No finished run" in note for note in found.notes)
    told = as_json(found)
    assert told["is_survival"] and told["run"] == "survival/default" and not told["has_report"]
    (values,) = (patient.values for patient in found.patients)
    row = found.run.predictions.query("model == 'attention' and patient_id == 'p00'").iloc[0]
    assert {"time", "event", "log_hazard", "score"} <= set(values)
    assert values == approx({name: float(row[name]) for name in values})


def test_predictions_are_means_over_repeats_and_the_likeliest_class_is_told(tmp_path):
    rows = [
        (0, 0, "p", "attention", "A", 0.9, 0.1, "why"), (1, 0, "p", "attention", "A", 0.0, 1.0, "why"),
        (0, 0, "q", "attention", "B", 0.2, 0.8, "why"), (1, 0, "q", "attention", "B", 0.4, 0.6, "why"),
        (0, 0, "p", "mean_pool", "A", 0.0, 1.0, "why"),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["repeat", "fold", "patient_id", "model", "truth", "p_A", "p_B", "note"])
    found = predicted_values(run_of(tmp_path, table, facts=replace(FACTS, classes=("A", "B"))))
    assert found["p"] == {"predicted": "B", "truth": "A", "agrees": "no", "p_A": approx(0.45), "p_B": approx(0.55)}
    assert found["q"] == {"predicted": "B", "truth": "B", "agrees": "yes", "p_A": approx(0.3), "p_B": approx(0.7)}


@pytest.fixture
def followed(tmp_path):
    """A survival run with the follow-up of training patients in one of its two folds."""
    folder = tmp_path / "run"
    survival_run(folder)
    table = pd.read_csv(folder / "predictions.csv", dtype={"patient_id": str})
    table.assign(fold=0)[table["fold"] != 0].to_csv(folder / "training_follow_up.csv", index=False)
    reseal(folder)
    return read_run(RunFolder(folder))


def test_a_patients_curve_is_that_of_the_fold_that_tested_it(followed):
    moments = np.linspace(0, 30, 7)
    ((key, known),) = by_fold(followed.follow_up, "attention")
    assert key == (0, 0)
    own = followed.predictions.query("model == 'attention' and patient_id == 'p02'")
    prognosis = prognosis_of(
        *(known[name].to_numpy(kind) for name, kind in (("log_hazard", float), ("time", float), ("event", int)))
    )
    wanted = np.exp(-prognosis.cumulative(own["log_hazard"].to_numpy(float), moments)[0])
    assert predicted_survival(followed, "p02", moments) == approx(wanted)
    assert predicted_survival(followed, "p03", moments) is None  # its fold kept no follow-up
    assert predicted_survival(followed, "nobody", moments) is None
    twice = pd.concat([followed.predictions, followed.predictions.assign(repeat=1, log_hazard=0.0)])
    trained = pd.concat([followed.follow_up, followed.follow_up.assign(repeat=1)])
    both = replace(followed, predictions=twice, follow_up=trained)
    other = np.exp(-prognosis.cumulative(np.zeros(1), moments)[0])
    assert predicted_survival(both, "p02", moments) == approx((wanted + other) / 2)


def test_curves_end_with_follow_up_and_what_has_no_limit_is_empty(followed):
    told = survival_json(followed, "p02")
    table = followed.predictions.query("model == 'attention'").sort_values("patient_id")
    assert told["times"] == approx(np.linspace(0, table["time"].max(), N_TIMES))
    assert [group["n"] for group in told["groups"]] == [int((table["risk_group"] == at).sum()) for at in (0, 1)]
    for at, group in enumerate(told["groups"]):
        own = table[table["risk_group"] == at]
        low, high = kaplan_meier_limits(own["time"].to_numpy(), own["event"].to_numpy())
        assert group["times"][-1] == own["time"].max()
        assert group["survival"][-1] == group["survival"][-2] and group["high"][-1] == group["high"][-2]
        for name, wanted in (("low", low), ("high", high)):
            assert group[name][:-1] == [approx(value) if np.isfinite(value) else None for value in wanted]
    row = table.set_index("patient_id").loc["p02"]
    assert told["outcome"] == {"time": row["time"], "event": row["event"]}
    assert (told["unit"], told["patient"]) == (followed.facts.time_unit or "time as in the table", "p02")
    lone = followed.predictions.assign(risk_group=1)
    assert [group["name"] for group in survival_json(replace(followed, predictions=lone), "x")["groups"]] == [
        "high risk"
    ]


@dataclass(frozen=True)
class OwnBag:
    tiles: np.ndarray
    slide_ids: tuple
    slide_of_tile: np.ndarray


class OwnBags(BagStore):
    """Three patients of one or two slides; tiles of two numbers."""

    tiles = {"a": [[1, 0], [0, 0], [1, 0]], "b": [[2, 0.1]], "c": [[0, 3], [-1, 0]], "d": [[5, 0]] * 20}  # noqa: RUF012
    slides = {"p": ("a", "b"), "q": ("c",), "r": ("d", "unlisted")}  # noqa: RUF012

    def __init__(self):
        self.was_read = []

    patients = ("p", "q", "r")

    def slides_of(self, patient):
        return self.slides[patient]

    def read(self, patient):
        self.was_read.append(patient)
        names = self.slides[patient]
        parts = [np.array(self.tiles.get(name, [[9, 9]]), np.float32) for name in names]
        return OwnBag(np.concatenate(parts), names, np.repeat(np.arange(len(names)), [len(part) for part in parts]))


@pytest.fixture
def bags(monkeypatch):
    made = OwnBags()
    monkeypatch.setattr(neighbours, "bags_as_trained", lambda *_, **__: made)
    return made


def searched(memory_bytes=1 << 20, *, has_run=True):
    patient_of = {"a": "p", "b": "p", "c": "q", "d": "r"}
    slides = tuple(
        replace(SLIDE, number=number, slide_id=name, patient_id=patient)
        for number, (name, patient) in enumerate(patient_of.items())
    )
    folder = Path("run")
    run = run_of(folder, pd.DataFrame({"model": []})) if has_run else None
    listed = Catalogue(
        study=Study(Path("study")), folder=RunFolder(folder), run=run, columns=(), patients=(), slides=slides, notes=()
    )
    return Neighbours(listed, memory_bytes=memory_bytes)


def test_tiles_most_alike_come_first_and_never_the_tile_itself(bags):
    found = searched().of_tile(1, 0)  # b
    assert len(found) == 12
    assert (found[0].slide, found[0].tile) == (0, 0) and found[0].likeness == approx(2 / np.hypot(2, 0.1), abs=1e-3)
    assert [(one.slide, one.tile) for one in found[:4]] == [(0, 0), (0, 2), (3, 0), (3, 1)]
    assert (1, 0) not in [(one.slide, one.tile) for one in found]
    of_zero = {(one.slide, one.tile): one.likeness for one in searched().of_tile(0, 1)}
    assert set(of_zero.values()) == {0.0}  # an embedding without a length has no direction


def test_what_fits_into_memory_is_searched_and_the_slide_asked_about_always(bags):
    small = searched(memory_bytes=8)  # what the two tiles of q take: not more than the limit
    small.of_tile(2, 0)
    assert bags.was_read == ["q", "p"]
    assert small.n_slides == 3
    small.of_tile(2, 1)
    assert bags.was_read == ["q", "p"]
    assert small.of_tile(3, 19) and small.of_tile(3, 5)
    assert bags.was_read == ["q", "p", "r"]
    bags.was_read.clear()
    searched(memory_bytes=7).of_tile(2, 0)
    assert bags.was_read == ["q"]


@pytest.mark.parametrize(("slide", "tile"), [(0, 3), (0, -1), (7, 0)])
def test_a_tile_without_embedding_is_refused(bags, slide, tile):
    with pytest.raises(StudyError, match="no embedding"):
        searched().of_tile(slide, tile)


def test_without_a_run_there_is_nothing_to_search():
    with pytest.raises(StudyError, match="no run"):
        searched(has_run=False).of_tile(0, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"port": -1}, "--port is a number from 0 to 65535, got -1"), ({"port": 65536}, "got 65536"),
        ({"open_files": 0}, "--open_files is a number from 1, --memory_mb from 16; got 0 and 256"),
        ({"memory_mb": 15}, "got 8 and 15"),
    ],
)  # fmt: skip
def test_settings_beyond_their_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ServeConfig(**settings)
    for most in ({"port": 0}, {"port": 65535}, {"open_files": 1, "memory_mb": 16}):
        assert ServeConfig(**most)


def test_head_is_reading_and_a_name_without_a_port_is_a_name():
    assert refused("HEAD", {"host": "[::1]:80"}) is None
    assert refused("GET", {"host": "[::1]"}) is None
    assert refused("GET", {"host": "localhost:80a"}) is not None
    assert refused("GET", {}) is not None
    assert refused("GET", {"host": "localhost", "sec-fetch-site": "none"}) is None


def test_a_slide_that_is_not_there_is_named(tmp_path):
    from common.failures import SlideError

    listed = Catalogue(
        study=Study(tmp_path), folder=RunFolder(tmp_path), run=None, columns=(), patients=(), slides=(SLIDE,), notes=()
    )
    for number in (0, 1):
        with pytest.raises(SlideError, match="no file of this slide"):
            SlideShelf(listed, most_open=1, memory_bytes=100).geometry(number)
