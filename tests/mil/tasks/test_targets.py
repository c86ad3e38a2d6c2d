"""Any column as a task: found, declared, trained, masked where labels are missing, evaluated, reported, refused by name."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from mil.evaluate import main as evaluate
from mil.runs.model_file import read_model
from mil.show_results import main as show
from mil.train import main as train
from splits.make_splits import main as make_splits
from tests.helpers.target_study import FAST, make_target_study

pytestmark = pytest.mark.slow


def run(study, *flags):
    return train(["--study", str(study.root), *FAST, *flags])


def metrics(study, task, name="default"):
    return json.loads((study.run(task, name) / "metrics.json").read_text())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_target_study(tmp_path_factory.mktemp("targets") / "study")


@pytest.fixture
def study(made, tmp_path):
    shutil.copytree(made.root, tmp_path / "study")
    return type(made)(tmp_path / "study")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def change(study, **columns):
    table = pd.read_csv(study.cohort_table)
    for name, values in columns.items():
        table[name] = values(table) if callable(values) else values
    table.to_csv(study.cohort_table, index=False)


def test_a_number_is_learnt_out_of_fold_and_reported(study, capsys):
    assert run(study, "--target", "size_mm", "--epochs", "60") == 0
    out = capsys.readouterr().out
    assert "target size_mm: numbers (" in out
    assert "Spearman's rho" in out
    found = metrics(study, "size_mm")
    assert found["attention"]["r2"]["low"] > 0
    assert found["attention"]["mae"]["value"] < found["chance"]["mae"]
    assert set(found["attention"]) == {"r2", "mae", "rmse", "pearson", "spearman", "slope"}
    table = pd.read_csv(study.run("size_mm", "default") / "predictions.csv")
    assert list(table.columns) == ["repeat", "fold", "patient_id", "model", "observed", "predicted"]
    own = table[table["model"] == "attention"]
    known = pd.read_csv(study.cohort_table).drop_duplicates("patient_id").set_index("patient_id")["size_mm"]
    assert np.allclose(known[own["patient_id"]], own["observed"])
    page = (study.run("size_mm", "default") / "report.html").read_text()
    assert "Predicted and observed size_mm" in page
    assert "R2 is 1 less the squared error" in page


def test_the_status_at_the_end_of_follow_up_is_learnt_as_classes_and_its_bias_is_said(study, capsys):
    rng = np.random.default_rng(3)
    status = {
        patient: rng.choice(["Alive", "Dead"]) for patient in sorted(set(pd.read_csv(study.cohort_table)["patient_id"]))
    }
    change(study, vital_status=lambda table: table["patient_id"].map(status))
    assert run(study, "--target", "vital_status") == 0
    (note,) = [note for note in metrics(study, "vital_status")["notes"] if "end of follow-up" in note]
    assert "vital_status is the status at the end of follow-up" in note
    assert "--task survival takes every patient" in note
    assert "watched briefly" in (study.run("vital_status", "default") / "report.html").read_text()
    assert run(study, "--target", "vital_status,grade", "--name", "both") == 0  # as one of several targets, too
    (several,) = list(study.root.glob("runs/*/both/metrics.json"))
    assert note in json.loads(several.read_text())["notes"]
    assert run(study, "--target", "grade") == 0
    assert not [note for note in metrics(study, "grade")["notes"] if "end of follow-up" in note]


def test_the_scale_of_a_number_is_that_of_the_training_patients_and_stands_in_the_model(study):
    assert run(study, "--target", "size_mm") == 0
    folder = study.run("size_mm", "default")
    record = json.loads((folder / "models" / "repeat0_fold0.json").read_text())
    known = pd.read_csv(study.cohort_table).drop_duplicates("patient_id").set_index("patient_id")["size_mm"]
    own = read_model(folder / "models" / "repeat0_fold0.safetensors").metadata["targets"]
    values = known[record["patients"]["train"]].to_numpy()
    assert own == [{"column": "size_mm", "kind": "number", "classes": [], "mean": values.mean(), "sd": values.std()}]


def test_test_patients_change_nothing_but_the_score(study):
    assert run(study, "--target", "size_mm") == 0
    folder = study.run("size_mm", "default")
    tested = json.loads((folder / "models" / "repeat0_fold0.json").read_text())["patients"]["test"]
    before = read_model(folder / "models" / "repeat0_fold0.safetensors").head.state_dict()
    table = pd.read_csv(folder / "predictions.csv")
    change(study, size_mm=lambda t: t["size_mm"].where(~t["patient_id"].isin(tested), t["size_mm"] + 1000))
    assert run(study, "--target", "size_mm") == 0
    after = read_model(folder / "models" / "repeat0_fold0.safetensors").head.state_dict()
    assert all(value.equal(after[name]) for name, value in before.items())
    again = pd.read_csv(folder / "predictions.csv")
    of_fold = table["fold"] == 0
    assert (table["predicted"][of_fold] == again["predicted"][of_fold]).all()


def test_ordered_classes_are_learnt_and_reported(study, capsys):
    assert run(study, "--target", "level", "--epochs", "60") == 0
    assert "level: ordered classes low < intermediate < high" in capsys.readouterr().out
    found = metrics(study, "level")
    assert found["attention"]["quadratic_kappa"]["low"] > 0
    own = found["targets"]["level"]
    assert own["confusion"]["classes"] == ["low", "intermediate", "high"]
    assert list(own["ranked"]) == ["low", "intermediate"]
    assert own["ranked"]["low"]["n"] == 24
    table = pd.read_csv(study.run("level", "default") / "predictions.csv")
    assert list(table.columns)[4:] == ["truth", "p_low", "p_intermediate", "p_high"]
    assert np.allclose(table[["p_low", "p_intermediate", "p_high"]].sum(axis=1), 1)
    facts = json.loads((study.run("level", "default") / "run.json").read_text())
    assert facts["classes"] == ["low", "intermediate", "high"]


def test_another_column_of_classes_has_the_whole_life_of_the_subtype(study):
    assert run(study, "--target", "stage", "--name", "a") == 0
    found = metrics(study, "stage", "a")
    assert {"per_class", "calibration", "conformal", "selective"} <= set(found)
    assert list(found["per_class"]) == ["1", "2", "3"]
    page = (study.run("stage", "a") / "report.html").read_text()
    assert "The classes that cannot be ruled out" in page
    assert "subtypes that cannot be ruled out" not in page


def test_a_class_target_on_the_subtype_is_the_subtype_task(study):
    assert run(study, "--task", "subtype") == 0
    before = contents(study.run("subtype", "default"))
    assert run(study, "--target", "subtype") == 0
    after = contents(study.run("subtype", "default"))
    for name in ("predictions.csv", "metrics.json", "models/repeat0_fold0.safetensors", "models/repeat0_fold0.json"):
        assert after[name] == before[name]


def test_the_subtype_learnt_as_another_column_gives_the_same_numbers(study):
    change(study, histology=lambda t: t["subtype"])
    assert run(study, "--covariates", "age") == 0
    assert run(study, "--target", "histology", "--covariates", "age") == 0
    one, other = (pd.read_csv(study.run(t, "default") / "predictions.csv") for t in ("subtype", "histology"))
    pd.testing.assert_frame_equal(one, other)


def test_several_targets_are_learnt_together_and_missing_labels_are_masked(study, capsys):
    change(
        study,
        grade=lambda t: t["grade"].where(~t["patient_id"].isin(["P03", "P07"])),
        size_mm=lambda t: t["size_mm"].where(~t["patient_id"].isin(["P07", "P09"])),
    )
    assert run(study, "--target", "grade,size_mm", "--epochs", "60") == 0
    out = capsys.readouterr().out
    assert "left out: P07: no grade and no size_mm" in out
    task = "grade+size_mm"
    found = metrics(study, task)
    assert (found["targets"]["grade"]["n"], found["targets"]["grade"]["n_missing"]) == (34, 1)
    assert (found["targets"]["size_mm"]["n"], found["targets"]["size_mm"]["n_missing"]) == (34, 1)
    assert found["n_patients"] == 35
    assert found["attention"]["skill"]["low"] > 0
    assert {"grade: quadratic_kappa", "size_mm: r2"} <= set(found["attention"])
    table = pd.read_csv(study.run(task, "default") / "predictions.csv").set_index("patient_id")
    own = table[table["model"] == "attention"]
    assert pd.isna(own.loc["P03", "grade.truth"])
    assert not pd.isna(own.loc["P03", "size_mm.observed"])
    assert own.loc["P03", ["grade.p_G1", "grade.p_G2", "grade.p_G3"]].sum() == pytest.approx(1)
    page = (study.run(task, "default") / "report.html").read_text()
    for words in ("Target grade", "Target size_mm", "1 test patient(s) have no grade", "mean skill"):
        assert words in page
    assert (study.run(task, "default") / "figures" / "confusion_1.svg").is_file()
    assert (study.run(task, "default") / "figures" / "scatter_2.svg").is_file()


def test_missing_labels_of_a_test_patient_are_no_part_of_its_metrics(study):
    """Each target's metrics are those of its own patients: a value that is gone changes no other's prediction."""
    assert run(study, "--target", "size_mm,stage") == 0
    tested = json.loads((study.run("size_mm+stage", "default") / "models" / "repeat0_fold0.json").read_text())[
        "patients"
    ]["test"]
    before = pd.read_csv(study.run("size_mm+stage", "default") / "predictions.csv")
    change(study, size_mm=lambda t: t["size_mm"].where(t["patient_id"] != tested[0]))
    assert run(study, "--target", "size_mm,stage") == 0
    after = pd.read_csv(study.run("size_mm+stage", "default") / "predictions.csv")
    of_fold = before["fold"] == 0
    names = ["size_mm.predicted", "stage.p_1", "stage.p_2", "stage.p_3"]
    assert (before[names][of_fold] == after[names][of_fold]).all(axis=None)
    own = after[(after["model"] == "attention") & after["size_mm.observed"].notna()]
    mae = (own["size_mm.observed"] - own["size_mm.predicted"]).abs().mean()
    assert metrics(study, "size_mm+stage")["attention"]["size_mm: mae"]["value"] == pytest.approx(mae)


def test_tasks_are_declared_in_the_settings_of_the_study(study, capsys):
    (study.root / "study.yaml").write_text(
        "tasks:\n  how bad: {target: grade, kind: ordered, order: [G3, G2, G1]}\n  size: {target: [size_mm]}\n"
    )
    assert run(study, "--task", "how bad") == 0
    assert "G3 < G2 < G1 (declared)" in capsys.readouterr().out
    assert metrics(study, "how bad")["targets"]["grade"]["kind"] == "ordered"
    assert run(study, "--task", "size") == 0
    assert metrics(study, "size")["attention"]["r2"]["value"] is not None
    capsys.readouterr()
    assert run(study, "--task", "sise") == 2
    assert (
        "--task 'sise' is no task; the nearest is size; there are how bad, size, subtype, survival"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("tasks: [a]", "tasks maps names to columns"),
        ("tasks: {x: {kind: number}}", "wanted target"),
        ("tasks: {x: {target: grade, kin: number}}", "'kin' is no key; the nearest is kind"),
        ("tasks: {x: {target: grade, kind: nummer}}", "kind 'nummer' is none; the nearest is number"),
        ("tasks: {x: {target: grade, order: G1}}", "order is a list"),
        ("tasks: {../x: {target: grade}}", "holds a slash"),
        ("tasks: {x: {target: [grade, size_mm], kind: [number, number, number]}}", "3 kinds for 2 columns"),
        ("tasks: {x: {target: [grade, grade]}}", "name each column once"),
        ("tasks: {subtype: {target: grade}}", None),  # a name of ours stays ours
    ],
)
def test_faults_in_declared_tasks_are_named(study, capsys, yaml, message):
    (study.root / "study.yaml").write_text(yaml)
    code = run(study, "--task", "x", "--audit") if message else run(study, "--task", "subtype", "--audit")
    assert code == (2 if message else 0)
    assert (message or "") in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--target", "sizemm"], "--target 'sizemm': no such column; the nearest is size_mm"),
        (["--target", "patient_id"], "an id says nothing of a patient"),
        (["--target", "time"], "use --task survival"),
        (["--target", "constant"], "have 'x'; there is nothing to tell apart"),
        (["--target", "empty"], "no patient has a value"),
        (["--target", "code"], "as many values as patients"),
        (["--target", "mixed"], "numbers with text in them"),
        (["--target", "mixed", "--kind", "number"], "wanted numbers, found the texts '<5', '?'"),
        (["--target", "by_slide"], "have several values"),
        (["--target", "grade", "--kind", "number"], "wanted numbers, found the texts 'G1'"),
        (["--target", "grade", "--kind", "gradd"], "kind 'gradd' is none"),
        (["--target", "grade", "--order", "G1,G2"], "the table has 'G3'"),
        (["--target", "grade", "--task", "survival"], "--task survival predicts time and event"),
        (
            ["--target", "subtype", "--kind", "ordered"],
            "a task of columns needs a name other than subtype and survival",
        ),
        (["--kind", "number"], "--kind and --order are of --target"),
        (["--target", "grade", "--task", "../up"], "holds a slash"),
        (["--target", ","], "at least one"),
    ],
)
def test_what_cannot_be_a_target_is_refused_with_advice(study, capsys, flags, message):
    number = pd.read_csv(study.cohort_table)["patient_id"].str[1:].astype(int)
    change(
        study, constant="x", empty=None, code=lambda t: "K" + t["patient_id"], by_slide=lambda t: t["slide_id"].str[-1],
        mixed=["<5" if n == 3 else "?" if n == 4 else str(n / 4) for n in number],
    )  # fmt: skip
    assert run(study, *flags) == 2
    assert message in capsys.readouterr().err
    assert not (study.root / "runs").exists()


def test_a_finished_run_is_evaluated_compared_and_listed_from_its_folder_alone(study, capsys):
    assert run(study, "--target", "grade,size_mm", "--task", "both", "--learning_curve", "0.5") == 0
    assert run(study, "--target", "grade,size_mm", "--task", "both", "--name", "other", "--seed", "1") == 0
    first = contents(study.run("both", "default"))
    study.cohort_table.unlink()
    assert evaluate(["--study", str(study.root), "--task", "both", "--bootstrap", "100"]) == 0
    assert contents(study.run("both", "default")) == first
    assert evaluate(["--study", str(study.root), "--task", "both", "--bootstrap", "100", "--against", "other"]) == 0
    capsys.readouterr()
    assert show(["--study", str(study.root)]) == 0
    assert "mean skill of the targets" in capsys.readouterr().out


def test_a_run_is_the_same_bytes_whatever_the_order_of_rows_and_goes_on_where_it_was(study, monkeypatch):
    assert run(study, "--target", "grade,size_mm") == 0
    folder = study.run("grade+size_mm", "default")
    before = contents(folder)
    table = pd.read_csv(study.cohort_table).sample(frac=1, random_state=1)
    table.to_csv(study.cohort_table, index=False)
    with monkeypatch.context() as patch:
        patch.setattr("mil.training.cross_validation.fit", pytest.fail)
        assert run(study, "--target", "grade,size_mm") == 0
    assert contents(folder) == before
    shutil.rmtree(folder)
    assert run(study, "--target", "grade,size_mm") == 0
    assert contents(folder) == before


def test_another_kind_of_the_same_column_is_another_run(study):
    assert run(study, "--target", "stage", "--task", "s") == 0
    assert "per_class" in metrics(study, "s")
    assert run(study, "--target", "stage", "--task", "s", "--kind", "ordered") == 0
    assert "quadratic_kappa" in metrics(study, "s")["attention"]
    assert run(study, "--target", "stage", "--task", "s", "--kind", "number") == 0
    assert "r2" in metrics(study, "s")["attention"]
    assert not (study.run("s", "default") / "figures" / "confusion.svg").exists()


def test_a_changed_digit_in_the_tables_is_refused(study, capsys):
    assert run(study, "--target", "grade,size_mm", "--task", "both") == 0
    path = study.run("both", "default") / "task.json"
    path.write_text(path.read_text().replace("G1", "GX"))
    assert evaluate(["--study", str(study.root), "--task", "both"]) == 2
    assert "checksum differs" in capsys.readouterr().err


def test_the_audit_weighs_sites_against_every_target(study, capsys):
    change(study, site=lambda t: "site " + t["grade"])
    assert run(study, "--target", "size_mm,grade", "--audit") == 0
    out = capsys.readouterr().out
    assert "[warning] site by class" in out
    assert "[warning] site by grade" in out
    assert "scale of numbers that are predicted" in out
    assert run(study, "--target", "stage", "--audit") == 0
    assert "[warning] site by class" in capsys.readouterr().out


def test_shuffled_targets_are_at_chance(tmp_path):
    """With 95 % intervals one in twenty misses chance by luck: at most one of six may."""
    misses = 0
    for seed in range(2):
        study = make_target_study(tmp_path / str(seed), seed=seed, is_shuffled=True)
        for flags, task, name in (
            (["--target", "size_mm"], "size_mm", "r2"), (["--target", "level"], "level", "quadratic_kappa"),
            (["--target", "grade,size_mm"], "grade+size_mm", "skill"),
        ):  # fmt: skip
            assert run(study, *flags, "--covariates", "none", "--cross_fit", "0") == 0
            low = metrics(study, task)["attention"][name]["low"]
            misses += low is not None and low > 0
    assert misses <= 1


def test_where_trains_on_a_part(study):
    assert run(study, "--target", "size_mm", "--where", "grade != 'G3'") == 0
    table = pd.read_csv(study.run("size_mm", "default") / "predictions.csv")
    assert table["patient_id"].nunique() == 24


def test_runs_of_other_columns_under_one_name_are_not_compared(study, capsys):
    assert run(study, "--target", "size_mm", "--task", "t", "--cross_fit", "0") == 0
    assert run(study, "--target", "level", "--task", "t", "--name", "other", "--cross_fit", "0") == 0
    assert evaluate(["--study", str(study.root), "--task", "t", "--bootstrap", "100", "--against", "other"]) == 2
    assert "targets is ['size_mm (number)'] and ['level (ordered: low, intermediate, high)']" in capsys.readouterr().err


def test_a_table_without_subtype_and_survival_is_enough(study):
    table = pd.read_csv(study.cohort_table)[["patient_id", "slide_id", "size_mm", "age"]]
    table = table.rename(columns={"size_mm": "tumour size (mm)"})
    table.to_csv(study.cohort_table, index=False)
    flags = ["--study", str(study.root), "--folds", "2", "--stratify", "tumour size (mm)", "--overwrite", "true"]
    assert make_splits(flags) == 0
    assert run(study, "--target", "tumour size (mm)", "--cross_fit", "0", "--heads", "mean_mlp") == 0
    assert metrics(study, "tumour size (mm)")["attention"]["r2"]["value"] is not None
    assert "=" not in (study.run("tumour size (mm)", "default") / "predictions.csv").read_text()


def test_without_test_patients_nothing_is_evaluated_and_the_model_stays(study, capsys):
    change(study, set="train")
    shutil.rmtree(study.root / "splits")
    assert run(study, "--target", "level,size_mm", "--cross_fit", "0") == 0
    assert "NOTHING WAS EVALUATED" in capsys.readouterr().out
    folder = study.run("level+size_mm", "default")
    known = read_model(folder / "models" / "repeat0_fold0.safetensors").metadata["targets"]
    assert [own["column"] for own in known] == ["level", "size_mm"]
    assert "Nothing was evaluated" in (folder / "report.html").read_text()


def test_a_target_that_hardly_a_patient_has_leaves_the_others_whole(study):
    table = pd.read_csv(study.splits_file("default"))
    tested = set(table.loc[table["set"] == "test", "patient_id"]) & {"P00", "P01", "P02", "P04", "P05", "P08"}
    change(study, size_mm=lambda t: t["size_mm"].where(t["patient_id"].isin(tested)))
    assert run(study, "--target", "level,size_mm", "--cross_fit", "0") == 0
    found = metrics(study, "level+size_mm")
    assert found["attention"]["size_mm: r2"]["method"] == "too few"
    assert found["attention"]["skill"]["method"] == "too few"
    assert found["attention"]["level: threshold_auroc"]["low"] is not None


def test_the_subtype_may_be_named_as_a_covariate_of_another_column(study):
    assert run(study, "--target", "size_mm", "--covariates", "subtype,age", "--cross_fit", "0") == 0
    facts = json.loads((study.run("size_mm", "default") / "run.json").read_text())
    assert facts["covariates"]["used"] == ["age", "subtype"]
    assert run(study, "--target", "size_mm", "--covariates", "size_mm") == 2
