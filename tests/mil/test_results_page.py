"""All runs beside each other: the figures of metrics.json, names that cannot lead elsewhere, a warning of choosing."""

import csv
import json
import re

import pytest

from mil.show_results import main as show_results
from tests.helpers.run_folders import evaluated, subtype_run, survival_run


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    subtype_run(root / "runs" / "subtype" / "default", skill=2.0)
    subtype_run(root / "runs" / "subtype" / "<b>other", skill=0.5)
    survival_run(root / "runs" / "survival" / "default")
    for folder in root.glob("runs/*/*"):
        evaluated(folder)
    return root


def test_the_table_holds_every_figure_of_every_run(study, capsys):
    assert show_results(["--study", str(study)]) == 0
    assert str(study / "runs" / "index.html") in capsys.readouterr().out
    with (study / "runs" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["task"], row["run"]) for row in rows} == {
        ("subtype", "default"), ("subtype", "<b>other"), ("survival", "default"),
    }  # fmt: skip
    for row in rows:
        known = json.loads((study / "runs" / row["task"] / row["run"] / "metrics.json").read_text())
        own = known[row["model"]][row["metric"]]
        assert [row[name] for name in ("value", "low", "high")] == [
            "" if own[name] is None else str(own[name]) for name in ("value", "low", "high")
        ]
        assert row["method"] == own["method"]
        assert int(row["n_patients"]) == known["n_patients"]
    models = {(row["task"], row["model"]) for row in rows}
    assert {("subtype", "attention"), ("subtype", "mean_pool"), ("survival", "attention")} <= models


def test_the_page_sets_runs_of_a_task_beside_each_other_and_warns_of_choosing(study):
    assert show_results(["--study", str(study)]) == 0
    page = (study / "runs" / "index.html").read_text()
    assert "<b>other" not in page
    assert "&lt;b&gt;other" in page
    links = re.findall(r"href=['\"]([^'\"]*report\.html)", page)
    assert sorted(links) == [
        "subtype/%3Cb%3Eother/report.html",
        "subtype/default/report.html",
        "survival/default/report.html",
    ]
    own = json.loads((study / "runs" / "survival" / "default" / "metrics.json").read_text())["attention"]["c_index"]
    assert f"{own['value']:.3f} ({own['low']:.3f} to {own['high']:.3f})" in page
    assert "choosing on test patients" in page
    first = (study / "runs" / "index.html").read_bytes()
    assert show_results(["--study", str(study)]) == 0
    assert (study / "runs" / "index.html").read_bytes() == first


def test_a_single_run_has_nothing_to_choose(tmp_path):
    survival_run(tmp_path / "runs" / "survival" / "default")
    evaluated(tmp_path / "runs" / "survival" / "default")
    assert show_results(["--study", str(tmp_path)]) == 0
    assert "choosing on test patients" not in (tmp_path / "runs" / "index.html").read_text()


def test_a_study_without_runs_says_what_to_do(tmp_path, capsys):
    assert show_results(["--study", str(tmp_path)]) == 2
    assert "train one with" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
