"""Evaluation and report of run folders made by hand: figures, words, escaping, the same bytes."""

import html
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pytest import approx

from common.failures import StudyError
from common.files import write_json
from mil.evaluation.comparison import compare_runs
from mil.evaluation.metrics_record import ImageMetrics, NotEvaluated, SharePoint, Subgroup
from mil.metrics.bootstrap import Interval
from mil.metrics.concordance import c_index
from mil.report.image_section import image_line, image_section
from mil.report.result_sections import result_sections
from mil.report.verdict import results_table, verdict
from mil.runs.audit_record import Audit, Check, CheckTable, write_audit
from mil.runs.comparison_record import write_comparison
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import read_run
from mil.show_results import main as show
from mil.tasks.registry import TASKS
from tests.helpers.run_folders import FACTS, evaluated, reseal, subtype_run, survival_run, write_facts, write_run


def test_subtype_reports_say_what_was_found(tmp_path):
    subtype_run(tmp_path / "run")
    metrics = evaluated(tmp_path / "run", n_bootstrap=200)
    own = metrics.attention["macro_auroc"]
    assert 0.8 < own.low < own.value < own.high <= 1
    assert sum(map(sum, metrics.confusion.counts)) == metrics.n_patients == 40
    assert "It beats the mean-pool baseline" in verdict(metrics)
    assert "macro AUROC" in results_table(metrics)
    page = (tmp_path / "run" / "report.html").read_text()
    for part in (
        "Research use only",
        "A&lt;1&gt;",
        "&lt;b&gt;x&lt;/b&gt;",
        "Confusion matrix",
        "Apache-2.0",
        FACTS.command,
    ):
        assert part in page
    assert "<b>x" not in page
    assert not re.findall(r"<script|<link|<img|src=|url\(h|href=.http", page)  # nothing from outside


def test_reports_are_the_same_bytes_on_two_runs(tmp_path):
    for name in ("one", "two"):
        subtype_run(tmp_path / name)
        evaluated(tmp_path / name, n_bootstrap=100)
    for part in ("metrics.json", "report.html", "figures/roc.svg"):
        assert (tmp_path / "one" / part).read_bytes() == (tmp_path / "two" / part).read_bytes()


def test_a_model_that_does_not_beat_the_baseline_is_told_so(tmp_path):
    subtype_run(tmp_path / "run", skill=1.0, baseline_skill=3.0)
    metrics = evaluated(tmp_path / "run", n_bootstrap=200)
    assert metrics.differences["mean_pool"]["macro_auroc"].high < 0
    assert "It is worse than the mean-pool baseline" in verdict(metrics)
    subtype_run(tmp_path / "noise", skill=0.0)
    assert "not shown to be better than chance" in verdict(evaluated(tmp_path / "noise", n_bootstrap=200))


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-0.2, -0.01, "is worse than"), (-0.2, 0.0, "does not beat"), (-0.2, 0.05, "does not beat"), (0.01, 0.2, "beats"),
        (None, None, "does not beat"),
    ],
)  # fmt: skip
def test_the_words_of_a_difference_follow_its_interval(tmp_path, low, high, words):
    subtype_run(tmp_path / "run")
    metrics = evaluated(tmp_path / "run")
    value = 0.1 if words == "beats" else -0.1
    of_main = replace(metrics.differences["mean_pool"]["macro_auroc"], value=value, low=low, high=high)
    said = verdict(
        replace(metrics, differences={"mean_pool": metrics.differences["mean_pool"] | {"macro_auroc": of_main}})
    )
    assert f"It {words} the mean-pool baseline" in said


@pytest.mark.parametrize(
    ("low", "high", "words"), [(0.3, 0.49, "worse"), (0.3, 0.51, "not shown"), (0.51, 0.6, "better")]
)
def test_the_words_on_chance_follow_the_interval(tmp_path, low, high, words):
    subtype_run(tmp_path / "run")
    metrics = evaluated(tmp_path / "run")
    own = replace(metrics.attention["macro_auroc"], low=low, high=high)
    assert f"The attention model is {words}" in verdict(
        replace(metrics, attention=metrics.attention | {"macro_auroc": own})
    )


@pytest.mark.parametrize(("n_one", "is_idle"), [(40, True), (3, False), (0, False)])
def test_e9_with_one_tile_a_bag_attention_has_nothing_to_choose_and_the_report_says_so(tmp_path, n_one, is_idle):
    folder = tmp_path / "run"
    subtype_run(folder)
    write_facts(folder, replace(FACTS, classes=("A<1>", "B", "C"), n_bags_of_one_tile=n_one))
    said = verdict(evaluated(folder, n_bootstrap=200))
    assert ("It beats the mean-pool baseline" in said) != is_idle
    assert ("Every patient has one tile, so attention has nothing to choose" in said) == is_idle
    assert ("3 of 40 patients have one tile" in said) == (n_one == 3)
    assert said in (folder / "report.html").read_text()


def test_survival_pools_standardised_scores_and_keeps_folds_apart(tmp_path):
    risk, time, event = survival_run(tmp_path / "run")
    metrics = evaluated(tmp_path / "run", n_bootstrap=200)
    assert metrics.attention["c_index"].value == approx(c_index(risk, time, event), abs=1e-12)
    folds = np.arange(40) % 2
    pairs = [(c_index(risk[folds == f], time[folds == f], event[folds == f])) for f in (0, 1)]
    assert min(pairs) <= metrics.attention["c_index_within_folds"].value <= max(pairs)
    assert metrics.differences["mean_pool"]["c_index"].value == 0
    assert "does not beat" in verdict(metrics)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Kaplan-Meier" in page
    assert "log-rank p" in page


def test_nothing_evaluated_is_said_plainly(tmp_path):
    columns = ["repeat", "fold", "patient_id", "model", "truth", "p_A", "p_B"]
    write_run(
        tmp_path / "run",
        pd.DataFrame(columns=columns),
        replace(FACTS, classes=("A", "B"), evaluated=False),
    )
    metrics = evaluated(tmp_path / "run", n_bootstrap=100)
    assert metrics.evaluated is False
    assert "Nothing was evaluated" in (tmp_path / "run" / "report.html").read_text()
    assert "nothing was evaluated" in results_table(metrics)


def test_a_class_without_test_patients_is_noted(tmp_path):
    subtype_run(tmp_path / "run")
    path = tmp_path / "run" / "predictions.csv"
    table = pd.read_csv(path)
    table[table["truth"] != "C"].to_csv(path, index=False)
    reseal(tmp_path / "run")
    metrics = evaluated(tmp_path / "run", n_bootstrap=100)
    assert metrics.notes == ("no test patient of C: left out of macro averages",)
    assert metrics.per_class["C"].auroc.value is None
    assert metrics.chance["balanced_accuracy"] == 0.5
    json.loads((tmp_path / "run" / "metrics.json").read_text(), parse_constant=pytest.fail)  # no NaN


def test_results_of_a_study_are_listed(tmp_path, capsys):
    assert show(["--study", str(tmp_path)]) == 2
    assert "no finished run" in capsys.readouterr().err
    subtype_run(tmp_path / "runs" / "subtype" / "default")
    evaluated(tmp_path / "runs" / "subtype" / "default", n_bootstrap=100)
    assert show(["--study", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "subtype, run default" in out
    assert "report.html" in out


def test_an_audit_beside_the_run_is_shown_and_a_stale_comparison_is_not(tmp_path):
    folder = tmp_path / "run"
    subtype_run(folder)
    evaluated(folder, n_bootstrap=100)
    assert "was not checked for this run" in (folder / "report.html").read_text()
    rows = CheckTable(columns=("site", "n"), rows=(("<s>", 3),))
    checks = (
        Check(name="patients", verdict="ok", text="none on two sides", table=None),
        Check(name="sites", verdict="leak", text="V <0.9>", table=rows),
    )
    write_audit(RunFolder(folder), Audit(checks=checks))
    run = read_run(RunFolder(folder))
    compared = compare_runs(run, run, TASKS["subtype"].evaluation, n_bootstrap=100, seed=0)
    write_comparison(run.folder, replace(compared, predictions_sha256="of earlier predictions"))
    evaluated(folder)
    page = (folder / "report.html").read_text()
    for part in ("<td class=leak>leak</td>", "V &lt;0.9&gt;", "<td>&lt;s&gt;</td>", "none on two sides"):
        assert part in page
    assert "Compared with" not in page


def test_every_figure_has_its_numbers_beside_it(tmp_path):
    subtype_run(tmp_path / "run")
    metrics = evaluated(tmp_path / "run", n_bootstrap=100)
    folder = tmp_path / "run" / "figures"
    assert {path.stem for path in folder.glob("*.svg")} == {path.stem for path in folder.glob("*.csv")}
    confusion = pd.read_csv(folder / "confusion.csv")
    assert confusion["patients"].sum() == 40
    bins = pd.read_csv(folder / "reliability.csv")
    error = (bins["patients"] * (bins["accuracy"] - bins["confidence"]).abs()).sum() / 40
    assert error == approx(metrics.attention["ece"].value, abs=1e-9)


def test_a_comparison_of_an_earlier_version_is_left_out_and_a_damaged_one_named(tmp_path):
    folder = tmp_path / "run"
    subtype_run(folder)
    write_json(folder / "comparison.json", {"task": "subtype"})
    evaluated(folder)
    assert "Compared with" not in (folder / "report.html").read_text()
    write_json(folder / "comparison.json", {"schema": "comparison/1", "task": "subtype"})
    with pytest.raises(StudyError, match=r"comparison\.json: the file lacks against, bootstrap"):
        evaluated(folder)


def test_results_of_an_earlier_version_are_named_with_the_remedy(tmp_path, capsys):
    folder = tmp_path / "runs" / "subtype" / "default"
    subtype_run(folder)
    evaluated(folder)
    known = json.loads((folder / "metrics.json").read_text())
    write_json(folder / "metrics.json", {name: value for name, value in known.items() if name != "schema"})
    assert show(["--study", str(tmp_path)]) == 2
    assert "metrics.json: schema missing, not metrics/1; evaluate again" in capsys.readouterr().err


def test_names_are_escaped_once_and_text_keeps_its_line_ends(tmp_path):
    folder = tmp_path / "run"
    subtype_run(folder)
    facts = replace(
        FACTS, classes=("A<1>", "B", "C"), run="<i>o'clock</i> & co", command="python mil/train.py --name '<i>'"
    )
    write_facts(folder, facts)
    evaluated(folder)
    page = (folder / "report.html").read_text()
    assert "run &lt;i&gt;o&#x27;clock&lt;/i&gt; &amp; co</title>" in page
    assert "&amp;lt;" not in page
    code = html.unescape(re.search(r"<pre>(.*?)</pre>", page, re.S)[1]).splitlines()
    assert code[3:] == [facts.command, f"python mil/evaluate.py --task subtype --name {facts.run}"]
    assert "<svg" in page
    for link in re.findall(r"<a href='#([^']+)'>", page):
        assert f"<section id='{link}'>" in page


def test_sections_are_there_for_what_a_run_has_and_for_nothing_else(tmp_path):
    folder = tmp_path / "run"
    subtype_run(folder)
    metrics = evaluated(folder, n_bootstrap=100)
    task = TASKS["subtype"].report
    keys = [section.key for section in result_sections(metrics, {}, None, None, task)]
    assert keys == ["discrimination", "calibration", "selective", "folds-tested"]
    group = Subgroup(column="site", group="A", n=3, events=None, metrics=None, why="too few")
    point = SharePoint(
        share=0.5, n_train=8.0, attention=metrics.attention["macro_auroc"], mean_pool=metrics.attention["accuracy"]
    )
    more = replace(metrics, subgroups=(group,), learning_curve=(point,))
    sections = {section.key: section for section in result_sections(more, {}, None, None, task)}
    assert list(sections)[-2:] == ["subgroups", "learning-curve"]
    table = sections["subgroups"].body[0]
    assert table.head == ("column", "group", "patients", "note")
    assert [[cell.words for cell in row] for row in table.rows] == [["site", "A", "3", "too few"]]
    timed = replace(
        more, subgroups=(group, replace(group, group="B", events=2, metrics={"accuracy": point.mean_pool}, why=""))
    )
    table = {section.key: section for section in result_sections(timed, {}, None, None, task)}["subgroups"].body[0]
    assert table.head == ("column", "group", "patients", "events", "accuracy", "note")
    assert [cell.words for cell in table.rows[0]] == ["site", "A", "3", "none", "not given", "too few"]
    assert [cell.words for cell in sections["learning-curve"].body[0].rows[0]][:2] == ["50%", "8.0"]
    assert image_section(metrics, {}) == []
    assert image_line(metrics) == image_line(NotEvaluated(task="subtype")) == ""
    accuracy, nothing = point.mean_pool, Interval(None, None, None)
    images = ImageMetrics(
        n_images=5, n_patients=1, macro_auroc=nothing, accuracy=accuracy, vote_accuracy=Interval(0.5, None, None),
        chance_accuracy=0.4, baselines={}, per_class={}, confusion=metrics.confusion,
    )  # fmt: skip
    line = image_line(replace(metrics, images=images))
    span = f"{accuracy.value:.3f} ({accuracy.low:.3f} to {accuracy.high:.3f})"
    assert (
        line
        == f"by image (5 images of 1 patient): macro AUROC - accuracy {span} majority vote of a patient's images 0.500"
    )
    (section,) = image_section(replace(metrics, images=images), {})
    assert [row[-1].words for row in section.body[0].rows] == ["0.500", "0.400", f"{metrics.chance['accuracy']:.3f}"]
