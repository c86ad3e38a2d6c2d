import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from common.failures import SlideStatus
from mil.explain import main as explain
from mil.models.ensemble import read_ensemble, write_ensemble
from mil.predict import main as predict
from mil.prediction.new_slides import statuses_of
from mil.runs.run_folder import RunFolder
from preprocessing.synthetic.slide_and_truth import make_slide
from tests.helpers.feature_study import ENCODER, make_feature_study
from tests.helpers.slide_recipes import recipe


def model_of(study, task):
    return RunFolder(study.run(task, "default")).model


def said(out):
    return json.loads((out / "predictions.json").read_text())


def call(model, out, *flags):
    return predict(["--model", str(model), "--out", str(out), "--bootstrap", "100", *map(str, flags)])


@pytest.fixture(params=["subtype", "survival"])
def task(request):
    return request.param


def test_features_of_the_runs_own_patients_say_what_the_run_said_of_them(trained_study, task, tmp_path, capsys):
    """Each patient by the head of the fold that tested it, and by the heads that never saw it."""
    flags = ["--features", trained_study.features(ENCODER), "--cohort", trained_study.cohort_table]
    assert call(model_of(trained_study, task), tmp_path, *flags) == 0
    record = said(tmp_path)
    table = pd.read_csv(trained_study.run(task, "default") / "predictions.csv")
    own = table[table["model"] == "attention"].set_index("patient_id")
    assert len(record["patients"]) == 30
    for patient in record["patients"]:
        row = own.loc[patient["patient_id"]]
        (fold,) = [fold for fold in patient["folds"] if fold["fold"] == row["fold"]]
        outputs = np.array(list(fold["outputs"].values()))
        if task == "survival":
            assert outputs[0] == pytest.approx(row["log_hazard"], abs=1e-6)
            assert (patient["by_unseen_heads"]["risk_group"] == "high risk") == bool(row["risk_group"])
            assert patient["by_unseen_heads"]["score"] == pytest.approx(row["score"], abs=1e-6)
        else:
            shares = np.exp(outputs) / np.exp(outputs).sum()
            assert shares == pytest.approx([row[f"p_{name}"] for name in record["classes"]], abs=1e-6)
        assert patient["n_heads_trained_on"] == 1
        assert "was in the training of 1 of 2 heads" in patient["warnings"][0]
    assert "too few patients with labels to evaluate: 0" in capsys.readouterr().out


def test_shares_of_slides_add_up_to_what_was_said(trained_study, task, tmp_path):
    flags = ["--features", trained_study.features(ENCODER), "--cohort", trained_study.cohort_table]
    assert call(model_of(trained_study, task), tmp_path, *flags) == 0
    record = said(tmp_path)
    for patient in record["patients"]:
        for name, own in patient["outputs"].items():
            total = own["base"] + sum(slide["contributions"][name] for slide in patient["slides"])
            assert total == pytest.approx(own["value"], abs=1e-5)
        if task == "survival":
            assert patient["outputs"]["log_hazard"]["value"] == pytest.approx(patient["log_hazard"], abs=1e-5)
            assert len(patient["survival"]) == len(record["times"]) == 20
            assert np.all(np.diff(patient["survival"]) <= 0)
        else:
            assert sum(patient["probabilities"].values()) == pytest.approx(1)
            among = patient["prediction_set"]
            assert patient["answer"] == (among[0] if len(among) == 1 else "cannot tell")


def test_new_patients_with_labels_are_evaluated_and_reported(trained_study, task, tmp_path, capsys):
    new = make_feature_study(tmp_path / "new", n_patients=36, seed=5)
    table = pd.read_csv(new.cohort_table)
    table["patient_id"] = "N" + table["patient_id"]
    table["slide_id"] = "N" + table["slide_id"]
    table.loc[table["patient_id"] == "NP00", ["subtype", "time", "event"]] = None
    for path in sorted(new.features(ENCODER).glob("*.h5")):
        path.rename(path.with_name(f"N{path.name}"))
    table.to_csv(tmp_path / "labels.csv", index=False)
    out = tmp_path / "out"
    flags = ["--features", new.features(ENCODER), "--cohort", tmp_path / "labels.csv"]
    assert call(model_of(trained_study, task), out, *flags) == 0
    metrics = json.loads((out / "evaluation" / "metrics.json").read_text())
    assert metrics["n_patients"] == 35
    name = "macro_auroc" if task == "subtype" else "c_index"
    assert metrics["attention"][name]["value"] > 0.6
    page = (out / "evaluation" / "report.html").read_text()
    assert "35 patients who trained nothing of the model" in page
    assert "evaluation/report.html" in (out / "index.html").read_text()
    assert "new, by patient" in capsys.readouterr().out
    rows = (
        pd.read_csv(out / "predictions.csv", dtype=str, keep_default_na=False).set_index("patient_id").to_dict("index")
    )
    assert set(rows) == set(table["patient_id"])
    assert rows["NP01"]["in_training"] == "0"
    unfamiliar = sum(bool(row["unlike"]) for row in rows.values())
    assert unfamiliar <= 6  # drawn like those of the training


def synthetic_model(study, task, path):
    """Write the model of a run as if its cohort had been painted."""
    known = read_ensemble(model_of(study, task))
    cohort = replace(known.record.cohort, is_synthetic=True)
    write_ensemble(path, replace(known, record=replace(known.record, cohort=cohort)))
    return path


def test_a_synthetic_model_is_told_as_what_is_synthetic_not_the_slides(trained_study, task, tmp_path, capsys):
    new = make_feature_study(tmp_path / "new", n_patients=20, seed=5)
    model, out = synthetic_model(trained_study, task, tmp_path / "model.safetensors"), tmp_path / "out"
    flags = ["--features", new.features(ENCODER), "--cohort", new.cohort_table]
    assert call(model, out, *flags) == 0
    assert "SYNTHETIC MODEL: it was trained on" in capsys.readouterr().out
    assert said(out)["is_by_synthetic_model"] is True
    pages = [out / "index.html", *(out / "patients").glob("*.html"), out / "evaluation" / "report.html"]
    for page in pages:
        text = page.read_text()
        assert "SYNTHETIC MODEL" in text
        assert "SYNTHETIC DATA" not in text
        assert "painted slides, invented patients" not in text
    assert call(model_of(trained_study, task), tmp_path / "real", *flags) == 0
    assert "SYNTHETIC" not in (tmp_path / "real" / "index.html").read_text() + capsys.readouterr().out
    assert said(tmp_path / "real")["is_by_synthetic_model"] is False
    assert (
        explain(
            [
                "--study",
                str(new.root),
                "--model",
                str(model),
                "--out",
                str(tmp_path / "maps"),
                "--faithfulness",
                "false",
            ]
        )
        == 0
    )
    for page in (tmp_path / "maps").rglob("*.html"):
        assert "SYNTHETIC MODEL" in page.read_text()
        assert "SYNTHETIC DATA" not in page.read_text()


def test_without_a_table_every_slide_is_a_patient_and_barcodes_tell_theirs(trained_study, tmp_path):
    features = tmp_path / "features"
    features.mkdir()
    source = sorted(trained_study.features(ENCODER).glob("P0[0-3]-*.h5"))
    names = ["TCGA-AB-1234-01Z-00-DX1.x", "TCGA-AB-1234-01Z-00-DX2.y", "plain"]
    for path, name in zip(source, names, strict=False):
        shutil.copy(path, features / f"{name}.h5")
    assert call(model_of(trained_study, "subtype"), tmp_path / "out", "--features", features) == 0
    found = {patient["patient_id"]: len(patient["slides"]) for patient in said(tmp_path / "out")["patients"]}
    assert found == {"TCGA-AB-1234": 2, "plain": 1}


def test_features_made_otherwise_are_refused_with_the_difference(trained_study, tmp_path, capsys):
    from features.store.feature_store import read_feature_bag, write_feature_bag

    path = sorted(trained_study.features(ENCODER).glob("*.h5"))[0]
    bag = read_feature_bag(path)
    for name, value in {"encoder": "uni", "weights_sha256": "1", "tile_um": 128.0, "stain_reference": "x"}.items():
        known = {key: own for key, own in bag.attributes.items() if key not in ("schema", "slide_id", "content_sha256")}
        write_feature_bag(tmp_path / "f" / "s.h5", replace(bag, slide_id="s", attributes=known | {name: value}))
        assert call(model_of(trained_study, "subtype"), tmp_path / "out", "--features", tmp_path / "f") == 2
        error = capsys.readouterr().err
        assert f"{name} {bag.attributes[name]!r}, and {value!r} here" in error
        assert not (tmp_path / "out" / "predictions.csv").exists()


def test_a_flipped_byte_of_the_model_is_refused(trained_study, tmp_path, capsys):
    content = bytearray(model_of(trained_study, "subtype").read_bytes())
    content[-5] ^= 1
    (tmp_path / "m.safetensors").write_bytes(content)
    assert call(tmp_path / "m.safetensors", tmp_path / "out", "--features", trained_study.features(ENCODER)) == 2
    assert "checksum differs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (["--study", "nowhere", "--features", "x"], "no study folder"),
        (["--model", "m", "--features", "x", "--slides", "y"], "one of them"),
        (["--model", "m", "--features", "x", "--mpp", "0.5"], "--mpp goes with --slides"),
        (["--model", "none.safetensors", "--features", "x"], "no model at"),
        (["--model", "m", "--features", "x", "--bootstrap", "3"], "--bootstrap"),
    ],
)
def test_wrong_options_say_what_is_wanted(flags, wanted, capsys):
    assert predict(flags) == 2
    assert wanted in capsys.readouterr().err


def test_a_runs_own_model_is_found_and_an_input_is_asked_for(trained_study, tmp_path, capsys):
    own = ["--study", str(trained_study.root), "--task", "survival", "--out", str(tmp_path / "out")]
    assert predict(own) == 2
    assert "what is to be predicted?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert predict([*own, "--features", str(trained_study.features(ENCODER))]) == 0
    assert "log_hazard" in said(tmp_path / "out")["patients"][0]


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.found, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.found += [value for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data):
        self.text += data


def test_pages_escape_names_and_their_links_lead_to_files(trained_study, tmp_path):
    """A slide may be called like markup, a formula, or a way out of the folder."""
    from urllib.parse import unquote

    features = tmp_path / "features"
    features.mkdir()
    source = sorted(trained_study.features(ENCODER).glob("*.h5"))
    names = ["<script>alert(1)", "=1+1", "a & b 'c' \"d\"", "ä %2e%2e"]
    for path, name in zip(source, names, strict=False):
        shutil.copy(path, features / f"{name}.h5")
    out = tmp_path / "out"
    assert call(model_of(trained_study, "subtype"), out, "--features", features) == 0
    pages = [out / "index.html", *sorted((out / "patients").glob("*.html"))]
    assert len(pages) == 5
    text = ""
    for page in pages:
        parser = Links()
        parser.feed(page.read_text())
        assert "script" not in parser.tags
        text += parser.text
        for link in parser.found:
            assert (page.parent / unquote(link)).resolve().is_file()
    for name in names:
        assert name in text
    assert "'=1+1" in (out / "predictions.csv").read_text()


def test_the_same_bytes_each_time_and_pages_of_patients_gone_go(trained_study, tmp_path):
    flags = ["--features", trained_study.features(ENCODER), "--cohort", trained_study.cohort_table]
    model = model_of(trained_study, "survival")
    assert call(model, tmp_path, *flags) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "patients" / "0099.html").write_text("of an earlier run")
    assert call(model, tmp_path, *flags) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_model_away_from_its_run_knows_nobody(trained_study, tmp_path):
    shutil.copy(model_of(trained_study, "subtype"), tmp_path / "m.safetensors")
    flags = ["--features", trained_study.features(ENCODER), "--cohort", trained_study.cohort_table]
    assert call(tmp_path / "m.safetensors", tmp_path / "out", *flags) == 0
    assert all(not patient["n_heads_trained_on"] for patient in said(tmp_path / "out")["patients"])


@pytest.mark.slow
def test_slide_files_to_predictions_are_those_of_trainings_own_path(tmp_path, capsys):
    """Painted slides tiled, embedded and trained on; then the same slide files through the model alone."""
    from common.study import Study
    from features.extract_features import main as extract
    from mil.train import main as train
    from preprocessing.tile_slides import main as tile

    study = Study(tmp_path / "study")
    rows = ["patient_id,slide_id,subtype,set"]
    for index in range(6):
        own = recipe(
            slide_id=f"S{index}",
            seed=(7, index),
            subtype=("LMS", "UPS")[index % 2],
            width_mm=1.0,
            height_mm=0.8,
            fat_share=0.1,
        )
        (study.root / "truth").mkdir(parents=True, exist_ok=True)
        make_slide(own, study.slides / f"S{index}.tif", study.truth / f"S{index}.json")
        rows.append(
            f"P{index // 2 if index == 99 else index},S{index},{('LMS', 'UPS')[index % 2]},{'train' if index < 4 else 'test'}"
        )
    study.cohort_table.write_text("\n".join(rows) + "\n")
    flag = ["--study", str(study.root)]
    assert tile([*flag, "--tile_um", "128", "--stride_um", "96", "--workers", "1"]) == 0
    assert extract([*flag, "--workers", "1", "--threads", "1"]) == 0
    assert (
        train([*flag, "--epochs", "20", "--hidden", "8", "--attention", "4", "--bootstrap", "100", "--threads", "1"])
        == 0
    )
    model = model_of(study, "subtype")
    record = read_ensemble(model).record
    assert record.tiling["stride_um"] == 96
    assert record.stain_reference.is_exact
    new = tmp_path / "new"
    new.mkdir()
    for path in study.slides.glob("*.tif"):
        shutil.copy(path, new / path.name)
    (new / "broken.tif").write_bytes((new / "S0.tif").read_bytes()[:300])
    assert call(model, tmp_path / "out", "--slides", new, "--workers", "1", "--threads", "1") == 1
    assert "broken" in capsys.readouterr().out
    found = said(tmp_path / "out")
    assert [own["slide_id"] for own in found["failed"]] == ["broken"]
    assert [own["patient_id"] for own in found["patients"]] == [f"S{index}" for index in range(6)]
    table = pd.read_csv(study.run("subtype", "default") / "predictions.csv")
    own = table[table["model"] == "attention"].set_index("patient_id")
    for patient in found["patients"]:
        name = patient["patient_id"].replace("S", "P")
        assert ("was in the training" in " ".join(patient["warnings"])) == (name in ("P0", "P1", "P2", "P3"))
        if name in own.index:
            outputs = np.array(list(patient["folds"][0]["outputs"].values()))
            shares = np.exp(outputs) / np.exp(outputs).sum()
            assert shares == pytest.approx([own.loc[name, "p_LMS"], own.loc[name, "p_UPS"]], abs=1e-6)
    assert patient["slides"][0]["embedding_distance"] is None or patient["slides"][0]["embedding_distance"] > 0
    other = read_ensemble(model)
    encoder = other.record.encoder | {"weights_sha256": "1" * 64}
    write_ensemble(tmp_path / "other.safetensors", replace(other, record=replace(other.record, encoder=encoder)))
    assert call(tmp_path / "other.safetensors", tmp_path / "out2", "--slides", new) == 2
    assert "weights_sha256" in capsys.readouterr().err
    reference = tmp_path / "r.json"
    from preprocessing.colour.stain import REFERENCE
    from preprocessing.colour.stain_store import write_reference

    write_reference(reference, replace(REFERENCE, p99=REFERENCE.p99 * 1.1), name="r", made_of={})
    assert call(model, tmp_path / "out3", "--slides", new, "--stain_reference", reference) == 2
    assert "stain_reference" in capsys.readouterr().err


def test_lost_slides_are_told_with_step_reason_and_remedy():
    lost = SlideStatus(slide_id="s", step="tile", state="failed", reason="no tissue", remedy="look at it")
    assert statuses_of([lost]) == [{"slide_id": "s", "step": "tile", "reason": "no tissue", "remedy": "look at it"}]
