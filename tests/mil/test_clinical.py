"""The clinical table alone: the same figures as the clinical baseline of a run, without slides; what is lacking is said."""

import json

import numpy as np
import pandas as pd
import pytest

from mil.clinical import main as clinical
from mil.train import main as train
from splits.make_splits import main as make_splits
from tests.helpers.feature_study import make_feature_study

FAST = [
    "--epochs",
    "2",
    "--hidden",
    "8",
    "--attention",
    "4",
    "--bootstrap",
    "100",
    "--threads",
    "1",
    "--cross_fit",
    "0",
]


def table_study(tmp_path, *, n=60, seed=0):
    """A study of a clinical table and folds: no slide, no tile."""
    rng = np.random.default_rng(seed)
    age = rng.normal(60, 10, n).round(1)
    time = rng.exponential(20 * np.exp(-0.1 * (age - 60))).round(2) + 0.1
    root = tmp_path / "study"
    root.mkdir()
    pd.DataFrame(
        {
            "patient_id": [f"P{index:02d}" for index in range(n)], "slide_id": [f"S{index:02d}" for index in range(n)],
            "subtype": np.array(["LMS", "UPS"])[(age + rng.normal(0, 5, n) > 60).astype(int)], "time": time,
            "event": (rng.random(n) < 0.7).astype(int), "age": age, "sex": rng.choice(["f", "m"], n),
        }
    ).to_csv(root / "cohort.csv", index=False)  # fmt: skip
    assert make_splits(["--study", str(root), "--folds", "3"]) == 0
    return root


@pytest.mark.slow
@pytest.mark.parametrize("task", ["subtype", "survival"])
def test_it_is_the_clinical_baseline_of_a_run(tmp_path, task):
    study = make_feature_study(tmp_path / "study", n_patients=30)
    table, rng = pd.read_csv(study.cohort_table), np.random.default_rng(4)
    ages = {patient: rng.normal(60, 9) for patient in sorted(set(table["patient_id"]))}
    grades = {patient: rng.choice(["low", "high"]) for patient in ages}
    table["age"], table["grade"] = table["patient_id"].map(ages), table["patient_id"].map(grades)
    table.to_csv(study.cohort_table, index=False)
    assert make_splits(["--study", str(study.root), "--folds", "3"]) == 0
    assert train(["--study", str(study.root), "--task", task, *FAST]) == 0
    assert clinical(["--study", str(study.root), "--task", task, "--bootstrap", "100"]) == 0
    of_run = (
        pd.read_csv(study.run(task, "default") / "predictions.csv").query("model == 'clinical'").reset_index(drop=True)
    )
    alone = pd.read_csv(study.root / "clinical" / f"{task}.csv")
    assert list(alone.columns) == list(of_run.columns)
    pd.testing.assert_frame_equal(alone, of_run)
    figures = json.loads((study.root / "clinical" / f"{task}.json").read_text())["figures"]
    whole = json.loads((study.run(task, "default") / "metrics.json").read_text())["clinical"]
    name = {"subtype": "macro_auroc", "survival": "c_index"}[task]
    model = "all together" if len(figures) > 1 else next(iter(figures))
    assert figures[model][name]["value"] == whole[name]["value"]


@pytest.mark.parametrize(("task", "figure"), [("subtype", "macro AUROC"), ("survival", "C-index")])
def test_a_table_without_slides_has_figures_and_is_told_what_comes_next(tmp_path, capsys, task, figure):
    root = table_study(tmp_path)
    assert clinical(["--study", str(root), "--task", task, "--bootstrap", "100"]) == 0
    said = capsys.readouterr().out
    assert f"{task}: 60 test patients" in said
    assert figure in said
    rows = {line.split("  ")[0]: line for line in said.splitlines()}
    age, sex = (float(rows[name].split()[1]) for name in ("age", "sex"))
    assert age > 0.6 > sex + 0.02
    assert f"60 in the table, 0 are in {root / 'slides'}, 0 have tiles, 0 have features" in said
    assert f"next: put the slides into {root / 'slides'}" in said
    first = (root / "clinical" / f"{task}.json").read_bytes()
    assert clinical(["--study", str(root), "--task", task, "--bootstrap", "100"]) == 0
    assert (root / "clinical" / f"{task}.json").read_bytes() == first


def test_what_is_there_decides_what_comes_next(tmp_path, capsys):
    root = table_study(tmp_path)
    for folder, command in (("slides", "tile_slides"), ("tiles", "extract_features"), ("features/net", "train.py")):
        (root / folder).mkdir(parents=True)
        for index in range(60):
            (root / folder / f"S{index:02d}{'.svs' if folder == 'slides' else '.h5'}").write_bytes(b"x")
        assert clinical(["--study", str(root), "--covariates", "age", "--bootstrap", "100"]) == 0
        assert command in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--covariates", "none"], "no column is a covariate"), (["--task", "survivall"], "survival"),
        (["--splits", "other"], "make them with: python splits/make_splits.py"), (["--name", "../x"], "--name"),
        (["--task", "survival", "--endpoint", "PFI"], "--endpoint PFI"), (["--covariates", "agee"], "age"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_named(tmp_path, capsys, flags, words):
    assert clinical(["--study", str(table_study(tmp_path)), "--bootstrap", "100", *flags]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert not (tmp_path / "x.csv").exists()


def test_an_end_point_has_results_of_its_own(tmp_path):
    root = table_study(tmp_path)
    table = pd.read_csv(root / "cohort.csv")
    table.assign(DSS=table["event"] * (np.arange(60) % 2), **{"DSS.time": table["time"]}).to_csv(
        root / "cohort.csv", index=False
    )
    assert clinical(["--study", str(root), "--task", "survival", "--endpoint", "DSS", "--bootstrap", "100"]) == 0
    record = json.loads((root / "clinical" / "survival_DSS.json").read_text())
    assert record["n_events"] == int((table["event"] * (np.arange(60) % 2)).sum())
