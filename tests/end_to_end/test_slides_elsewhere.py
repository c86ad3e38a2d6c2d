"""Slides of a web server or of fsspec's file systems, through every script that opens slides: as if they lay in slides/."""

import csv

import fsspec
import pytest

from common.study import Study
from features.extract_features import main as extract
from mil.explain import main as explain
from mil.predict import main as predict
from mil.train import main as train
from mil.viewer.app import viewer_app
from mil.viewer.catalogue import make_catalogue
from preprocessing.check_study import main as check
from preprocessing.export_tiles import main as export
from preprocessing.synthetic.slide_and_truth import make_slide
from preprocessing.tile_slides import main as tile
from tests.helpers.slide_recipes import recipe
from tests.helpers.slide_server import slide_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # whole scripts, worker processes, a network

SLIDES = ("A", "B", "C", "D")
SECRETS = ("s3cret", "signed-by-us")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A study with its slides in its folder, tiled, embedded and exported."""
    study = Study(tmp_path_factory.mktemp("here"))
    for number, name in enumerate(SLIDES):
        own = recipe(slide_id=name, seed=(number, 7), width_mm=0.7, height_mm=0.6)
        make_slide(own, study.slides / f"{name}.tif", tmp_path_factory.getbasetemp() / f"{name}.json")
    write_table(study, None)
    run_all(study)
    return study


def write_table(study, base, ids=SLIDES, query="?X-Signature=signed-by-us"):
    study.root.mkdir(exist_ok=True)
    with study.cohort_table.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["patient_id", "slide_id", "subtype", "set", *(["slide_url"] if base else [])])
        for number, name in enumerate(ids):
            url = [f"{base}/{name}.tif{query}"] if base else []
            table.writerow(
                [f"P{number}", name, ("LMS", "UPS")[number % 2], "test" if number in (2, 3) else "train", *url]
            )


def flags(study, workers=0):
    return ["--study", str(study.root), "--workers", str(workers)]


def run_all(study, *, workers=2):
    assert tile([*flags(study, workers), "--tile_um", "64"]) == 0
    assert extract([*flags(study, 1), "--device", "cpu", "--threads", "1"]) == 0
    assert export([*flags(study, workers), "--max_tiles", "3"]) == 0


def made(study):
    """What was made of the slides: path below the study to content."""
    kinds = ("tiles", "features", "export")
    paths = [path for kind in kinds for path in (study.root / kind).rglob("*") if path.is_file()]
    return {path.relative_to(study.root).as_posix(): path.read_bytes() for path in sorted(paths)}


@pytest.fixture
def server(here):
    with slide_server(here.slides) as own:
        yield own


def secret_url(server):
    return server.url.replace("://", "://anna:s3cret@")


def test_the_same_files_come_of_slides_on_a_web_server(here, server, tmp_path, capfd):
    study = Study(tmp_path / "there")
    write_table(study, secret_url(server))
    run_all(study)
    assert made(study) == made(here)
    assert all(server.sent[f"/{name}.tif"] == (here.slides / f"{name}.tif").stat().st_size for name in SLIDES)
    server.asked.clear()
    run_all(study)  # nothing to do: nothing is fetched
    assert {method for method, _, _ in server.asked} == {"HEAD"}
    assert len(server.asked) <= 3 * len(SLIDES)  # once a command
    predicts_and_explains(study, here, tmp_path)
    check_secrets(study, capfd)


def predicts_and_explains(study, here, folder):
    fast = ["--epochs", "5", "--hidden", "8", "--attention", "4", "--bootstrap", "100", "--threads", "1"]
    assert train(["--study", str(study.root), *fast]) == 0
    explanation = study.run("subtype", "default") / "explanation"
    assert explain(["--study", str(study.root), "--exports", "png", "--faithfulness", "false"]) == 0
    assert sorted(path.stem for path in (explanation / "maps").iterdir()) == list(SLIDES)
    assert list((explanation / "sheets").iterdir())
    new = ["--study", str(study.root), "--threads", "1", "--workers", "1", "--bootstrap", "100"]
    by_table = ["--cohort", str(study.cohort_table), "--out", str(study.root / "by_table")]
    by_folder = ["--cohort", str(here.cohort_table), "--slides", str(here.slides), "--out", str(folder / "by_folder")]
    assert predict([*new, *by_table]) == predict([*new, *by_folder]) == 0
    told = [(out / "predictions.csv").read_bytes() for out in (study.root / "by_table", folder / "by_folder")]
    assert told[0] == told[1]


def test_a_cache_that_holds_one_slide_is_enough(here, server, tmp_path):
    study = Study(tmp_path / "there")
    write_table(study, server.url)
    most = max(path.stat().st_size for path in here.slides.iterdir()) * 1.2
    own = [*flags(study, 2), "--cache", str(tmp_path / "cache"), "--cache_gb", str(most / 1e9)]
    assert tile([*own, "--tile_um", "64"]) == 0
    assert extract([*own, "--device", "cpu", "--threads", "1"]) == 0
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file()) <= most
    assert {name: data for name, data in made(here).items() if not name.startswith("export")} == made(study)
    for name in SLIDES:
        assert server.sent[f"/{name}.tif"] <= 2 * (here.slides / f"{name}.tif").stat().st_size  # once a command
    assert not (study.root / "cache").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_files_come_of_a_file_system_of_fsspec(here, tmp_path, workers):
    memory = fsspec.filesystem("memory")
    for name in SLIDES:
        memory.pipe_file(f"/study/{name}.tif", (here.slides / f"{name}.tif").read_bytes())
    study = Study(tmp_path / "there")
    write_table(study, "memory://study", query="")
    assert tile([*flags(study, workers), "--tile_um", "64"]) == 0
    assert made(study) == {name: data for name, data in made(here).items() if name.startswith("tiles")}


def test_files_of_this_computer_are_read_where_they_lie(here, tmp_path):
    study = Study(tmp_path / "there")
    write_table(study, here.slides.as_uri(), query="")
    assert tile([*flags(study), "--tile_um", "64"]) == 0
    assert made(study) == {name: data for name, data in made(here).items() if name.startswith("tiles")}
    assert not (study.root / "cache").exists()


def test_a_slide_that_cannot_be_had_is_one_failed_row(here, server, tmp_path, capfd):
    study = Study(tmp_path / "there")
    write_table(study, secret_url(server), ids=("A", "B", "C", "E"))
    server.codes["/B.tif"] = 403
    assert tile([*flags(study), "--tile_um", "64"]) == 1
    with study.status_file.open() as file:
        rows = {row["slide_id"]: row for row in csv.DictReader(file)}
    assert [rows[name]["state"] for name in "ABCE"] == ["done", "failed", "done", "failed"]
    assert "/B.tif is not given to us (403)" in rows["B"]["reason"] and "signed anew" in rows["B"]["remedy"]
    assert "there is no http" in rows["E"]["reason"] and rows["E"]["remedy"]
    assert server.n_gets("/B.tif") <= 2  # told once, not tried again by whoever is next
    server.codes.clear()
    server.files["/E.tif"] = server.files["/A.tif"]
    assert tile([*flags(study), "--tile_um", "64"]) == 0
    check_secrets(study, capfd)


def test_a_slide_that_changed_is_tiled_anew_and_not_embedded_before(here, server, tmp_path):
    study = Study(tmp_path / "there")
    write_table(study, server.url)
    assert tile([*flags(study), "--tile_um", "64"]) == 0
    server.files["/A.tif"] = server.files["/B.tif"]
    assert extract([*flags(study, 1), "--device", "cpu", "--threads", "1"]) == 1
    with (study.features("efficientnet_lite0") / "status.csv").open() as file:
        rows = {row["slide_id"]: row for row in csv.DictReader(file)}
    assert "is not the file its tiles were made from" in rows["A"]["reason"]
    assert tile([*flags(study), "--tile_um", "64"]) == 0
    assert study.tile_file("A").read_bytes() != (here.tiles / "A.h5").read_bytes()


def test_a_server_that_is_away_costs_no_files(here, server, tmp_path, monkeypatch):
    study = Study(tmp_path / "there")
    write_table(study, server.url)
    assert tile([*flags(study), "--tile_um", "64"]) == 0
    before = study.tile_file("A").read_bytes()
    server.codes["/A.tif"] = 404
    assert tile([*flags(study), "--tile_um", "64"]) == 1
    assert study.tile_file("A").read_bytes() == before


def test_check_study_asks_and_fetches_nothing(here, server, tmp_path, capfd):
    study = Study(tmp_path / "there")
    write_table(study, secret_url(server), ids=(*SLIDES, "E"))
    assert check([*flags(study), "--out", str(tmp_path / "check.csv")]) == 1
    said = capfd.readouterr().out
    assert "4 slide(s) lie elsewhere" in said and "not fetched" in said
    assert "E: there is no http" in said
    assert server.n_gets() == 0
    with (tmp_path / "check.csv").open() as file:
        assert {row["slide_id"]: row["state"] for row in csv.DictReader(file)} == dict.fromkeys(SLIDES, "elsewhere") | {
            "E": "failed"
        }
    assert not any(secret in said for secret in SECRETS)


def test_the_viewer_shows_a_slide_that_lies_elsewhere(here, server, tmp_path):
    from starlette.testclient import TestClient

    study = Study(tmp_path / "there")
    write_table(study, secret_url(server))
    catalogue = make_catalogue(study, task="subtype", name="default")
    assert not server.asked
    client = TestClient(viewer_app(catalogue, most_open=2, memory_bytes=1 << 24), base_url="http://127.0.0.1")
    with client:
        listed, about = client.get("/catalogue"), client.get("/slides/0")
        assert about.json()["geometry"]["n_levels"] > 1
        assert client.get("/slides/0/squares/0/0/0.jpg").content.startswith(b"\xff\xd8")
    assert (server.n_gets("/A.tif"), server.n_gets()) == (1, 1)
    assert not any(secret in listed.text + about.text for secret in SECRETS)


def check_secrets(study, capfd):
    said = "".join(capfd.readouterr())
    assert not any(secret in said for secret in SECRETS)
    for path in study.root.rglob("*"):
        if path.is_file() and path != study.cohort_table:
            content = path.read_bytes()
            assert not any(secret.encode() in content for secret in SECRETS), path
