"""The viewer's addresses: what they answer, where things lie, and what is refused."""

import io
import socket
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pytest import approx
from starlette.testclient import TestClient

from common.failures import SlideError, StudyError
from common.study import Study
from mil.metrics.survival_curves import kaplan_meier
from mil.viewer.app import viewer_app
from mil.viewer.catalogue import make_catalogue
from mil.viewer.curves import survival_json
from mil.viewer.guard import refused
from mil.viewer.open_slides import SQUARE_PX, SlideShelf
from mil.viewer.server import free_socket
from preprocessing.reading.slide import open_slide
from preprocessing.tiling.tile_store import read_slide_tiles
from tests.helpers.feature_study import ENCODER
from tests.helpers.viewer_study import HOSTILE, make_viewer_study

pytestmark = pytest.mark.slow
OWN = "http://127.0.0.1:8421"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_viewer_study(tmp_path_factory.mktemp("viewer") / "study")


@pytest.fixture(scope="module")
def catalogue(study):
    return make_catalogue(study, task="subtype", name="default")


@pytest.fixture(scope="module")
def client(catalogue):
    with TestClient(viewer_app(catalogue), base_url=OWN) as made:
        yield made


@pytest.fixture(scope="module")
def number(catalogue):
    return {slide.slide_id: slide.number for slide in catalogue.slides}


def n_open_files():
    """Return how many files this process holds open; 0 where the system does not say."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def pixels(answer):
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB")).astype(float)


def test_the_list_has_predictions_truth_flags_and_faults(client, number):
    told = client.get("/catalogue").json()
    patients = {own["id"]: own for own in told["patients"]}
    assert set(patients["p00"]["slides"]) == {number["first"], number[HOSTILE]}
    values = patients["p00"]["values"]
    probabilities = {name: values[f"p_{name}"] for name in ("A<1>", "B", "C")}
    assert sum(probabilities.values()) == approx(1)
    assert values["predicted"] == max(probabilities, key=probabilities.get)
    assert values["truth"] == "A<1>"
    assert values["agrees"] == ("yes" if values["predicted"] == "A<1>" else "no")
    slides = {slide["id"]: slide for slide in told["slides"]}
    assert slides["broken"]["fault"] != "" and slides["first"]["fault"] == ""
    assert slides["first"]["has_map"] and not slides["broken"]["has_map"]
    assert int(slides["first"]["n_tiles"]) > 20


def test_no_path_of_a_file_is_told(client, study, number):
    for address in ("/catalogue", f"/slides/{number['first']}", f"/slides/{number['broken']}"):
        assert str(study.root) not in client.get(address).text


@pytest.mark.parametrize("level", [-1, -2, 0])
def test_a_square_is_the_part_of_the_slide_that_its_numbers_say(client, study, number, level):
    about = client.get(f"/slides/{number['first']}").json()["geometry"]
    n_levels = about["n_levels"]
    level = level % n_levels
    scale = 2 ** (n_levels - 1 - level)
    column, row = (1, 1) if level else (0, 0)
    got = pixels(client.get(f"/slides/{number['first']}/squares/{level}/{column}/{row}.jpg"))
    with open_slide(study.slides / "first.tif") as slide:
        side = SQUARE_PX * scale
        wanted = slide.read_area((column * side, row * side), (side, side), (SQUARE_PX, SQUARE_PX)).astype(float)
    assert got.shape == (SQUARE_PX, SQUARE_PX, 3)
    assert np.abs(got - wanted).mean() < 4  # JPEG


def test_the_coarsest_level_is_one_square_and_nothing_lies_beyond_the_edge(client, number):
    slide = f"/slides/{number['first']}/squares"
    geometry = client.get(f"/slides/{number['first']}").json()["geometry"]
    finest = geometry["n_levels"] - 1
    assert client.get(f"{slide}/0/0/0.jpg").status_code == 200
    beyond = int(geometry["size_um"][0] // (SQUARE_PX * geometry["finest_um"])) + 1
    for wrong in ("0/1/0", f"{finest}/{beyond}/0", f"{finest + 1}/0/0"):
        assert client.get(f"{slide}/{wrong}.jpg").status_code == 404, wrong


def test_unequal_scales_make_square_pixels(study, tmp_path):
    catalogue = make_catalogue(Study(study.root), task="subtype", name="default")
    shelf = SlideShelf(catalogue, most_open=1, memory_bytes=1 << 20)
    from mil.viewer.open_slides import geometry_of

    with open_slide(study.slides / "first.tif", mpp=(0.5, 0.25)) as slide:
        geometry = geometry_of(slide)
        assert geometry.size_um == (slide.width * 0.5, slide.height * 0.25)
        assert geometry.finest_um == 0.25
        assert geometry.square_um(geometry.n_levels - 1) == 64
        assert max(geometry.size_um) <= geometry.square_um(0) < 2 * max(geometry.size_um)
    shelf.close()


def test_values_and_places_are_those_of_the_tiles(client, study, number):
    tiles = read_slide_tiles(study.tile_file("first"))
    about = client.get(f"/slides/{number['first']}").json()
    names = [(layer["group"], layer["name"]) for layer in about["layers"]]
    assert names[:4] == [
        ("contribution", "A<1>"),
        ("contribution", "B"),
        ("contribution", "C"),
        ("attention", "attention"),
    ]
    assert ("quality", "tissue_fraction") in names
    assert about["told"] == "B"
    places = np.frombuffer(client.get(f"/slides/{number['first']}/places/map").content, "<f4").reshape(-1, 2)
    assert places == approx(tiles.coords * 0.5)
    values = np.frombuffer(client.get(f"/slides/{number['first']}/values/1").content, "<f4")
    assert values == approx(np.arange(len(tiles.coords)) - len(tiles.coords) / 2)
    low, high = about["layers"][1]["limits"]
    assert low == -high and high == approx(np.percentile(np.abs(values), 99))
    fraction = np.frombuffer(client.get(f"/slides/{number['first']}/values/4").content, "<f4")
    assert fraction == approx(tiles.tissue_fraction)
    corners = np.array([corner for ring in about["tissue"] for corner in ring])
    inside = (corners >= -1) & (corners <= np.array(about["geometry"]["size_um"]) + 1)
    assert len(corners) > 20 and inside.all()


def test_the_picture_of_a_tile_is_the_tile(client, study, number):
    tiles = read_slide_tiles(study.tile_file("first"))
    got = pixels(client.get(f"/slides/{number['first']}/tiles/map/3.jpg"))
    with open_slide(study.slides / "first.tif") as slide:
        x, y = (float(value) for value in tiles.coords[3])
        wanted = slide.read_area((x, y), (256, 256), (160, 160)).astype(float)
    assert np.abs(got - wanted).mean() < 4


def test_the_tiles_most_like_one_are_its_neighbours_in_angle(client, number):
    own = f"/slides/{number['first']}"
    told = client.get(f"{own}/near/10").json()
    assert told["searched"] == 3
    first = [one["tile"] for one in told["found"] if one["slide"] == number["first"]]
    assert set(first[:2]) == {9, 11}
    assert all((one["slide"], one["tile"]) != (number["first"], 10) for one in told["found"])
    likeness = [one["likeness"] for one in told["found"]]
    assert likeness == sorted(likeness, reverse=True)
    assert client.get(f"{own}/near/100000").status_code == 422


def test_a_broken_slide_is_named_and_takes_no_other_along(client, number):
    broken = f"/slides/{number['broken']}"
    about = client.get(broken).json()
    assert about["geometry"] is None and about["fault"] != ""
    assert client.get(f"{broken}/squares/0/0/0.jpg").status_code == 422
    assert client.get(f"/slides/{number['second']}/squares/0/0/0.jpg").status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "/slides/9999", "/slides/-1", "/slides/first", "/slides/0/values/99", "/slides/0/places/none", "/nothing",
        "/files/app.py", "/files/..%2f..%2fapp.py", "/files/%2e%2e/app.py", "/slides/..%2f..%2fcohort.csv",
        "/slides/0/tiles/map/99999.jpg",
        "/slides/99999999999999999999999999", "/survival",
    ],
)  # fmt: skip
def test_what_is_not_there_is_a_404_with_a_word(client, address):
    answer = client.get(address)
    assert answer.status_code == 404
    assert "Traceback" not in answer.text and len(answer.text) < 200


@pytest.mark.parametrize(
    ("headers", "is_answered"),
    [
        ({}, True), ({"host": "localhost:8421"}, True), ({"origin": OWN}, True), ({"sec-fetch-site": "same-origin"}, True),
        ({"host": "evil.example:8421"}, False), ({"host": "127.0.0.1.evil.example"}, False), ({"host": ""}, False),
        ({"origin": "http://evil.example"}, False), ({"origin": "null"}, False), ({"origin": "http://127.0.0.1:9"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
    ],
)  # fmt: skip
def test_foreign_hosts_and_origins_are_refused(client, headers, is_answered):
    answer = client.get("/catalogue", headers=headers)
    assert answer.status_code == (200 if is_answered else 403)
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_it_only_reads(client, method):
    assert client.request(method, "/catalogue").status_code == 403
    assert refused(method, {"host": "127.0.0.1"}) is not None


def test_the_page_escapes_names_and_has_no_script_of_its_own(client):
    page = client.get("/").text
    assert "<script>" not in page and page.count("<script ") == 1
    assert client.get("/report").headers["content-security-policy"].startswith("default-src 'none'")


def test_survival_curves_are_those_of_the_groups_and_the_patients_falls_with_time(study):
    catalogue = make_catalogue(study, task="survival", name="default")
    with TestClient(viewer_app(catalogue), base_url=OWN) as client:
        told = client.get("/survival", params={"patient": "p00"}).json()
        nobody = client.get("/survival", params={"patient": "nobody"}).json()
    table = catalogue.run.predictions.query("model == 'attention'")
    for group, is_high in zip(told["groups"], (0, 1), strict=True):
        own = table[table["risk_group"] == is_high]
        steps, survival = kaplan_meier(own["time"].to_numpy(), own["event"].to_numpy())
        assert group["n"] == len(own)
        assert group["times"][:-1] == approx(steps) and group["survival"][:-1] == approx(survival)
    assert told["survival"][0] == approx(1) and np.all(np.diff(told["survival"]) <= 1e-12)
    assert told["outcome"]["time"] == float(table.set_index("patient_id").loc["p00", "time"])
    assert nobody["survival"] is None and nobody["outcome"] is None


def test_many_slides_opened_one_after_the_other_leave_few_open(study, number):
    catalogue = make_catalogue(study, task="subtype", name="default")
    shelf = SlideShelf(catalogue, most_open=2, memory_bytes=1 << 16)
    whole = [number["first"], number["second"], number[HOSTILE]]
    for turn in range(4):
        shelf.square(whole[turn % 3], 0, 0, 0)
    files = n_open_files()
    for turn in range(40):
        assert len(shelf.square(whole[turn % 3], turn % 3, 0, 0)) > 500
        assert shelf.n_open <= 2
    assert n_open_files() <= files + 1
    shelf.close()
    assert shelf.n_open == 0


def test_many_readers_at_once_get_the_same_pixels(study, number):
    shelf = SlideShelf(make_catalogue(study, task="subtype", name="default"), most_open=1, memory_bytes=1 << 14)
    whole = [number["first"], number["second"], number[HOSTILE]]
    wanted = {at: shelf.square(at, 1, 0, 0) for at in whole}
    wrong = []

    def read(turn):
        for step in range(15):
            at = whole[(turn + step) % 3]
            if shelf.square(at, 1, 0, 0) != wanted[at]:
                wrong.append(at)

    threads = [threading.Thread(target=read, args=(turn,)) for turn in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    shelf.close()


def test_slides_alone_are_shown_and_nothing_at_all_is_refused(study, tmp_path):
    alone = Study(tmp_path / "alone")
    alone.slides.mkdir(parents=True)
    with pytest.raises(StudyError, match="nothing to show"):
        make_catalogue(alone, task="subtype", name="default")
    (alone.slides / "s.tif").write_bytes((study.slides / "first.tif").read_bytes())
    catalogue = make_catalogue(alone, task="subtype", name="default")
    assert [patient.patient_id for patient in catalogue.patients] == ["s"]
    assert any("No finished run" in note for note in catalogue.notes)
    with TestClient(viewer_app(catalogue), base_url=OWN) as client:
        about = client.get("/slides/0").json()
        assert about["layers"] == [] and about["geometry"]["n_levels"] > 1
        assert any("not tiled" in note for note in about["notes"])


def test_a_damaged_map_is_a_note(study, number, tmp_path):
    folder = tmp_path / "maps" / "tiles"
    folder.mkdir(parents=True)
    whole = (study.run("subtype", "default") / "explanation" / "tiles" / "first.h5").read_bytes()
    (folder / "first.h5").write_bytes(whole[: len(whole) // 2])
    catalogue = make_catalogue(study, task="subtype", name="default", maps=tmp_path / "maps")
    with TestClient(viewer_app(catalogue), base_url=OWN) as client:
        about = client.get(f"/slides/{number['first']}").json()
    assert any("cannot be read" in note for note in about["notes"])
    assert {layer["group"] for layer in about["layers"]} == {"quality"}


def test_a_taken_port_gives_a_free_one_on_this_computer_alone():
    with free_socket(0) as first:
        first.listen()
        taken = first.getsockname()[1]
        with free_socket(taken) as second:
            assert second.getsockname()[0] == "127.0.0.1"
            assert second.getsockname()[1] not in (0, taken)
    assert socket.gethostbyname("localhost")


def test_an_unreadable_part_is_an_error_and_the_rest_stays_readable(study, tmp_path):
    import tifffile

    other = Study(tmp_path)
    other.slides.mkdir()
    content = bytearray((study.slides / "first.tif").read_bytes())
    with tifffile.TiffFile(study.slides / "first.tif") as file:
        page = file.pages[0]
        offset, length = page.dataoffsets[0], page.databytecounts[0]
    content[offset : offset + length] = bytes(length)
    (other.slides / "s.tif").write_bytes(content)
    shelf = SlideShelf(make_catalogue(other, task="subtype", name="default"), most_open=1, memory_bytes=1 << 20)
    finest = shelf.geometry(0).n_levels - 1
    with pytest.raises(SlideError):
        shelf.square(0, finest, 0, 0)
    assert len(shelf.square(0, finest, 3, 3)) > 500
    shelf.close()


def test_a_run_trained_on_another_folder_of_features_is_searched_there(study, number, tmp_path):
    from mil.viewer.neighbours import Neighbours

    catalogue = make_catalogue(study, task="subtype", name="default")
    settings = catalogue.run.facts.settings | {"features": str(study.features(ENCODER))}
    elsewhere = replace(catalogue.run, facts=replace(catalogue.run.facts, settings=settings))
    told = [
        Neighbours(replace(catalogue, run=run), memory_bytes=1 << 20).of_tile(number["first"], 10)
        for run in (catalogue.run, elsewhere)
    ]
    assert told[0] == told[1] != []


def test_risk_groups_of_the_viewer_are_those_of_the_evaluation(study):
    """High in half of the repeats goes by the mean score, as in the report."""
    run = make_catalogue(study, task="survival", name="default").run
    table = run.predictions[run.predictions["model"] == "attention"]
    again = pd.concat([table, table.assign(repeat=1, risk_group=1 - table["risk_group"])], ignore_index=True)
    groups = {own["name"]: own["n"] for own in survival_json(replace(run, predictions=again), "p00")["groups"]}
    n_high = int((table["score"] > 0).sum())
    assert groups == {"low risk": len(table) - n_high, "high risk": n_high}


def test_who_opens_the_address_before_the_server_runs_is_not_refused():
    with free_socket(0) as bound, socket.create_connection(bound.getsockname(), timeout=5) as visitor:
        assert visitor.getpeername() == bound.getsockname()
