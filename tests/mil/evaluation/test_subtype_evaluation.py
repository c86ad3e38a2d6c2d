"""What a subtype run's evaluation takes from its inner validation part, fold by fold; chance; subgroups too small."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pytest import approx
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, f1_score, log_loss

from mil.evaluation.evaluation import metrics_of_run
from mil.evaluation.subtype_certainty import calibrated_predictions, temperatures
from mil.evaluation.subtype_evaluation import chance_metrics
from mil.metrics import conformal
from mil.metrics.calibration import fit_temperature, scale_temperature
from mil.runs.facts import CovariateFacts
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import read_run
from mil.tasks.registry import TASKS
from tests.helpers.run_folders import FACTS, FOLDS, run_of, write_facts

CLASSES = ["A", "B", "C"]
COLUMNS = ["p_A", "p_B", "p_C"]


def rows_of(rng, fold, n, prefix, *, sharpness):
    labels = np.arange(n) % 3
    logits = sharpness * (rng.normal(size=(n, 3)) + 1.0 * np.eye(3)[labels])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = [f"{prefix}{fold}{index:03d}" for index in range(n)]
    frame = pd.DataFrame(p, columns=COLUMNS)
    return frame.assign(repeat=0, fold=fold, patient_id=names, model="attention", truth=[CLASSES[k] for k in labels])


@pytest.fixture
def run(tmp_path):
    """Two folds: the second's model is far too sure of itself."""
    rng = np.random.default_rng(0)
    tested = pd.concat([rows_of(rng, fold, 60, "p", sharpness=1 + 3 * fold) for fold in (0, 1)], ignore_index=True)
    held = pd.concat([rows_of(rng, fold, 45, "v", sharpness=1 + 3 * fold) for fold in (0, 1)], ignore_index=True)
    prior = tested.assign(model="prior")
    prior[COLUMNS] = np.where(tested[["fold"]] == 0, [0.5, 0.3, 0.2], [0.2, 0.5, 0.3])
    patients = tested[["patient_id"]].assign(
        site=["big"] * 112 + ["small"] * 8, age=np.arange(120.0), grade=["low", "high"] * 60
    )
    folds = tuple(replace(fold, covariate_medians={"age": 30.0 + 60 * fold.fold}) for fold in FOLDS)
    facts = replace(FACTS, classes=tuple(CLASSES), folds=folds)
    return run_of(
        tmp_path, pd.concat([tested, prior], ignore_index=True), facts=facts, validation=held, patients=patients
    )


def metrics_of(run):
    return metrics_of_run(run, TASKS["subtype"].evaluation, n_bootstrap=100, seed=0)


def test_each_fold_is_scaled_by_the_temperature_of_its_own_validation_part(run):
    fitted = temperatures(run)
    assert fitted[0, 0][0] < 1.6 < fitted[0, 1][0]
    expected = []
    for fold in (0, 1):
        held = run.validation[run.validation["fold"] == fold]
        own = run.predictions[(run.predictions["fold"] == fold) & (run.predictions["model"] == "attention")]
        temperature = fit_temperature(held[COLUMNS].to_numpy(), run.codes(held["truth"]))
        assert fitted[0, fold] == (approx(temperature), 45)
        expected.append(scale_temperature(own[COLUMNS].to_numpy(), temperature))
    assert calibrated_predictions(run)[COLUMNS].to_numpy() == approx(np.concatenate(expected), abs=1e-12)
    metrics = metrics_of(run)
    truth = run.predictions[run.predictions["model"] == "attention"]["truth"]
    scaled = log_loss(truth, np.concatenate(expected), labels=CLASSES)
    assert metrics.calibration.calibrated.log_loss.value == approx(scaled, abs=1e-12)
    assert scaled < metrics.attention["log_loss"].value


def test_sets_take_their_thresholds_from_their_own_fold(run):
    by_class = metrics_of(run).conformal.by_class
    covered, sizes = [], []
    for fold in (0, 1):
        held = run.validation[run.validation["fold"] == fold]
        own = run.predictions[(run.predictions["fold"] == fold) & (run.predictions["model"] == "attention")]
        truth, labels = run.codes(own["truth"]), run.codes(held["truth"])
        for patient, label in zip(own[COLUMNS].to_numpy(), truth, strict=True):
            kept = []
            for k in range(3):
                scores = np.sort(1 - held[COLUMNS].to_numpy()[labels == k, k])
                kept.append(1 - patient[k] <= scores[14])  # ceil(16 * 0.9) = 15th of 15
            covered.append(kept[label])
            sizes.append(sum(kept))
    assert conformal.threshold(np.arange(15.0), 0.9) == 14
    assert by_class.covered.value == approx(np.mean(covered))
    assert by_class.size.value == approx(np.mean(sizes))
    assert by_class.always_included == 0


def test_e8_chance_accuracy_is_that_of_the_largest_class_wherever_the_training_patients_come_from():
    """Whole sites are tested: the most frequent class in training is the rarest in the test part."""
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    prior = np.tile([0.1, 0.2, 0.7], (100, 1))
    found = chance_metrics(prior, labels, 3)
    named = np.zeros(100, dtype=int)
    assert found["accuracy"] == 0.6
    assert found["macro_f1"] == approx(f1_score(labels, named, average="macro", zero_division=0))
    assert found["weighted_f1"] == approx(f1_score(labels, named, average="weighted", zero_division=0))
    assert found["balanced_accuracy"] == approx(balanced_accuracy_score(labels, named))
    assert found["log_loss"] == approx(log_loss(labels, prior))
    assert {name: found[name] for name in ("accuracy", "macro_f1")}.items() <= chance_metrics(None, labels, 3).items()


def test_chance_is_what_class_shares_reach(run):
    chance = metrics_of(run).chance
    prior = run.predictions[run.predictions["model"] == "prior"]
    p, truth = prior[COLUMNS].to_numpy(), prior["truth"]
    assert chance["log_loss"] == approx(log_loss(truth, p, labels=CLASSES), abs=1e-12)
    assert chance["brier"] == approx(brier_score_loss(truth, p, labels=CLASSES, scale_by_half=False), abs=1e-12)
    assert chance["accuracy"] == approx(truth.value_counts(normalize=True).max())
    assert (chance["macro_auroc"], chance["balanced_accuracy"]) == (0.5, 1 / 3)


def test_without_validation_nothing_is_scaled_and_no_sets_are_made(run):
    without = replace(run, validation=run.validation.iloc[:0])
    metrics = metrics_of(without)
    assert metrics.calibration.calibrated is None
    assert metrics.conformal is None


def test_subgroups_are_parted_at_the_medians_of_their_fold_and_small_ones_say_so(run):
    rows = {(row.column, row.group): row for row in metrics_of(run).subgroups}
    assert rows["site", "small"].metrics is None
    assert "too few" in rows["site", "small"].why
    assert rows["site", "big"].metrics["macro_auroc"].low is not None
    # fold 0 holds ages 0 to 59, cut at 30; fold 1 ages 60 to 119, cut at 90
    assert rows["age", "above the training median"].n == 29 + 29
    assert rows["age", "up to the training median"].n == 31 + 31
    assert rows["grade", "low"].n == 60


def test_one_covariate_alone_has_subgroups_too(run):
    alone = replace(run, patients=run.patients[["patient_id", "grade"]])
    assert {row.group for row in metrics_of(alone).subgroups} == {"low", "high"}


def test_sites_that_look_like_numbers_stay_apart(tmp_path):
    folds = (replace(FOLDS[0], covariate_medians={"age": 3.0}),)
    facts = replace(FACTS, folds=folds, covariates=CovariateFacts(used=("age", "code"), left_out={}))
    (tmp_path / "predictions.csv").write_text("repeat,fold,patient_id,model,truth\n0,0,a,attention,A\n")
    (tmp_path / "patients.csv").write_text("patient_id,site,age,code\na,01,5,1\nb,1,6,01\n")
    write_facts(tmp_path, facts)
    patients = read_run(RunFolder(tmp_path)).patients
    assert patients["site"].tolist() == ["01", "1"]
    assert patients["code"].tolist() == ["1", "01"]
    assert patients["age"].tolist() == [5, 6]
