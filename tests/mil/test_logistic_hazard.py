"""A whole run by --loss logistic_hazard: trained, resumed, evaluated, reported, its model used and explained."""

import itertools
import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
from pytest import approx

from common.study import Study
from mil.evaluate import main as evaluate
from mil.evaluation.survival_parts.predicted_hazards import cumulative_hazards
from mil.explain import main as explain
from mil.explanation.map_store import read_slide_map
from mil.models.ensemble import hazard_opinion, read_ensemble
from mil.predict import main as predict
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import by_fold, read_run
from mil.train import main as train
from mil.viewer.curves import survival_json
from splits.make_splits import main as make_splits
from tests.helpers.feature_study import ENCODER, make_feature_study
from tests.helpers.trained_runs import FAST

pytestmark = pytest.mark.slow
FLAGS = ["--task", "survival", "--loss", "logistic_hazard", "--intervals", "4", "--cross_fit", "2", *FAST]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    study = make_feature_study(tmp_path_factory.mktemp("intervals") / "study", n_patients=40)
    assert make_splits(["--study", str(study.root), "--folds", "2"]) == 0
    table = pd.read_csv(study.cohort_table)
    own = table["patient_id"] == table["patient_id"].iloc[-1]
    table.loc[own, ["time", "event"]] = [3, 0]  # one fold has an event less than the other
    table.to_csv(study.cohort_table, index=False)
    assert train(["--study", str(study.root), *FLAGS]) == 0
    return study


@pytest.fixture
def study(made, tmp_path):
    shutil.copytree(made.root, tmp_path / "study")
    return Study(tmp_path / "study")


def folder_of(study):
    return RunFolder(study.run("survival", "default"))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def survival_by_hand(log_odds, ends, moment):
    """The product of 1 - hazard, with a constant rate in the interval that the moment lies in."""
    survival, start = 1.0, 0.0
    for odds, end in zip(log_odds, ends, strict=True):
        left = 1 - 1 / (1 + math.exp(-odds))
        if moment <= start:
            break
        survival *= left ** min(1.0, (moment - start) / (end - start))
        start = end
    return survival


def test_intervals_stand_in_the_records_and_are_of_the_training_patients_of_each_fold(made):
    run = read_run(folder_of(made))
    assert len(run.facts.folds) == 2
    for fold in run.facts.folds:
        known = run.follow_up[run.follow_up["fold"] == fold.fold]
        ends = fold.scale.intervals.ends
        assert set(ends) <= set(known["time"][known["event"] == 1])
        assert ends[-1] == known["time"][known["event"] == 1].max()
        assert len(ends) <= 4
        record = json.loads((folder_of(made).models / f"repeat0_fold{fold.fold}.json").read_text())
        assert record["scale"]["intervals"]["ends"] == list(ends)
    model = read_ensemble(folder_of(made).model)
    assert [own.scale.intervals for own in model.record.folds] == [own.scale.intervals for own in run.facts.folds]
    assert all(own.hazard == () and own.hazard_shift is None for own in model.record.folds)


def test_survival_of_the_evaluation_is_the_product_of_the_table_and_knows_no_baseline(made):
    run = read_run(folder_of(made))
    moments = np.array([1.0, 4.0, 11.0, 200.0])
    for key, rows in by_fold(run.predictions, "attention"):
        ends = next(fold.scale.intervals.ends for fold in run.facts.folds if fold.fold == key[1])
        empty = run.follow_up.iloc[:0]  # no training patient is looked at
        found = np.exp(-cumulative_hazards(run, key, empty, rows, moments))
        for (_, row), own in zip(rows.iterrows(), found, strict=True):
            log_odds = [float(row[f"log_odds_{k}"]) for k in range(1, len(ends) + 1)]
            assert own == approx([survival_by_hand(log_odds, ends, moment) for moment in moments])
    others = run.predictions[run.predictions["model"] != "attention"]
    assert set(others["model"]) >= {"mean_pool", "combined"}
    assert (others.filter(like="log_odds_").astype(str).isin(["", "nan"])).all(axis=None)
    metrics = json.loads((folder_of(made).root / "metrics.json").read_text())
    assert metrics["over_time"]["integrated_brier"]["value"] > 0
    assert metrics["parts"]["n_intervals"] == [len(fold.scale.intervals.ends) for fold in run.facts.folds]
    assert metrics["parts"]["calibration"]
    patient = run.predictions["patient_id"].iloc[0]
    curve = survival_json(run, patient)["survival"]
    assert curve[0] == 1
    assert all(later <= earlier for earlier, later in itertools.pairwise(curve))


def test_the_report_and_the_audit_say_what_was_learnt_of_whom(made):
    page = (folder_of(made).root / "report.html").read_text()
    assert "Probabilities come from the heads themselves, and from no baseline" in page
    assert "Breslow" not in page
    assert "mil.survival.discrete_hazard.intervals_of" in page
    facts = json.loads((folder_of(made).root / "run.json").read_text())
    assert (facts["settings"]["loss"], facts["settings"]["intervals"]) == ("logistic_hazard", 4)
    assert "--loss logistic_hazard" in facts["command"]


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(study):
    wanted = contents(study.root / "runs")
    folder = folder_of(study)
    (folder.models / "repeat0_fold1.json").unlink()
    folder.model.unlink()
    kept = (folder.models / "repeat0_fold0.json").stat().st_mtime_ns
    assert train(["--study", str(study.root), *FLAGS]) == 0
    assert contents(study.root / "runs") == wanted
    assert (folder.models / "repeat0_fold0.json").stat().st_mtime_ns == kept
    assert evaluate(["--study", str(study.root), "--task", "survival", "--bootstrap", "100"]) == 0
    assert contents(study.root / "runs") == wanted


def test_a_table_that_lacks_a_log_odds_is_refused_by_name(study):
    run = read_run(folder_of(study))
    (key, rows), *_ = by_fold(run.predictions, "attention")
    with pytest.raises(
        ValueError, match=r"repeat 0, fold 0 has \d intervals of time, and a prediction lacks one of log_odds_1"
    ):
        cumulative_hazards(run, key, run.follow_up, rows.assign(log_odds_1=""), np.array([1.0]))
    with pytest.raises(ValueError, match="lacks one of log_odds_1"):
        cumulative_hazards(run, key, run.follow_up, rows.drop(columns="log_odds_1"), np.array([1.0]))


def test_the_model_says_of_the_runs_own_patients_what_the_run_said(made, tmp_path):
    flags = ["--features", str(made.features(ENCODER)), "--cohort", str(made.cohort_table), "--bootstrap", "100"]
    model = folder_of(made).model
    assert predict(["--model", str(model), "--out", str(tmp_path), *flags]) == 0
    said = json.loads((tmp_path / "predictions.json").read_text())
    run = read_run(folder_of(made))
    own = run.predictions[run.predictions["model"] == "attention"].set_index("patient_id")
    for patient in said["patients"]:
        row, unseen = own.loc[patient["patient_id"]], patient["by_unseen_heads"]
        scale = run.facts.folds[int(row["fold"])].scale
        assert unseen["score"] == approx(row["score"], abs=1e-5)
        assert unseen["log_hazard"] == approx(row["log_hazard"] - scale.mean, abs=1e-5)
        assert (unseen["risk_group"] == "high risk") == bool(row["risk_group"])
        log_odds = [float(row[f"log_odds_{k}"]) for k in range(1, len(scale.intervals.ends) + 1)]
        wanted = [survival_by_hand(log_odds, scale.intervals.ends, moment) for moment in said["times"]]
        assert unseen["survival"] == approx(wanted, abs=1e-5)
        assert list(patient["outputs"]) == ["log_odds_ratio"]
        told = np.mean([fold["outputs"]["log_odds_ratio"] for fold in patient["folds"]])
        value, base = (patient["outputs"]["log_odds_ratio"][part] for part in ("value", "base"))
        assert value == approx(told, abs=1e-5)
        total = sum(slide["contributions"]["log_odds_ratio"] for slide in patient["slides"])
        assert base + total == approx(value, abs=1e-6)
    table = pd.read_csv(tmp_path / "predictions.csv")
    assert table["restricted_mean"].notna().all()
    page = (tmp_path / "patients" / "0001.html").read_text()
    assert "Log mean cumulative hazard" in page
    assert "predicted survival over time" in page


def test_heads_of_different_intervals_speak_together(made):
    model = read_ensemble(folder_of(made).model)
    first = model.record.folds[0]
    base = np.array(first.scale.intervals.base)
    outputs = np.full((2, 4), np.nan)
    for row, fold in zip(outputs, model.record.folds, strict=True):
        row[: len(fold.scale.intervals.ends)] = 0.0
    opinion = hazard_opinion(model.record, outputs)
    assert np.isfinite(opinion.survival).all()
    by_hand = [
        np.mean([survival_by_hand(f.scale.intervals.base, f.scale.intervals.ends, t) for f in model.record.folds])
        for t in model.record.survival.times
    ]
    assert opinion.survival == approx(by_hand)
    assert model.told(outputs).tolist() == [[0.0], [0.0]]
    assert len(base) == len(first.scale.intervals.ends)


def test_contributions_are_exact_and_their_page_says_of_what(made, tmp_path):
    assert explain(["--study", str(made.root), "--task", "survival", "--out", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "contributions.csv")
    assert set(table["output"]) == {"log_odds_ratio"}
    assert set(table["methods"]) == {"exact"}
    assert table["patient_residual"].abs().max() < 1e-9
    assert (table["level"] == 0).all()
    run = read_run(folder_of(made))
    own = run.predictions[run.predictions["model"] == "attention"].set_index("patient_id")
    for patient, rows in table.groupby("patient_id"):
        row = own.loc[patient]
        known = run.facts.folds[int(row["fold"])].scale.intervals
        log_odds = np.array([float(row[f"log_odds_{k}"]) for k in range(1, len(known.ends) + 1)])
        total = rows["contribution"].sum() + rows["patient_base"].iloc[0]
        assert total == approx((log_odds - known.base).mean(), abs=1e-5)
        (slide, *_) = rows["slide_id"]
        assert read_slide_map(tmp_path / "tiles" / f"{slide}.h5").outputs == ("log_odds_ratio",)
    page = (tmp_path / "index.html").read_text()
    assert "log-odds ratio of the event to the training cohort" in page
    assert json.loads((tmp_path / "faithfulness.json").read_text())["n_patients"] == 40


def test_a_run_by_cox_is_as_it_was(made):
    flags = [each for each in FLAGS if each not in ("--loss", "logistic_hazard", "--intervals", "4")]
    assert train(["--study", str(made.root), *flags, "--name", "cox"]) == 0
    folder = RunFolder(made.run("survival", "cox"))
    assert "intervals" not in json.loads((folder.models / "repeat0_fold0.json").read_text())["scale"]
    assert "log_odds" not in folder.predictions.read_text().split("\n", 1)[0]
    assert "n_intervals" not in (folder.root / "metrics.json").read_text()
    assert "Breslow" in (folder.root / "report.html").read_text()
