"""Training by the script, from feature files to report: honest, resumable, the same bytes, faults named."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from common.cohort import read_cohort
from common.failures import StudyError
from features.store.feature_store import read_feature_bag, write_feature_bag
from mil.bags.bags import open_bags
from mil.predict import main as predict
from mil.runs.model_file import read_model
from mil.train import main as train
from splits.make_splits import main as make_splits
from tests.helpers.feature_study import ENCODER, make_feature_study

pytestmark = pytest.mark.slow
FAST = ["--epochs", "8", "--hidden", "16", "--attention", "8", "--bootstrap", "100", "--threads", "1"]
FAST += ["--learning_rate", "0.01"]


def run(study, task, *flags):
    return train(["--study", str(study.root), "--task", task, *FAST, *flags])


def metrics(study, task, name="default"):
    return json.loads((study.run(task, name) / "metrics.json").read_text())


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    study = make_feature_study(tmp_path_factory.mktemp("feature_study") / "study", n_patients=30)
    assert make_splits(["--study", str(study.root), "--folds", "3"]) == 0
    for task in ("subtype", "survival"):
        assert run(study, task) == 0
    return study


@pytest.fixture
def copied(study, tmp_path):
    shutil.copytree(study.root, tmp_path / "study")
    return type(study)(tmp_path / "study")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_signal_is_found_out_of_fold(study):
    assert metrics(study, "subtype")["attention"]["macro_auroc"]["low"] > 0.5
    found = metrics(study, "survival")
    assert found["bootstrap"]["widening"] == (1 + 30 / 20) ** 0.5  # three folds
    assert found["attention"]["c_index"]["value"] > 0.65


def test_widths_that_the_task_chose_stand_in_the_record_as_its_defaults(copied):
    few = ["--epochs", "4", "--bootstrap", "100", "--cross_fit", "0", "--learning_rate", "0.01", "--name", "wide"]
    for task, widths in (("subtype", (128, 64)), ("survival", (64, 32))):
        assert train(["--study", str(copied.root), "--task", task, *few]) == 0
        folder = copied.run(task, "wide")
        facts = json.loads((folder / "run.json").read_text())
        for own in (facts["settings"], facts["defaults"]):
            assert (own["hidden"], own["attention"]) == widths
        assert "--hidden" not in facts["command"]
        head = read_model(folder / "models" / "repeat0_fold0.safetensors").head
        assert head.project.weight.shape[0] == widths[0]


def patients_of(model_file):
    """Return who trained, validated and tested a model, from the record beside it."""
    return json.loads(model_file.with_suffix(".json").read_text())["patients"]


def test_s4_no_model_file_holds_a_patient_or_a_slide(study):
    table = pd.read_csv(study.cohort_table)
    names = [name.encode() for name in {*table["patient_id"], *table["slide_id"]}]
    files = sorted(study.root.glob("runs/**/*.safetensors"))
    assert len(files) >= 6
    for path in files:
        content = path.read_bytes()
        assert not [name for name in names if name in content], path
    of_folds = [path for path in files if path.parent.name == "models"]
    assert set(patients_of(of_folds[0])["train"]) < set(table["patient_id"])


def test_every_patient_is_predicted_once_by_a_model_that_never_saw_it(study):
    for task in ("subtype", "survival"):
        folder = study.run(task, "default")
        table = pd.read_csv(folder / "predictions.csv")
        for _, own in table.groupby("model"):
            assert sorted(own["patient_id"]) == sorted(read_cohort(study.cohort_table).patients.index)
        for fold in json.loads((folder / "run.json").read_text())["folds"]:
            known = patients_of(folder / fold["model_file"])
            parts = [set(known[name]) for name in ("train", "val", "test")]
            assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
            tested = table[(table["fold"] == fold["fold"]) & (table["model"] == "attention")]["patient_id"]
            assert set(tested) == parts[2]


def test_e9_patients_with_one_tile_are_counted(copied):
    for patient in ("P00", "P02"):  # patients of one slide
        path = copied.feature_file(ENCODER, f"{patient}-0")
        bag = read_feature_bag(path)
        write_feature_bag(path, replace(bag, features=bag.features[:1], coords=bag.coords[:1]))
    assert run(copied, "subtype", "--name", "few", "--epochs", "1", "--bootstrap", "100") == 0
    facts = json.loads((copied.run("subtype", "few") / "run.json").read_text())
    assert facts["n_bags_of_one_tile"] == 2
    assert metrics(copied, "subtype", "few")["bags"] == {"n": 30, "n_of_one_tile": 2}


def test_test_labels_change_nothing_but_the_score(copied):
    """Scrambled labels of one fold's test patients leave that fold's model and predictions as they are."""
    before = read_model(copied.run("subtype", "default") / "models" / "repeat0_fold0.safetensors")
    table = pd.read_csv(copied.cohort_table)
    tested = table["patient_id"].isin(
        patients_of(copied.run("subtype", "default") / "models" / "repeat0_fold0.safetensors")["test"]
    )
    table.loc[tested, "subtype"] = table.loc[tested, "subtype"].map({"DDLPS": "LMS", "LMS": "UPS", "UPS": "DDLPS"})
    table.to_csv(copied.cohort_table, index=False)
    assert run(copied, "subtype") == 0
    after = read_model(copied.run("subtype", "default") / "models" / "repeat0_fold0.safetensors")
    for name, value in before.head.state_dict().items():
        assert value.equal(after.head.state_dict()[name])


def test_shuffled_labels_are_at_chance(tmp_path):
    """With 95 % intervals one in twenty misses chance by luck: at most one of six may, and none by far."""
    misses = []
    for seed in range(3):
        study = make_feature_study(tmp_path / str(seed), seed=seed, is_shuffled=True)
        assert make_splits(["--study", str(study.root), "--folds", "3"]) == 0
        for task, name in (("subtype", "macro_auroc"), ("survival", "c_index")):
            assert run(study, task, "--epochs", "4") == 0
            found = metrics(study, task)["attention"][name]
            misses.append(max(found["low"] - 0.5, 0.5 - found["high"], 0.0))
    assert sum(miss > 0 for miss in misses) <= 1
    assert max(misses) < 0.05


def test_row_order_changes_no_byte(study, copied):
    table = pd.read_csv(copied.cohort_table).sample(frac=1, random_state=1)
    table.to_csv(copied.cohort_table, index=False)
    shutil.rmtree(copied.root / "runs")
    for task in ("subtype", "survival"):
        assert run(copied, task) == 0
        assert contents(copied.run(task, "default")) == contents(study.run(task, "default"))


def test_a_second_run_trains_nothing_and_changes_nothing(copied, monkeypatch):
    before = contents(copied.run("survival", "default"))
    monkeypatch.setattr("mil.training.cross_validation.fit", pytest.fail)
    assert run(copied, "survival") == 0
    assert contents(copied.run("survival", "default")) == before


def test_killed_training_goes_on_and_ends_with_the_same_bytes(study, copied, root):
    shutil.rmtree(copied.root / "runs")
    models = copied.run("survival", "default") / "models"
    command = [sys.executable, root / "mil" / "train.py", "--study", copied.root, "--task", "survival", *FAST]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(models.glob("*.json")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (copied.run("survival", "default") / "report.html").exists()
    assert run(copied, "survival") == 0
    assert contents(copied.run("survival", "default")) == contents(study.run("survival", "default"))


def test_damaged_models_and_changed_settings_are_trained_again(copied):
    folder = copied.run("subtype", "default")
    before = contents(folder)
    model = folder / "models" / "repeat0_fold1.safetensors"
    model.write_bytes(model.read_bytes()[:-50])
    assert run(copied, "subtype") == 0
    assert contents(folder) == before
    assert run(copied, "subtype", "--dropout", "0.5") == 0
    assert contents(folder)["models/repeat0_fold1.safetensors"] != before["models/repeat0_fold1.safetensors"]


def test_given_sets_are_kept_and_without_test_patients_nothing_is_evaluated(tmp_path, capsys):
    study = make_feature_study(tmp_path / "study", n_patients=24)
    table = pd.read_csv(study.cohort_table)
    tested = table["patient_id"].isin(sorted(table["patient_id"].unique())[-6:])
    table.assign(set=np.where(tested, "test", "train")).to_csv(study.cohort_table, index=False)
    assert run(study, "subtype") == 0
    predicted = pd.read_csv(study.run("subtype", "default") / "predictions.csv")["patient_id"]
    assert set(predicted) == set(table.loc[tested, "patient_id"])
    capsys.readouterr()
    other = make_feature_study(tmp_path / "other", n_patients=6)
    pd.read_csv(other.cohort_table).assign(set="train").to_csv(other.cohort_table, index=False)
    assert run(other, "subtype") == 0
    assert "NOTHING WAS EVALUATED" in capsys.readouterr().out
    folder = other.run("subtype", "default")
    assert read_model(folder / "models" / "repeat0_fold0.safetensors").metadata["classes"] == ["DDLPS", "LMS", "UPS"]
    assert "Nothing was evaluated" in (folder / "report.html").read_text()
    assert len((folder / "predictions.csv").read_text().splitlines()) == 1


def test_patients_left_out_are_listed(copied, capsys):
    table = pd.read_csv(copied.cohort_table)
    table.loc[table["patient_id"] == "P03", "subtype"] = None
    table.to_csv(copied.cohort_table, index=False)
    for path in copied.features(ENCODER).glob("P05-*.h5"):
        path.unlink()
    assert run(copied, "subtype") == 0
    out = capsys.readouterr().out
    assert "left out: P03: no subtype" in out
    assert "left out: P05: none of its slides has features" in out
    page = (copied.run("subtype", "default") / "report.html").read_text()
    assert "P03" in page
    assert "P05" in page


@pytest.mark.parametrize(
    ("change", "task", "message"),
    [
        (lambda t: t.drop(columns="subtype"), "subtype", "needs the column subtype"),
        (lambda t: t.assign(subtype="LMS"), "subtype", "two classes or more, found LMS"),
        (lambda t: t.drop(columns=["time", "event"]), "survival", "needs the column time and event"),
        (lambda t: t.assign(event=[1] + [0] * (len(t) - 1)), "survival", "two events or more, found 1"),
        (lambda t: t.iloc[1:], "subtype", "stand in the splits but not the cohort: P00"),
    ],
)
def test_tables_that_cannot_be_trained_are_named(copied, capsys, change, task, message):
    change(pd.read_csv(copied.cohort_table)).to_csv(copied.cohort_table, index=False)
    assert run(copied, task) == 2
    assert message in capsys.readouterr().err


def test_missing_splits_and_features_name_the_command(copied, capsys):
    shutil.rmtree(copied.features(ENCODER))
    assert run(copied, "subtype") == 2
    assert "features/extract_features.py" in capsys.readouterr().err
    shutil.rmtree(copied.root / "splits")
    assert run(copied, "subtype") == 2
    assert "splits/make_splits.py" in capsys.readouterr().err


def test_features_made_in_two_ways_are_refused_and_damaged_ones_named(copied):
    cohort = read_cohort(copied.cohort_table)
    path = copied.feature_file(ENCODER, "P00-0")
    bag = read_feature_bag(path)
    own = {key: value for key, value in bag.attributes.items() if key not in ("schema", "slide_id", "content_sha256")}
    write_feature_bag(path, type(bag)(**{**vars(bag), "attributes": own | {"stain": "normalised"}}))
    with pytest.raises(StudyError, match=r"made in two ways: stain is 'normalised' in P00-0\.h5 and 'none'"):
        open_bags(copied, cohort, ENCODER)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(StudyError, match="not a complete HDF5 file"):
        open_bags(copied, cohort, ENCODER)


def test_bags_unite_slides_and_keep_to_their_memory(study):
    cohort = read_cohort(study.cohort_table)
    bags, _, missing = open_bags(study, cohort, ENCODER, limit_bytes=2000)
    bag = bags.read("P01")
    assert bag.slide_ids == ("P01-0", "P01-1")
    assert not missing
    parts = [read_feature_bag(study.feature_file(ENCODER, slide)).features for slide in bag.slide_ids]
    assert np.array_equal(bag.tiles, np.concatenate(parts))
    assert np.bincount(bag.slide_of_tile).tolist() == [len(part) for part in parts]
    for patient in bags.patients:
        bags.read(patient)
    assert len(bags._bags) <= 3


def test_where_trains_on_a_part_with_the_same_folds(copied):
    assert run(copied, "survival", "--where", "subtype != 'UPS'", "--name", "part") == 0
    part = pd.read_csv(copied.run("survival", "part") / "predictions.csv")
    whole = pd.read_csv(copied.run("survival", "default") / "predictions.csv")
    folds = whole.set_index(["model", "patient_id"])["fold"]
    assert 0 < part["patient_id"].nunique() < whole["patient_id"].nunique()
    kept = part[["model", "patient_id", "fold"]].itertuples(index=False)
    assert all(folds[model, patient] == fold for model, patient, fold in kept)


def test_survival_of_one_subtype_says_what_small_numbers_do(copied, capsys):
    assert run(copied, "survival", "--where", "subtype == 'LMS'", "--name", "lms") == 0
    assert re.search(r"too few patients for an interval|events are few: the 95 % interval", capsys.readouterr().out)


def test_three_risk_groups_are_parted_by_training_patients_and_reach_report_and_predictions(copied, tmp_path):
    assert run(copied, "survival", "--risk_groups", "tertiles", "--name", "thirds") == 0
    folder = copied.run("survival", "thirds")
    told = metrics(copied, "survival", "thirds")["risk_groups"]
    assert [group["name"] for group in told["groups"]] == ["low risk", "middle risk", "high risk"]
    assert told["parted_by"] == "tertiles"
    table = pd.read_csv(folder / "predictions.csv")
    own = table[table["model"] == "attention"]
    assert [group["n"] for group in told["groups"]] == [(own["risk_group"] == index).sum() for index in range(3)]
    trained = pd.read_csv(folder / "training_follow_up.csv")
    for fold, rows in trained[trained["model"] == "attention"].groupby("fold"):
        cuts = np.quantile(rows["log_hazard"], [1 / 3, 2 / 3])
        tested = own[own["fold"] == fold]
        assert (tested["risk_group"] == (tested["log_hazard"].to_numpy()[:, None] > cuts).sum(axis=1)).all()
    assert "Middle risk" in (page := (folder / "report.html").read_text()) or "middle risk" in page
    flags = ["--model", str(folder / "model.safetensors"), "--features", str(copied.features(ENCODER))]
    assert predict([*flags, "--cohort", str(copied.cohort_table), "--out", str(tmp_path / "out")]) == 0
    said = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert set(said["risk_group"]) <= {"low risk", "middle risk", "high risk"}
    known = said["median_survival"].notna()
    assert (said.loc[known, "median_survival"] > 0).all()
    assert (said["restricted_mean"] > 0).all()
    assert run(copied, "survival", "--risk_groups", "fifths", "--name", "fifths") == 2


def test_a_given_table_of_folds_holds_everyone_even_if_the_first_run_is_of_a_part(tmp_path):
    study = make_feature_study(tmp_path / "study", n_patients=24)
    table = pd.read_csv(study.cohort_table)
    tested = table["patient_id"].isin(sorted(table["patient_id"].unique())[-9:])
    table.assign(set=np.where(tested, "test", "train")).to_csv(study.cohort_table, index=False)
    assert run(study, "subtype", "--where", "subtype != 'LMS'") == 0
    page = (study.run("subtype", "default") / "report.html").read_text()
    assert re.search(r"8 patients, 12 slides not chosen: subtype != .+LMS", page)
    assert run(study, "subtype") == 0


def test_without_inner_validation_the_report_claims_none(copied):
    assert make_splits(["--study", str(copied.root), "--folds", "3", "--val_fraction", "0", "--overwrite", "true"]) == 0
    assert run(copied, "subtype") == 0
    page = (copied.run("subtype", "default") / "report.html").read_text()
    assert "there was no inner validation part" in page
    assert "chosen on the inner validation part" not in page


@pytest.mark.parametrize("task", ["subtype", "survival"])
def test_diverged_training_is_named(copied, capsys, task):
    assert run(copied, task, "--learning_rate", "1e30", "--name", "wild") == 2
    assert "training diverged in epoch" in capsys.readouterr().err


def test_a_dollar_in_a_name_is_a_dollar(copied):
    table = pd.read_csv(copied.cohort_table)
    table.assign(subtype=table["subtype"].replace("LMS", "_d$x^$")).to_csv(copied.cohort_table, index=False)
    assert run(copied, "subtype", "--name", "dollar") == 0
    assert (copied.run("subtype", "dollar") / "figures" / "roc.svg").is_file()
