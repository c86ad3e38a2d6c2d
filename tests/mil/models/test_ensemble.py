import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from common.cohort import read_cohort
from common.failures import StudyError
from features.store.provenance import Provenance
from mil.bags.bags import open_bags
from mil.models.ensemble import class_opinion, hazard_opinion, read_ensemble, write_ensemble
from mil.models.known_patients import known_patients
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import read_run
from mil.train import main as train
from tests.helpers.feature_study import ENCODER
from tests.helpers.trained_runs import FAST


def folder_of(study, task):
    return RunFolder(study.run(task, "default"))


def bags_of(study):
    return open_bags(study, read_cohort(study.cohort_table), ENCODER)[0]


@pytest.fixture(params=["subtype", "survival"])
def task(request):
    return request.param


def test_training_leaves_a_model_that_says_all_a_prediction_needs(trained_study, task):
    record = read_ensemble(folder_of(trained_study, task).model).record
    assert record.task == task
    assert record.encoder["weights_sha256"] == "0"
    assert (record.encoder["tile_um"], record.encoder["tile_px"]) == (256.0, 256)
    assert record.licence == "none"
    assert len(record.folds) == 2
    assert record.cohort.n_patients == 30
    assert record.familiarity.embedding.n_patients == 30
    assert record.familiarity.stain is None  # there are no slides
    if task == "subtype":
        assert record.classes == ("DDLPS", "LMS", "UPS")
        assert record.calibration.n_patients == 30
        assert record.prediction_sets.n_patients == {"DDLPS": 10, "LMS": 10, "UPS": 10}
        assert record.worth["macro_auroc"].value > 0.5
    else:
        assert len(record.survival.times) == 20
        assert all(len(fold.hazard) == 20 for fold in record.folds)
        assert all(fold.scale is not None for fold in record.folds)


def test_no_patient_and_no_slide_stands_in_the_bytes(trained_study, task):
    content = folder_of(trained_study, task).model.read_bytes()
    rows = read_cohort(trained_study.cohort_table).rows
    names = {row["patient_id"] for row in rows} | {row["slide_id"] for row in rows}
    assert len(names) == 75
    assert not [name for name in names if name.encode() in content]
    assert str(trained_study.root).encode() not in content


def test_a_condition_that_names_a_patient_does_not_stand_in_it(trained_study, tmp_path):
    shutil.copytree(trained_study.root, tmp_path / "s")
    flags = ["--study", str(tmp_path / "s"), *FAST, "--name"]
    assert train([*flags, "without", "--where", "patient_id != 'P07'"]) == 0
    assert train([*flags, "two", "--where", "subtype != 'UPS'"]) == 0
    read = {name: tmp_path / "s/runs/subtype" / name / "model.safetensors" for name in ("without", "two")}
    assert b"P07" not in read["without"].read_bytes()
    assert "names patients" in read_ensemble(read["without"]).record.cohort.restriction
    assert read_ensemble(read["two"]).record.cohort.restriction == "subtype != 'UPS'"


def test_every_head_says_what_its_fold_said_of_those_it_tested(trained_study, task):
    folder = folder_of(trained_study, task)
    model, run, bags = read_ensemble(folder.model), read_run(folder), bags_of(trained_study)
    own = run.predictions[run.predictions["model"] == "attention"]
    for place, fold in enumerate(model.record.folds):
        rows = own[(own["repeat"] == fold.repeat) & (own["fold"] == fold.fold)]
        assert len(rows) == 15
        for row in rows.to_dict("records"):
            outputs = model.outputs(bags.read(row["patient_id"]).tiles)[place]
            if task == "survival":
                assert outputs[0] == pytest.approx(row["log_hazard"], abs=1e-6)
            else:
                shares = np.exp(outputs) / np.exp(outputs).sum()
                assert shares == pytest.approx([row[f"p_{name}"] for name in model.record.classes], abs=1e-6)


def test_the_same_run_makes_the_same_bytes_and_they_read_back_alike(trained_study, task, tmp_path):
    path = folder_of(trained_study, task).model
    write_ensemble(tmp_path / "again.safetensors", read_ensemble(path))
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    before = path.read_bytes()
    assert train(["--study", str(trained_study.root), "--task", task, *FAST]) == 0
    assert path.read_bytes() == before


def test_a_finished_run_gets_its_model_by_evaluation(trained_study, task, tmp_path):
    from mil.evaluate import main as evaluate

    shutil.copytree(trained_study.root, tmp_path / "s")
    path = tmp_path / "s" / "runs" / task / "default" / "model.safetensors"
    before = path.read_bytes()
    path.unlink()
    flags = ["--study", str(tmp_path / "s"), "--task", task, "--bootstrap", "100"]
    assert evaluate(flags) == 0
    assert not path.exists()
    assert evaluate([*flags, "--model", "true"]) == 0
    assert path.read_bytes() == before


def test_features_made_otherwise_are_refused_with_every_difference(trained_study):
    model = read_ensemble(folder_of(trained_study, "subtype").model)
    made = Provenance.of_record(model.record.encoder)
    model.check_features(made)
    for name, value in {
        "encoder": "uni", "weights_sha256": "1" * 64, "tile_um": 128.0, "stain_reference": "other", "transform": "resize",
        "n_features": 7,
    }.items():  # fmt: skip
        with pytest.raises(StudyError, match=f"{name} .* and {value!r} here"):
            model.check_features(replace(made, **{name: value}))
    with pytest.raises(StudyError, match=r"encoder .*; tile_um"):
        model.check_features(replace(made, encoder="uni", tile_um=128.0))


def test_a_model_of_one_fold_is_told_from_that_of_a_run(trained_study):
    fold = folder_of(trained_study, "subtype").models / "repeat0_fold0.safetensors"
    with pytest.raises(StudyError, match="one fold's model"):
        read_ensemble(fold)


def test_calibrated_probabilities_and_sets_come_from_mean_logits():
    from mil.models.record import Calibration, PredictionSets

    record = _record(
        calibration=Calibration(temperature=2.0, n_patients=9),
        prediction_sets=PredictionSets(
            coverage=0.9, thresholds={"A": 0.6, "B": 0.9, "C": None}, n_patients={"A": 9, "B": 9, "C": 2}
        ),
    )
    outputs = np.array([[3.0, 1.0, 0.0], [5.0, 7.0, 0.0]])
    opinion = class_opinion(record, outputs)
    centred = outputs - outputs.mean(axis=1, keepdims=True)
    powers = np.exp(centred.mean(axis=0) / 2)
    assert opinion.probabilities == pytest.approx(powers / powers.sum())
    assert opinion.in_set.tolist() == [True, True, True]  # C has too few patients to be ruled out
    assert not opinion.is_told
    sure = class_opinion(replace(record, prediction_sets=replace(
        record.prediction_sets, thresholds={"A": 0.6, "B": 0.3, "C": 0.3})), outputs)  # fmt: skip
    assert sure.in_set.tolist() == [True, False, False]
    assert sure.is_told
    assert class_opinion(replace(record, prediction_sets=None), outputs).in_set is None


def test_survival_is_the_mean_over_heads_each_on_its_own_scale():
    from mil.models.record import SurvivalGrid
    from mil.runs.facts import ScaleFacts

    fold = {"n_train": 1, "sha256": "", "head": {}}
    from mil.models.record import FoldModel

    folds = (
        FoldModel(
            repeat=0, fold=0, scale=ScaleFacts(mean=5.0, sd=2.0, cutoffs=(5.5,)), hazard_shift=5.0, hazard_slope=0.5,
            hazard=(0.1, 0.4), **fold,
        ),
        FoldModel(
            repeat=0, fold=1, scale=ScaleFacts(mean=-1.0, sd=1.0, cutoffs=(0.0,)), hazard_shift=-1.0,
            hazard=(0.2, 0.2), **fold,
        ),
    )  # fmt: skip
    record = _record(classes=(), folds=folds, survival=SurvivalGrid(times=(1.0, 2.0), unit="months"))
    opinion = hazard_opinion(record, np.array([[7.0], [-2.0]]))
    assert opinion.log_hazard == pytest.approx((2 - 1) / 2)
    assert opinion.score == pytest.approx((1 - 1) / 2)
    assert (opinion.group, opinion.group_name) == (0, "low risk")  # one of two, and a score of 0
    wanted = [
        (np.exp(-0.1 * np.exp(0.5 * 2)) + np.exp(-0.2 * np.exp(-1))) / 2,
        (np.exp(-0.4 * np.exp(0.5 * 2)) + np.exp(-0.2 * np.exp(-1))) / 2,
    ]
    assert opinion.survival == pytest.approx(wanted)
    a, b = wanted
    assert opinion.median is None  # 0.63 at the end of the grid
    assert opinion.restricted_mean == pytest.approx((1 + a) / 2 + (a + b) / 2)
    in_thirds = replace(record, folds=tuple(replace(own, scale=replace(own.scale, cutoffs=cuts)) for own, cuts in zip(
        folds, ((5.5, 6.5), (-3.0, -1.0)), strict=True)))  # fmt: skip
    opinion = hazard_opinion(in_thirds, np.array([[7.0], [-2.0]]))
    assert (opinion.group, opinion.group_name) == (1, "middle risk")  # 2 and 1, and a score of 0


def test_survival_of_a_head_equals_breslow_of_its_training_patients(trained_study):
    folder = folder_of(trained_study, "survival")
    model, run = read_ensemble(folder.model), read_run(folder)
    fold, known = model.record.folds[0], run.follow_up[run.follow_up["fold"] == 0]
    risk = fold.hazard_slope * (known["log_hazard"].to_numpy(float) - fold.hazard_shift)
    assert 0 <= fold.hazard_slope <= 1
    for moment, hazard in zip(model.record.survival.times, fold.hazard, strict=True):
        total = 0.0
        for time, event in zip(known["time"], known["event"], strict=True):
            if event and time <= moment:
                total += 1 / np.exp(risk[(known["time"] >= time).to_numpy()]).sum()
        assert hazard == pytest.approx(total)


def test_the_run_beside_says_who_trained_which_head(trained_study, tmp_path):
    path = folder_of(trained_study, "subtype").model
    model = read_ensemble(path)
    known = known_patients(path, model)
    assert len(known.patients) == 30
    assert known.match("P03", ()) == "P03"
    assert known.match("P03-1", ("P03-1",)) == "P03"
    assert known.match("new", ("new",)) is None
    table = pd.read_csv(folder_of(trained_study, "subtype").predictions)
    tested = table[(table["patient_id"] == "P03") & (table["model"] == "attention")]["fold"].tolist()
    assert [model.record.folds[place].fold for place in known.unseen_by("P03")] == tested
    shutil.copy(path, tmp_path / "m.safetensors")
    assert not known_patients(tmp_path / "m.safetensors", model).is_known


def test_a_model_beside_another_training_is_refused(trained_study, tmp_path):
    run = tmp_path / "runs" / "subtype" / "default"
    shutil.copytree(folder_of(trained_study, "subtype").root, run)
    model = read_ensemble(run / "model.safetensors")
    folds = tuple(replace(fold, sha256="0") for fold in model.record.folds)
    other = replace(model, record=replace(model.record, folds=folds))
    write_ensemble(run / "model.safetensors", other)
    with pytest.raises(StudyError, match="trained anew since"):
        known_patients(run / "model.safetensors", other)


def _record(**changes):
    from mil.models.record import CohortSummary, EnsembleRecord, FamiliarityFacts

    known = {
        "task": "t", "classes": ("A", "B", "C"), "unit": "patient", "encoder": {}, "licence": "", "tiling": None,
        "stain_reference": None, "folds": (), "calibration": None, "prediction_sets": None, "survival": None,
        "cohort": CohortSummary(
            n_patients=1, n_slides=1, n_tiles=1, class_counts={}, n_events=0, is_synthetic=True, restriction="", source="",
            date="",
        ),
        "familiarity": FamiliarityFacts(embedding=None, stain=None, least_tiles=1, most_tiles=1), "worth": {},
        "settings": {}, "versions": {},
    }  # fmt: skip
    return EnsembleRecord(**known | changes)
