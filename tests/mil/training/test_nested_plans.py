"""Parts of the training patients: nested, stratified, seeded, the test part untouched; and what a whole run leaves."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from common.failures import StudyError
from mil.runs.run_folder import RunFolder
from mil.train import main as train
from mil.training.nested_plans import drop_other_shares, nested_plan, parse_shares
from splits.fold_plan import FoldPlan
from splits.make_splits import main as make_splits
from tests.helpers.feature_study import make_feature_study

FAST = ["--epochs", "4", "--hidden", "8", "--attention", "4", "--bootstrap", "100", "--threads", "1"]


def plan(n=40):
    patients = tuple(f"p{index:02d}" for index in range(n))
    labels = {patient: int(index % 4 == 0) for index, patient in enumerate(patients)}
    return FoldPlan(repeat=0, fold=1, train=patients[:-8], val=patients[-8:-4], test=patients[-4:]), labels


def test_smaller_shares_are_parts_of_larger_ones_with_every_class():
    whole, labels = plan()
    parts = [nested_plan(whole, labels, share, seed=3) for share in (0.01, 0.25, 0.5, 0.75)]
    for small, large in zip(parts, [*parts[1:], whole], strict=True):
        assert set(small.train) < set(large.train)
        assert (small.val, small.test) == (whole.val, whole.test)
    assert [len(part.train) for part in parts] == [2, 8, 16, 24]
    for part in parts[1:]:
        share = np.mean([labels[patient] for patient in part.train])
        assert share == 0.25
    assert nested_plan(whole, labels, 0.5, seed=4) != parts[2]
    assert nested_plan(whole, labels, 0.5, seed=3) == parts[2]


@pytest.mark.parametrize("text", ["half", "0.5,1.0", "0", ","])
def test_shares_that_are_none_are_refused(text):
    with pytest.raises(StudyError, match="wants shares"):
        parse_shares(text)


def test_shares_are_read():
    assert parse_shares("0.5, 0.25") == (0.25, 0.5)
    assert parse_shares(None) == ()


@pytest.mark.slow
def test_a_run_with_a_curve_covariates_and_lost_slides_reports_them(tmp_path, capsys):
    study = make_feature_study(tmp_path / "study", n_patients=30)
    rng = np.random.default_rng(0)
    table = pd.read_csv(study.cohort_table)
    numbers = {patient: index for index, patient in enumerate(sorted(table["patient_id"].unique()))}
    place = table["patient_id"].map(numbers)
    table["site"] = np.where(place % 2 == 0, "<i>A</i>", "B")
    table["age"] = rng.integers(30, 90, len(numbers))[place]
    table.loc[place == 3, "age"] = None
    table["grade"] = np.array(["low", "high"])[rng.integers(0, 2, len(numbers))[place]]
    table.to_csv(study.cohort_table, index=False)
    study.feature_file("efficientnet_lite0", "P05-0").unlink()
    study.tiles.mkdir(exist_ok=True)
    (study.tiles / "status.csv").write_text("slide_id,step,state,reason\nP05-0,tile_slides,failed,no tissue found\n")
    assert make_splits(["--study", str(study.root), "--folds", "3"]) == 0
    flags = ["--study", str(study.root), "--task", "subtype", *FAST]
    assert train([*flags, "--learning_curve", "0.5"]) == 0
    out = capsys.readouterr().out
    assert "clinical" in out
    folder = study.run("subtype", "default")
    found = json.loads((folder / "metrics.json").read_text())
    assert [point["share"] for point in found["learning_curve"]] == [0.5, 1.0]
    assert found["learning_curve"][1]["attention"] == found["attention"]["macro_auroc"]
    assert len(found["calibration"]["temperatures"]) == 3
    assert (
        found["conformal"]["by_class"]["always_included"] == 9
    )  # three or so validation patients a class: none ruled out
    assert found["conformal"]["by_class"]["covered"]["value"] == 1.0
    groups = {(row["column"], row["group"]): row for row in found["subgroups"]}
    assert groups["site", "B"]["n"] == 15
    assert groups["age", "above the training median"]["n"] + groups["age", "up to the training median"]["n"] == 29
    medians = [fold["covariate_medians"]["age"] for fold in json.loads((folder / "run.json").read_text())["folds"]]
    assert all(30 <= median <= 90 for median in medians)
    page = (folder / "report.html").read_text()
    for part in (
        "no tissue found",
        "Learning curve",
        "Clinical baseline from: age, grade",
        "&lt;i&gt;A&lt;/i&gt;",
        "1 slide lost in tiling",
    ):
        assert part in page
    assert "<i>A" not in page
    held = pd.read_csv(folder / "validation_predictions.csv")
    tested = pd.read_csv(folder / "predictions.csv")
    assert set(tested["model"]) == {"attention", "mean_pool", "clinical", "prior"}
    for fold, rows in held.groupby("fold"):
        assert not set(rows["patient_id"]) & set(tested.loc[tested["fold"] == fold, "patient_id"])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert train([*flags, "--learning_curve", "0.5"]) == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert train(flags) == 0
    assert not (folder / "learning_curve").exists()
    shutil.rmtree(folder)


def test_shares_that_are_no_longer_wanted_go_and_nothing_else(tmp_path):
    folder = RunFolder(tmp_path)
    for share in (0.25, 0.5):
        own = folder.share(share)
        own.models.mkdir(parents=True)
        own.predictions.write_text("x")
        (own.models / "repeat0_fold0.safetensors").write_text("x")
    (folder.learning_curve / "mine").mkdir()
    drop_other_shares(folder, (0.5,))
    assert sorted(path.name for path in folder.learning_curve.iterdir()) == ["0.5", "mine"]
    assert (
        folder.share(0.5).predictions.is_file() and (folder.share(0.5).models / "repeat0_fold0.safetensors").is_file()
    )
    (folder.share(0.5).root / "note.txt").write_text("mine")
    drop_other_shares(folder, ())
    assert [path.name for path in folder.share(0.5).root.iterdir()] == ["note.txt"]
