import json
import shutil

import numpy as np
import pandas as pd
import pytest

from common.failures import StudyError
from mil.bags.bags import BagStore
from mil.explain import main as explain
from mil.explanation import one_patient
from mil.explanation.map_store import read_slide_map
from mil.predict import main as predict
from preprocessing.synthetic.slide_and_truth import make_slide
from tests.helpers.feature_study import ENCODER
from tests.helpers.slide_recipes import recipe


@pytest.fixture(params=["subtype", "survival"])
def task(request):
    return request.param


def call(study, out, *flags):
    return explain(["--study", str(study.root), "--out", str(out), "--workers", "0", *map(str, flags)])


def files_of(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_contributions_add_up_to_what_the_head_that_never_saw_the_patient_said(trained_study, task, tmp_path, capsys):
    assert call(trained_study, tmp_path, "--task", task, "--faithfulness", "false") == 0
    assert "no slide files" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "contributions.csv")
    run = pd.read_csv(trained_study.run(task, "default") / "predictions.csv")
    own = run[run["model"] == "attention"].set_index("patient_id")
    assert set(table["patient_id"]) == set(own.index)
    for (patient, output), rows in table.groupby(["patient_id", "output"]):
        row, first = own.loc[patient], rows.iloc[0]
        assert first["heads"] == f"repeat0_fold{row['fold']}"
        total = rows["contribution"].sum() + first["patient_base"] + first["patient_residual"]
        if task == "survival":
            assert total + first["level"] == pytest.approx(row["log_hazard"], abs=1e-5)
        else:
            logs = np.log([row[f"p_{name}"] for name in ("DDLPS", "LMS", "UPS")])
            assert total == pytest.approx(np.log(row[f"p_{output}"]) - logs.mean(), abs=1e-5)
    for patient, rows in table[table["output"] == table["output"].iloc[0]].groupby("patient_id"):
        maps = [read_slide_map(tmp_path / "tiles" / f"{slide}.h5") for slide in rows["slide_id"]]
        assert sum(own.attention.sum() for own in maps) == pytest.approx(1)
        for each, contribution in zip(maps, rows["contribution"], strict=True):
            assert each.contributions[:, 0].sum() == pytest.approx(contribution, abs=1e-9)
            assert each.patient_id == patient
            assert len(each.coords) == len(each.contributions)


def test_the_run_is_measured_and_pages_say_what_came_of_it(trained_study, tmp_path, capsys):
    assert call(trained_study, tmp_path, "--task", "subtype") == 0
    found = json.loads((tmp_path / "faithfulness.json").read_text())
    assert set(found["against"]) == {"attention", "random"}
    assert found["n_patients"] == 30
    page = (tmp_path / "index.html").read_text()
    said = capsys.readouterr().out
    assert ("THESE MAPS ARE NOT FAITHFUL" in page) == bool(found["faults"]) == ("NOT FAITHFUL" in said)
    one = (tmp_path / "patients" / "0001.html").read_text()
    assert ("THESE MAPS ARE NOT FAITHFUL" in one) == bool(found["faults"])
    assert len(list((tmp_path / "patients").glob("*.html"))) == 30


def test_maps_that_are_not_faithful_say_so_on_every_page(trained_study, tmp_path):
    assert call(trained_study, tmp_path, "--patients", "P00,P03", "--exports", "none") == 0  # two patients show nothing
    for page in (tmp_path / "index.html", tmp_path / "patients" / "0001.html"):
        assert "THESE MAPS ARE NOT FAITHFUL: 2 patients are too few" in page.read_text()


def test_the_same_bytes_each_time(trained_study, tmp_path):
    for name in ("a", "b"):
        assert call(trained_study, tmp_path / name, "--patients", "P00,P01,P02,P03,P04,P05,P06,P07") == 0
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_workers_leave_the_bytes_of_one_process(trained_study, task, tmp_path):
    flags = ["--task", task, "--patients", "P00,P01,P02,P03,P04,P05,P06,P07,P08"]
    assert call(trained_study, tmp_path / "one", *flags) == 0
    assert call(trained_study, tmp_path / "two", *flags, "--workers", "2") == 0
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_features_that_are_damaged_meanwhile_cost_their_patient_only(trained_study, tmp_path, capsys, monkeypatch):
    assert call(trained_study, tmp_path / "whole", "--patients", "P02,P03,P04") == 0
    read = BagStore.read

    def damaged(bags, patient_id):
        if patient_id == "P03":
            raise StudyError("P03-0.h5: its content is not what was written")
        return read(bags, patient_id)

    monkeypatch.setattr(BagStore, "read", damaged)
    assert call(trained_study, tmp_path / "out", "--patients", "P02,P03,P04") == 1
    said = capsys.readouterr().out
    assert "P03-0" in said
    assert "Traceback" not in said
    table = pd.read_csv(tmp_path / "out" / "contributions.csv")
    whole = pd.read_csv(tmp_path / "whole" / "contributions.csv")
    pd.testing.assert_frame_equal(table, whole[whole["patient_id"] != "P03"].reset_index(drop=True))
    assert "P03-0.h5: its content is not" in (tmp_path / "out" / "index.html").read_text()
    assert call(trained_study, tmp_path / "none", "--patients", "P03") == 2
    assert "no patient can be explained" in capsys.readouterr().err


def test_a_model_that_is_replaced_meanwhile_explains_nobody(trained_study, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(one_patient, "content_sha256", lambda _: "another")
    monkeypatch.setattr(one_patient, "_model", one_patient._model.__wrapped__)  # not what an earlier call read
    assert call(trained_study, tmp_path, "--patients", "P02,P03") == 2
    error = capsys.readouterr().err
    assert "no patient can be explained" in error
    assert "model.safetensors was replaced meanwhile" in " ".join(error.split())


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (["--patients", "P0"], "nobody with features is called"),
        (["--name", "none"], "no model at"),
        (["--exports", "svg"], "--exports are of"),
        (["--slides", "nowhere"], "no folder"),
        (["--workers", "-1"], "--workers is a number from 0, got -1"),
        (["--timeout_s", "0"], "--timeout_s is a number above 0, got 0"),
        (["--scheduler", "node1"], "--scheduler is an address"),
    ],
)
def test_wrong_options_say_what_is_wanted(trained_study, tmp_path, flags, wanted, capsys):
    assert call(trained_study, tmp_path, *flags) == 2
    assert wanted in capsys.readouterr().err


def test_new_patients_are_explained_by_all_heads_of_a_model(trained_study, tmp_path):
    model = trained_study.run("subtype", "default") / "model.safetensors"
    shutil.copytree(trained_study.root / "features", tmp_path / "new" / "features")
    table = pd.read_csv(trained_study.cohort_table)[["slide_id"]]
    table["patient_id"] = "N" + table["slide_id"].str[:3]
    table.to_csv(tmp_path / "new" / "cohort.csv", index=False)
    shutil.copy(model, tmp_path / "m.safetensors")
    flags = ["--model", str(tmp_path / "m.safetensors"), "--exports", "none", "--faithfulness", "false"]
    assert explain(["--study", str(tmp_path / "new"), *flags]) == 0
    rows = pd.read_csv(tmp_path / "new" / "explanation" / "contributions.csv")
    assert set(rows["heads"]) == {"repeat0_fold0 repeat0_fold1"}
    flags = ["--model", str(model), "--features", str(trained_study.features(ENCODER)), "--out", str(tmp_path / "p")]
    assert predict([*flags, "--cohort", str(tmp_path / "new" / "cohort.csv")]) == 0
    record = json.loads((tmp_path / "p" / "predictions.json").read_text())
    for patient in record["patients"]:
        for output, own in patient["outputs"].items():
            mine = rows[(rows["patient_id"] == patient["patient_id"]) & (rows["output"] == output)]
            assert mine["contribution"].sum() + mine["patient_base"].iloc[0] == pytest.approx(own["value"], abs=1e-9)


@pytest.mark.slow
def test_slides_get_maps_at_their_place_and_a_broken_one_costs_itself(tmp_path, capsys):
    """Painted slides through the whole way; the planted tumour stands out on the sheet's tiles' places."""
    import tifffile
    from shapely import union_all
    from shapely.geometry import shape

    from common.study import Study
    from features.extract_features import main as extract
    from mil.train import main as train
    from preprocessing.tile_slides import main as tile
    from preprocessing.tiling.tile_store import read_slide_tiles

    study, rows = Study(tmp_path / "study"), ["patient_id,slide_id,subtype,set"]
    for index in range(4):
        own = recipe(
            slide_id=f"S{index}", seed=(9, index), subtype=("LMS", "UPS")[index % 2], width_mm=1.0, height_mm=0.8
        )
        (study.root / "truth").mkdir(parents=True, exist_ok=True)
        make_slide(own, study.slides / f"S{index}.tif", study.truth / f"S{index}.json")
        rows.append(f"P{index},S{index},{('LMS', 'UPS')[index % 2]},{'train' if index < 2 else 'test'}")
    study.cohort_table.write_text("\n".join(rows) + "\n")
    flag = ["--study", str(study.root)]
    assert tile([*flag, "--tile_um", "128", "--workers", "1"]) == 0
    assert extract([*flag, "--workers", "1", "--threads", "1"]) == 0
    assert (
        train([*flag, "--epochs", "10", "--hidden", "8", "--attention", "4", "--bootstrap", "100", "--threads", "1"])
        == 0
    )
    (study.slides / "S3.tif").write_bytes((study.slides / "S3.tif").read_bytes()[:1000])
    assert explain(flag) == 1
    assert "S3" in capsys.readouterr().out
    out = study.run("subtype", "default") / "explanation"
    maps = sorted(path.name for path in (out / "maps").iterdir())
    assert maps == sorted(f"S{index}.{ending}" for index in range(3) for ending in ("geojson", "ome.tif", "png"))
    assert sorted(path.name for path in (out / "sheets").iterdir()) == ["output0.png", "output1.png"]
    tiles = read_slide_tiles(study.tile_file("S0"))
    content = json.loads((out / "maps" / "S0.geojson").read_text())
    squares = [shape(own["geometry"]) for own in content["features"] if own["properties"]["objectType"] == "detection"]
    assert sorted(own.bounds[:2] for own in squares) == sorted(map(tuple, tiles.coords.astype(float).tolist()))
    assert any(own["properties"]["objectType"] == "annotation" for own in content["features"])
    with tifffile.TiffFile(out / "maps" / "S0.ome.tif") as file:
        counts = file.asarray()[-1]
    um2 = union_all(squares).area * 0.25
    assert (counts > 0).sum() * 32.0**2 == pytest.approx(um2)
    assert "S3" in (out / "index.html").read_text()
