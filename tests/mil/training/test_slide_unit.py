"""A label a slide: bags are slides, folds keep patients whole, intervals draw patients."""

import json

import numpy as np
import pandas as pd
import pytest

from common.cohort import read_cohort
from common.failures import StudyError
from common.study import Study
from mil.evaluation.clusters import patient_strata, plan_of_bags
from mil.metrics.bootstrap import plan_resampling, resample
from mil.metrics.support import class_support
from mil.train import main as train
from mil.training.preparation import prepare
from mil.training.training_settings import TrainConfig
from splits.make_splits import main as make_splits
from tests.helpers.feature_study import CLASSES, ENCODER, make_feature_study

FAST = ["--epochs", "5", "--hidden", "16", "--attention", "8", "--bootstrap", "100", "--threads", "1"]


def two_lesions(root, *, unit="unit: slide\n", n_patients=24):
    """Patients of two slides; those of every fourth patient have different subtypes."""
    study = make_feature_study(root, n_patients=n_patients)
    table = pd.read_csv(study.cohort_table)
    numbers = table["patient_id"].str[1:].astype(int)
    second = table["slide_id"].str.endswith("-1") & (numbers % 4 == 1)
    other = {name: CLASSES[(index + 1) % 3] for index, name in enumerate(CLASSES)}
    table.loc[second, "subtype"] = table.loc[second, "subtype"].map(other)
    table.to_csv(study.cohort_table, index=False)
    (root / "study.yaml").write_text(unit)
    return study, table


def test_two_subtypes_of_one_patient_are_refused_with_the_line_that_allows_them(tmp_path):
    study, _ = two_lesions(tmp_path / "study", unit="")
    with pytest.raises(
        StudyError, match=r"patient P\d+ has two values of subtype: .* write 'unit: slide' in study.yaml"
    ):
        read_cohort(study.cohort_table)
    (study.root / "study.yaml").write_text("unit: bag\n")
    with pytest.raises(StudyError, match="unit is patient or slide, not 'bag'"):
        read_cohort(study.cohort_table)
    (study.root / "study.yaml").write_text("unit: slide\n")
    assert len(read_cohort(study.cohort_table).patients_of_several_subtypes) == 6


def test_time_event_site_and_set_stay_the_patients_own(tmp_path):
    (tmp_path / "study.yaml").write_text("unit: slide\n")
    table = pd.DataFrame(
        {"patient_id": ["p", "p"], "slide_id": ["a", "b"], "subtype": ["A", "B"], "set": ["train", "test"]}
    )
    table.to_csv(tmp_path / "cohort.csv", index=False)
    with pytest.raises(StudyError, match="patient p has two values of set"):
        read_cohort(tmp_path / "cohort.csv")


def test_survival_is_of_patients(tmp_path):
    study, _ = two_lesions(tmp_path / "study")
    assert make_splits(["--study", str(study.root), "--folds", "2"]) == 0
    from mil.tasks.registry import task_named

    with pytest.raises(StudyError, match="'unit: slide', and --task survival predicts time and event"):
        prepare(study, TrainConfig(task="survival"), task_named("survival").training)


def test_a_patient_has_the_rarest_of_its_labels():
    labels = np.array([0, 0, 0, 1, 2, 1])
    patient_of = np.array([0, 1, 2, 2, 3, 3])  # class 0: three patients, 1: two, 2: one
    assert patient_strata(labels, patient_of).tolist() == [0, 0, 1, 2]


def test_bags_are_drawn_with_their_patient_and_left_out_with_it():
    labels, patient_of = np.array([0, 1, 0, 1, 0, 1, 0, 0]), np.array([0, 0, 1, 1, 2, 3, 4, 4])
    plan = plan_of_bags(labels, patient_of, 50, np.random.default_rng(0))
    for one, other in ((0, 1), (2, 3), (6, 7)):
        assert (plan.counts[one] == plan.counts[other]).all()
        assert plan.group_of[one] == plan.group_of[other]
    alone = plan_of_bags(labels, None, 50, np.random.default_rng(0))
    assert (alone.counts == plan_resampling(labels, 50, np.random.default_rng(0)).counts).all()


def test_ten_slides_a_patient_do_not_narrow_an_interval():
    rng = np.random.default_rng(0)
    value = rng.normal(size=20)
    widths = []
    for copies in (1, 10):
        values = np.repeat(value, copies)
        patient_of = np.repeat(np.arange(20), copies)
        plan = plan_of_bags(np.zeros(20 * copies, dtype=int), patient_of, 500, np.random.default_rng(1))
        draws = resample(lambda w, v=values: {"mean": v @ w / w.sum(axis=0)}, plan).bootstrap["mean"]
        widths.append(np.ptp(draws))
    assert widths[1] == pytest.approx(widths[0])


def test_support_counts_patients_and_not_slides():
    probabilities = np.tile([0.6, 0.4], (20, 1))
    labels = np.array([0, 1] * 10)
    few = class_support(probabilities, labels, np.repeat(np.arange(4), 5))
    many = class_support(probabilities, labels, np.arange(20))
    assert (few["accuracy"].is_enough, many["accuracy"].is_enough) == (False, True)


@pytest.mark.slow
def test_a_run_on_slides_keeps_patients_whole_and_says_what_its_numbers_are_of(tmp_path, capsys):
    study, table = two_lesions(tmp_path / "study")
    flag = ["--study", str(study.root)]
    assert make_splits([*flag, "--folds", "2"]) == 0
    assert "6 patient(s) have slides of several subtypes" in capsys.readouterr().out
    assert train([*flag, *FAST]) == 0
    out = capsys.readouterr().out
    assert "out of fold, by slide" in out
    folder = study.run("subtype", "default")
    predictions = pd.read_csv(folder / "predictions.csv")
    own = predictions[predictions["model"] == "attention"]
    with_features = [s for s in table["slide_id"] if study.feature_file(ENCODER, s).is_file()]
    assert sorted(own["patient_id"]) == sorted(with_features)
    owner = dict(zip(table["slide_id"], table["patient_id"], strict=True))
    truth = dict(zip(table["slide_id"], table["subtype"], strict=True))
    assert all(own["truth"] == own["patient_id"].map(truth))
    assert (own.groupby(own["patient_id"].map(owner))["fold"].nunique() == 1).all()
    for record in (folder / "models").glob("*.json"):
        patients = json.loads(record.read_text())["patients"]
        parts = [{owner[slide] for slide in patients[part]} for part in ("train", "val", "test")]
        assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["unit"], metrics["n_patients"]) == ("slide", len(with_features))
    assert metrics["bootstrap"]["n_drawn"] == table["patient_id"].nunique()
    audit = json.loads((folder / "audit.json").read_text())
    assert "leak" not in {each["verdict"] for each in audit["checks"]}
    assert any(
        f"none of {table['patient_id'].nunique()} patients is in two parts" in each["text"] for each in audit["checks"]
    )
    page = (folder / "report.html").read_text()
    assert "Discrimination, out of fold, by slide" in page
    assert f"numbers are of slides ({len(with_features)} slides of {table['patient_id'].nunique()} patients)" in page
    assert "patient bootstraps" in page


@pytest.mark.slow
def test_copies_of_a_slide_on_two_sides_are_still_a_leak(tmp_path):
    study, table = two_lesions(tmp_path / "study")
    assert make_splits(["--study", str(study.root), "--folds", "2"]) == 0
    splits = pd.read_csv(study.splits_file("default"))
    fold = splits[splits["fold"] == 0].set_index("patient_id")["set"]
    tested, trained = fold.index[fold == "test"][0], fold.index[fold == "train"][0]
    slides = table.groupby("patient_id")["slide_id"].first()
    source, target = (study.feature_file(ENCODER, slides[each]) for each in (tested, trained))
    from dataclasses import replace

    from features.store.feature_store import read_feature_bag, write_feature_bag

    bag = read_feature_bag(source)
    known = {name: value for name, value in bag.attributes.items() if name not in ("schema", "content_sha256")}
    write_feature_bag(target, replace(bag, slide_id=slides[trained], attributes=known))
    assert train(["--study", str(study.root), *FAST]) == 2
    assert Study(study.root).root.is_dir()
