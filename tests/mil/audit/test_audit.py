"""Planted leaks are caught and named before training; a clean cohort has none; what the audit states of the code is so."""

import dataclasses
import importlib
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from common.arrays import write_arrays
from common.cohort import read_cohort
from common.study import Study
from features.store.feature_store import read_feature_bag, write_feature_bag
from features.store.provenance import Provenance
from mil.audit.audit import audit_run
from mil.audit.checks import LEAK, OK, WARNING
from mil.audit.fitted_statistics import FITTED, check_statistics
from mil.audit.site_checks import Sites, check_site_by_class, check_site_from_embeddings, check_sites_across_folds
from mil.runs.model_file import read_model
from mil.tasks.registry import task_named
from mil.train import main as train
from mil.training.preparation import prepare
from mil.training.training_settings import TrainConfig
from preprocessing.colour.stain import REFERENCE
from preprocessing.colour.stain_store import reference_text
from splits.fold_plan import FoldPlan, plan_folds
from splits.make_splits import main as make_splits
from splits.split_store import read_splits
from tests.helpers.feature_study import ENCODER, make_feature_study

FAST = ["--epochs", "3", "--hidden", "8", "--attention", "4", "--bootstrap", "100", "--threads", "1"]
SITES = 6


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    study = make_feature_study(tmp_path_factory.mktemp("audited") / "study", n_patients=36)
    table = pd.read_csv(study.cohort_table)
    site = table["patient_id"].map(lambda name: f"H{int(name[1:]) // 3 % SITES}")
    table.assign(site=site).to_csv(study.cohort_table, index=False)
    assert make_splits(["--study", str(study.root), "--folds", "3", "--method", "k_fold"]) == 0
    return study


@pytest.fixture
def study(clean, tmp_path):
    shutil.copytree(clean.root, tmp_path / "study")
    return Study(tmp_path / "study")


def audited(study, task="subtype"):
    audit = audit_run(prepare(study, TrainConfig(), task_named(task).training))
    return {each.name: each for each in audit.checks}


def parts_of(study):
    splits = read_splits(study.splits_file("default"))
    first = splits[splits["fold"] == 0]
    return {name: first.loc[first["set"] == name, "patient_id"].tolist() for name in ("train", "val", "test")}


def add_slide(study, patient, slide_id, bag):
    """Add a slide to a patient."""
    own = {key: value for key, value in bag.attributes.items() if key not in ("schema", "slide_id", "content_sha256")}
    write_feature_bag(
        study.feature_file(ENCODER, slide_id), dataclasses.replace(bag, slide_id=slide_id, attributes=own)
    )
    table = pd.read_csv(study.cohort_table)
    row = table[table["patient_id"] == patient].iloc[[0]].assign(slide_id=slide_id)
    pd.concat([table, row]).to_csv(study.cohort_table, index=False)


def run(study, *flags, task="subtype"):
    return train(["--study", str(study.root), "--task", task, *FAST, *flags])


def on_one_line(text):
    return " ".join(text.split())


@pytest.mark.slow
def test_a_clean_cohort_has_no_leak_and_the_audit_stands_beside_the_run(study, capsys):
    for task in ("subtype", "survival"):
        assert all(each.verdict != LEAK for each in audited(study, task).values())
        assert run(study, task=task) == 0
        written = json.loads((study.run(task, "default") / "audit.json").read_text())
        assert written["schema"] == "audit/1"
        assert len(written["checks"]) == 9
        for each in written["checks"]:
            assert set(each) == {"name", "verdict", "text", "table"}
            assert each["verdict"] in (OK, WARNING, LEAK)
            if each["table"]:
                assert all(len(row) == len(each["table"]["columns"]) for row in each["table"]["rows"])
    assert "0 leak(s)" in capsys.readouterr().out


def test_audit_alone_prints_and_trains_nothing(study, capsys, monkeypatch):
    monkeypatch.setattr("mil.training.cross_validation.fit", pytest.fail)
    assert run(study, "--audit", "true") == 0
    out = capsys.readouterr().out
    for name in (
        "patients in two parts",
        "copied slides",
        "site by class",
        "where statistics were fitted",
        "standardise",
    ):
        assert name in out
    assert not (study.root / "runs").exists()


def test_a_copied_slide_under_another_name_stops_training(study, capsys):
    parts = parts_of(study)
    one, other = parts["train"][0], parts["test"][0]
    add_slide(study, other, "another_name", read_feature_bag(study.feature_file(ENCODER, f"{one}-0")))
    assert run(study) == 2
    text = on_one_line(capsys.readouterr().err)
    assert f"{one}-0 ({one}) and another_name ({other}): the features are the same; train and test of repeat 0" in text
    assert not (study.root / "runs").exists()
    assert run(study, "--audit", "true") == 2
    assert "[leak] copied slides" in capsys.readouterr().out


def test_a_copied_slide_file_is_known_by_its_fingerprint(study):
    parts = parts_of(study)
    one, other = sorted((parts["val"][0], parts["test"][0]))
    for patient in (one, other):
        write_arrays(study.tile_file(f"{patient}-0"), {}, {"slide_fingerprint": "same"})
    found = audited(study)["copied slides"]
    assert found.verdict == LEAK
    assert f"{one}-0" in found.text
    assert re.search("the slide files are the same; (val and test|test and val) of repeat 0, fold 0", found.text)


def test_a_part_of_a_slide_in_another_part_is_a_leak_and_a_shaken_copy_a_warning(study):
    parts = parts_of(study)
    one, other = parts["train"][0], parts["test"][0]
    bag = read_feature_bag(study.feature_file(ENCODER, f"{one}-0"))
    half = dataclasses.replace(bag, features=bag.features[:8], coords=bag.coords[:8])
    add_slide(study, other, "half", half)
    found = audited(study)["slides that are nearly copies"]
    assert found.verdict == LEAK
    assert (
        f"{one}-0 ({one}) and half ({other}): 100 % of the tiles have identical embeddings; train and test"
        in found.text
    )
    noise = np.random.default_rng(0).normal(size=bag.features.shape) * 0.02
    shaken = dataclasses.replace(bag, features=(bag.features + noise).astype(np.float16))
    add_slide(study, other, "half", shaken)
    table = pd.read_csv(study.cohort_table).drop_duplicates("slide_id")
    table.to_csv(study.cohort_table, index=False)
    found = audited(study)["slides that are nearly copies"]
    assert found.verdict == WARNING
    assert f"{one}-0 ({one}) and half ({other}): mean embeddings agree (cosine 0.99" in found.text


def test_a_slide_twice_in_one_patient_is_told_but_no_leak(study):
    patient = parts_of(study)["train"][0]
    add_slide(study, patient, "twice", read_feature_bag(study.feature_file(ENCODER, f"{patient}-0")))
    found = audited(study)["copied slides"]
    assert found.verdict == WARNING
    assert "one patient" in found.text


def test_one_barcode_under_two_patients_is_a_leak(study):
    parts = parts_of(study)
    for patient, slide in (
        (parts["train"][0], "TCGA-DX-A1KW-01Z-00-DX1"),
        (parts["test"][0], "TCGA-DX-A1KW-01Z-00-DX2"),
    ):
        tiles = np.random.default_rng(len(patient) + ord(slide[-1])).normal(size=(20, 12)).astype(np.float16)
        bag = read_feature_bag(study.feature_file(ENCODER, f"{patient}-0"))
        coords = np.zeros((20, 2), dtype=np.int64)
        add_slide(study, patient, slide, dataclasses.replace(bag, features=tiles, coords=coords))
    found = audited(study)["patients in two parts"]
    assert found.verdict == LEAK
    assert re.search("one TCGA barcode .TCGA-DX-A1KW.: (train and test|test and train) of repeat 0", found.text)


def test_a_patient_in_two_parts_by_hand_is_refused_by_name(study, capsys):
    path = study.splits_file("default")
    splits = read_splits(path)
    test = splits[(splits["fold"] == 0) & (splits["set"] == "test")].iloc[:1]
    pd.concat([splits, test.assign(set="train")]).to_csv(path, index=False)
    assert run(study) == 2
    assert f"patient {test['patient_id'].iloc[0]} stands twice in repeat 0, fold 0" in on_one_line(
        capsys.readouterr().err
    )


def test_sites_that_cross_folds_they_were_kept_in_are_refused_by_name(study, capsys):
    assert make_splits(["--study", str(study.root), "--folds", "3", "--overwrite", "true"]) == 0
    assert "method site_preserved" in capsys.readouterr().out
    found = audited(study)["sites across folds"]
    assert found.verdict == OK
    assert "no test patient comes from a site that the model trained on; in a random split it would be" in found.text
    assert {row[0] for row in found.table.rows} == {"these splits", "a random split"}
    splits = read_splits(study.splits_file("default"))
    tested = splits[splits["set"] == "test"].set_index("patient_id")["fold"]
    table = pd.read_csv(study.cohort_table)
    moved = table["patient_id"] == tested.index[tested == 1][0]
    table.loc[moved, "site"] = table.loc[table["patient_id"] == tested.index[tested == 0][0], "site"].iloc[0]
    table.to_csv(study.cohort_table, index=False)
    assert run(study) == 2
    assert "is tested in 2 folds" in on_one_line(capsys.readouterr().err)


def test_changed_labels_are_told(study):
    table = pd.read_csv(study.cohort_table)
    table.loc[table["patient_id"] == "P00", "subtype"] = "UPS"
    table.to_csv(study.cohort_table, index=False)
    found = audited(study)["making of the folds"]
    assert found.verdict == WARNING
    assert "changed since" in found.text


def test_confounded_sites_are_named_and_read_from_embeddings(study):
    table = pd.read_csv(study.cohort_table)
    table["site"] = table["subtype"].map({"DDLPS": "A", "LMS": "A", "UPS": "B"})
    table.loc[table["patient_id"].isin(["P00", "P01"]), "site"] = "B"
    table.to_csv(study.cohort_table, index=False)
    found = audited(study)
    assert found["site by class"].verdict == WARNING
    assert "B gave 12 of 12 UPS patients" in found["site by class"].text
    assert found["sites across folds"].verdict == WARNING
    assert found["site from mean embeddings"].verdict == WARNING
    assert "the embeddings carry the site, and the site goes with the class" in found["site from mean embeddings"].text


@pytest.mark.parametrize("is_carried", [True, False])
@pytest.mark.parametrize("is_confounded", [True, False])
def test_v5_the_phrase_of_confounding_needs_embeddings_that_carry_the_site_and_a_site_that_goes_with_the_class(
    is_carried, is_confounded
):
    rng = np.random.default_rng(0)
    sites, patients = np.arange(60) % 2, [f"P{index:02d}" for index in range(60)]
    known = Sites(
        patients=patients, site_names=["A", "B"], class_names=["X", "Y"], sites=sites, classes=sites, n_unknown=0
    )
    means = rng.normal(size=(60, 4)) + 4.0 * is_carried * sites[:, None]
    folds = [
        FoldPlan(repeat=0, fold=fold, train=tuple(train), val=(), test=tuple(test))
        for fold, (train, test) in enumerate(((patients[:30], patients[30:]), (patients[30:], patients[:30])))
    ]
    found = check_site_from_embeddings(known, means, folds, is_confounded=is_confounded, seed=0)
    assert ("the embeddings carry the site" in found.text) == is_carried
    assert ("the site goes with the class" in found.text) == (is_carried and is_confounded)
    assert found.verdict == (WARNING if is_carried and is_confounded else OK)


def test_sites_of_one_fold_each_are_predicted_in_folds_made_for_it(study):
    assert make_splits(["--study", str(study.root), "--method", "leave_one_site_out", "--overwrite", "true"]) == 0
    found = audited(study)["site from mean embeddings"]
    assert "in 5 random folds made for this" in found.text
    assert found.verdict == OK


def test_without_sites_nothing_of_them_is_claimed(study):
    pd.read_csv(study.cohort_table).drop(columns="site").to_csv(study.cohort_table, index=False)
    found = audited(study)
    assert found["site by class"].text == "not measured: the table names no sites"
    assert "sites across folds" not in found


@pytest.mark.parametrize("place", [row[2] for row in FITTED])
def test_every_statement_on_fitting_points_at_code_that_is_there(place):
    module, name = place.rsplit(".", 1)
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["subtype", "survival"])
def test_test_patients_change_no_fitted_statistic(study, task):
    """Other embeddings and other outcomes of a fold's test patients leave its whole model as it is, to the bit."""
    assert run(study, task=task) == 0
    model = study.run(task, "default") / "models" / "repeat0_fold0.safetensors"
    before = read_model(model)
    tested = json.loads(model.with_suffix(".json").read_text())["patients"]["test"]
    table = pd.read_csv(study.cohort_table)
    is_tested = table["patient_id"].isin(tested)
    table.loc[is_tested, "subtype"] = table.loc[is_tested, "subtype"].map(
        {"DDLPS": "LMS", "LMS": "UPS", "UPS": "DDLPS"}
    )
    table.loc[is_tested, "time"] = table.loc[is_tested, "time"] * 7 + 1
    table.to_csv(study.cohort_table, index=False)
    for slide in table.loc[is_tested, "slide_id"]:
        bag = read_feature_bag(study.feature_file(ENCODER, slide))
        own = {
            key: value for key, value in bag.attributes.items() if key not in ("schema", "slide_id", "content_sha256")
        }
        features = (bag.features[::-1] * 3 + 1).astype(np.float16)
        write_feature_bag(
            study.feature_file(ENCODER, slide), dataclasses.replace(bag, features=features, attributes=own)
        )
    assert run(study, task=task) == 0
    after = read_model(model)
    for name, value in before.head.state_dict().items():
        assert value.equal(after.head.state_dict()[name]), name
    assert before.metadata["scale"] == after.metadata["scale"]
    assert before.metadata["best_epoch"] == after.metadata["best_epoch"]


FOLDS = [FoldPlan(repeat=0, fold=0, train=("a",), val=(), test=("b", "c"))]
BUILT_IN = reference_text(REFERENCE)  # as feature files keep it, rounded
OWN = '{"matrix": [[0.6, 0.7, 0.3873], [0.3, 0.9, 0.3162]], "p99": [2.5, 1.2]}'


@pytest.mark.parametrize(
    ("reference", "slides", "verdict", "words"),
    [
        ("none", None, OK, "colours were not mapped"),
        (BUILT_IN, None, OK, "built in"),
        (OWN, ["a-1"], OK, "1 patients, none of them in a test part"),
        (OWN, ["a-1", "b-1"], WARNING, "2 patients, of whom 1 are test patients"),
        (OWN, None, WARNING, "not built in, and no file in stain_references/"),
        ("a picture", None, WARNING, "not built in"),
    ],
)
def test_the_stain_reference_is_traced_to_its_slides(tmp_path, reference, slides, verdict, words):
    if slides is not None:
        (tmp_path / "stain_references").mkdir()
        made = json.loads(reference) | {"slides": dict.fromkeys(slides, "vahadane")}
        (tmp_path / "stain_references" / "default.json").write_text(json.dumps(made))
    patient_of = {f"{patient}-1": patient for patient in "abc"}
    provenance = Provenance(encoder_source="x (ImageNet)", stain_reference=reference)
    found = check_statistics(Study(tmp_path), provenance, FOLDS, patient_of)
    assert found.verdict == verdict
    row = next(row for row in found.table.rows if row[0] == "stain reference")
    assert words in row[1]
    assert (words in found.text) == (verdict == WARNING)


def test_the_tcga_sarcoma_cohort_is_named_for_what_it_is(shared_data, tmp_path):
    """The table of sites names what Memorial Sloan Kettering gave; a random split's table stands beside the folds."""
    listed = pd.read_csv(shared_data / "tables" / "tcga_sarc_dx_slides_566.csv")
    listed = listed[listed["subtype"].isin(("LMS", "DDLPS", "UPS", "MFS", "SS"))]
    table = listed.rename(columns={"case_id": "patient_id", "source_site": "site"})[
        ["patient_id", "slide_id", "subtype", "site"]
    ]
    table.to_csv(tmp_path / "cohort.csv", index=False)
    assert make_splits(["--study", str(tmp_path)]) == 0
    cohort, splits = read_cohort(tmp_path / "cohort.csv"), read_splits(tmp_path / "splits" / "default.csv")
    patients = cohort.patients
    names, sites = np.unique(patients["site"].to_numpy(dtype=str), return_inverse=True)
    classes, codes = np.unique(patients["subtype"].to_numpy(dtype=str), return_inverse=True)
    known = Sites(
        patients=list(patients.index), site_names=names.tolist(), class_names=classes.tolist(), sites=sites, classes=codes,
        n_unknown=0,
    )  # fmt: skip
    found = check_site_by_class(known, 0)
    assert found.verdict == WARNING
    assert "Memorial Sloan Kettering gave 41 of 55 DDLPS and 19 of 24 MFS patients" in found.text
    folds = plan_folds(splits, set(patients.index))
    across = check_sites_across_folds(known, folds, is_confounded=True, seed=0)
    assert across.verdict == OK
    own, random = ([row for row in across.table.rows if row[0] == name] for name in ("these splits", "a random split"))
    assert sum(row[5] for row in own) == 0
    assert sum(row[5] for row in random) > 0.8 * len(patients)
    record = json.loads((tmp_path / "splits" / "default.json").read_text())
    assert record["method"] == "site_preserved"
    assert record["sites"]["gap"] == 0
    (few,) = record["classes_at_few_sites"]  # MFS at four institutions: one fold tests none, every fold trains on some
    assert (few["class"], len(few["folds_without_test"]), few["folds_without_training"]) == ("MFS", 1, [])


def test_a_covariate_that_tells_the_outcome_alone_is_named(study):
    table = pd.read_csv(study.cohort_table)
    patients = sorted(
        table["patient_id"].unique(), key=lambda p: table.set_index("patient_id")["subtype"].loc[[p]].iloc[0]
    )
    running = table["patient_id"].map({patient: number for number, patient in enumerate(patients)})
    late = np.where(table["event"] == 1, "yes", "no")
    table.assign(case_no=running, lost=late, age=np.arange(len(table)) % 2).to_csv(study.cohort_table, index=False)
    found = audited(study)["covariates and outcome"]
    assert found.verdict == WARNING
    assert "case_no tells" in found.text
    assert "age" not in found.text
    found = audited(study, task="survival")["covariates and outcome"]
    assert "lost = no tells the event (1.00)" in found.text
    table.to_csv(study.cohort_table, index=False)
    assert audited(study)["covariates and outcome"].verdict == OK
