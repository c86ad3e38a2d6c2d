"""Evaluation and report of run folders made by hand: figures, words, escaping, the same bytes."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from pytest import approx

from common.files import write_json
from mil.evaluation.evaluation import evaluate_run
from mil.metrics.concordance import c_index
from mil.report.report import write_report
from mil.report.verdict import results_table, verdict
from mil.show_results import main as show

FACTS = {
    "run": "default", "n_patients": 40, "n_slides": 60, "n_tiles": 4000, "class_counts": {}, "n_events": 20,
    "excluded": [{"patient_id": "<b>x</b>", "reason": "no subtype"}], "slides_without_features": ["s1"],
    "encoder": {"encoder": "e", "licence": "Apache-2.0"}, "split": {"name": "default", "n_repeats": 1, "n_folds": 2},
    "settings": {"epochs": 3}, "seed": 0, "versions": {"torch": "2"}, "command": "python mil/train.py --task subtype",
    "folds": [
        {
            "repeat": 0, "fold": fold, "n_train": 16, "n_val": 4, "n_test": 20, "stopped_by": "inner validation",
            "best_epoch": 1, "n_epochs": 2, "model_file": f"models/repeat0_fold{fold}.safetensors",
            "history": [{"epoch": 1, "train_loss": 1.0, "val_loss": 1.1}, {"epoch": 2, "train_loss": 0.5, "val_loss": 1.2}],
        }
        for fold in (0, 1)
    ],
}  # fmt: skip


def subtype_run(folder, *, skill=2.0, baseline_skill=0.0):
    rng = np.random.default_rng(0)
    classes, rows = ["A<1>", "B", "C"], []
    for model, strength in (("attention", skill), ("mean_pool", baseline_skill)):
        for index in range(40):
            logits = rng.normal(size=3) + strength * np.eye(3)[index % 3]
            p = np.exp(logits) / np.exp(logits).sum()
            rows.append([0, index % 2, f"p{index:02d}", model, classes[index % 3], *p])
    names = ["repeat", "fold", "patient_id", "model", "truth", *(f"p_{name}" for name in classes)]
    write_run(
        folder, pd.DataFrame(rows, columns=names), FACTS | {"task": "subtype", "classes": classes, "evaluated": True}
    )


def survival_run(folder):
    rng, rows = np.random.default_rng(1), []
    risk = rng.normal(size=40)
    time, event = np.ceil(20 * np.exp(-risk) * rng.exponential(size=40)), rng.integers(0, 2, 40)
    for model in ("attention", "mean_pool"):
        for index in range(40):
            raw = risk[index] * (index % 2 + 1) + 30 * (index % 2)  # folds on two scales
            rows.append(
                [
                    0,
                    index % 2,
                    f"p{index:02d}",
                    model,
                    time[index],
                    event[index],
                    raw,
                    risk[index],
                    int(risk[index] > 0),
                ]
            )
    names = ["repeat", "fold", "patient_id", "model", "time", "event", "log_hazard", "score", "high_risk"]
    write_run(folder, pd.DataFrame(rows, columns=names), FACTS | {"task": "survival", "classes": [], "evaluated": True})
    return risk, time, event


def write_run(folder, predictions, facts):
    folder.mkdir(parents=True)
    predictions.to_csv(folder / "predictions.csv", index=False)
    write_json(folder / "run.json", facts)


def test_subtype_reports_say_what_was_found(tmp_path):
    subtype_run(tmp_path / "run")
    found = evaluate_run(tmp_path / "run", n_bootstrap=200, seed=0)
    figure = found["attention"]["macro_auroc"]
    assert 0.8 < figure["low"] < figure["value"] < figure["high"] <= 1
    assert sum(map(sum, found["confusion"]["counts"])) == found["n_patients"] == 40
    assert "It beats the mean-pool baseline" in verdict(found)
    assert "macro AUROC" in results_table(found)
    write_report(tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    for part in (
        "Research use only",
        "A&lt;1&gt;",
        "&lt;b&gt;x&lt;/b&gt;",
        "Confusion matrix",
        "Apache-2.0",
        FACTS["command"],
    ):
        assert part in page
    assert "<b>x" not in page
    assert not re.findall(r"<script|<link|<img|src=|url\(h|href=.http", page)  # nothing from outside


def test_reports_are_the_same_bytes_on_two_runs(tmp_path):
    for name in ("one", "two"):
        subtype_run(tmp_path / name)
        evaluate_run(tmp_path / name, n_bootstrap=100, seed=0)
        write_report(tmp_path / name)
    for part in ("metrics.json", "report.html", "figures/roc.svg"):
        assert (tmp_path / "one" / part).read_bytes() == (tmp_path / "two" / part).read_bytes()


def test_a_model_that_does_not_beat_the_baseline_is_told_so(tmp_path):
    subtype_run(tmp_path / "run", skill=1.0, baseline_skill=3.0)
    found = evaluate_run(tmp_path / "run", n_bootstrap=200, seed=0)
    assert "It does not beat the mean-pool baseline" in verdict(found)
    subtype_run(tmp_path / "noise", skill=0.0)
    assert "not shown to be better than chance" in verdict(evaluate_run(tmp_path / "noise", n_bootstrap=200, seed=0))


@pytest.mark.parametrize(("n_one", "is_idle"), [(40, True), (3, False), (0, False)])
def test_e9_with_one_tile_a_bag_attention_has_nothing_to_choose_and_the_report_says_so(tmp_path, n_one, is_idle):
    folder = tmp_path / "run"
    subtype_run(folder)
    write_json(folder / "run.json", json.loads((folder / "run.json").read_text()) | {"n_bags_of_one_tile": n_one})
    said = verdict(evaluate_run(folder, n_bootstrap=200, seed=0))
    assert ("It beats the mean-pool baseline" in said) != is_idle
    assert ("Every patient has one tile, so attention has nothing to choose" in said) == is_idle
    assert ("3 of 40 patients have one tile" in said) == (n_one == 3)
    write_report(folder)
    assert said in (folder / "report.html").read_text()


def test_survival_pools_standardised_scores_and_keeps_folds_apart(tmp_path):
    risk, time, event = survival_run(tmp_path / "run")
    found = evaluate_run(tmp_path / "run", n_bootstrap=200, seed=0)
    assert found["attention"]["c_index"]["value"] == approx(c_index(risk, time, event), abs=1e-12)
    folds = np.arange(40) % 2
    pairs = [(c_index(risk[folds == f], time[folds == f], event[folds == f])) for f in (0, 1)]
    assert min(pairs) <= found["attention"]["c_index_within_folds"]["value"] <= max(pairs)
    assert found["differences"]["mean_pool"]["c_index"]["value"] == 0
    assert "does not beat" in verdict(found)
    write_report(tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Kaplan-Meier" in page
    assert "log-rank p" in page


def test_nothing_evaluated_is_said_plainly(tmp_path):
    columns = ["repeat", "fold", "patient_id", "model", "truth", "p_A", "p_B"]
    write_run(
        tmp_path / "run",
        pd.DataFrame(columns=columns),
        FACTS | {"task": "subtype", "classes": ["A", "B"], "evaluated": False},
    )
    found = evaluate_run(tmp_path / "run", n_bootstrap=100, seed=0)
    assert found["evaluated"] is False
    write_report(tmp_path / "run")
    assert "Nothing was evaluated" in (tmp_path / "run" / "report.html").read_text()
    assert "nothing was evaluated" in results_table(found)


def test_a_class_without_test_patients_is_noted(tmp_path):
    subtype_run(tmp_path / "run")
    path = tmp_path / "run" / "predictions.csv"
    table = pd.read_csv(path)
    table[table["truth"] != "C"].to_csv(path, index=False)
    found = evaluate_run(tmp_path / "run", n_bootstrap=100, seed=0)
    assert found["notes"] == ["no test patient of C: left out of macro averages"]
    assert found["per_class"]["C"]["auroc"]["value"] is None
    assert found["chance"]["balanced_accuracy"] == 0.5
    json.loads((tmp_path / "run" / "metrics.json").read_text(), parse_constant=pytest.fail)  # no NaN


def test_results_of_a_study_are_listed(tmp_path, capsys):
    assert show(["--study", str(tmp_path)]) == 2
    assert "no finished run" in capsys.readouterr().err
    subtype_run(tmp_path / "runs" / "subtype" / "default")
    evaluate_run(tmp_path / "runs" / "subtype" / "default", n_bootstrap=100, seed=0)
    assert show(["--study", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "subtype, run default" in out
    assert "report.html" in out


def test_an_audit_beside_the_run_is_shown_and_a_stale_comparison_is_not(tmp_path):
    folder = tmp_path / "run"
    subtype_run(folder)
    evaluate_run(folder, n_bootstrap=100, seed=0)
    write_report(folder)
    assert "was not checked for this run" in (folder / "report.html").read_text()
    checks = [
        {"name": "patients", "verdict": "ok", "text": "none on two sides", "table": None},
        {
            "name": "sites",
            "verdict": "leak",
            "text": "V <0.9>",
            "table": {"columns": ["site", "n"], "rows": [["<s>", 3]]},
        },
    ]
    write_json(folder / "audit.json", {"checks": checks})
    write_json(folder / "comparison.json", {"predictions_sha256": "of earlier predictions"})
    write_report(folder)
    page = (folder / "report.html").read_text()
    for part in ("<td class=leak>leak</td>", "V &lt;0.9&gt;", "<td>&lt;s&gt;</td>", "none on two sides"):
        assert part in page
    assert "Compared with" not in page


def test_every_figure_has_its_numbers_beside_it(tmp_path):
    subtype_run(tmp_path / "run")
    found = evaluate_run(tmp_path / "run", n_bootstrap=100, seed=0)
    folder = tmp_path / "run" / "figures"
    assert {path.stem for path in folder.glob("*.svg")} == {path.stem for path in folder.glob("*.csv")}
    confusion = pd.read_csv(folder / "confusion.csv")
    assert confusion["patients"].sum() == 40
    bins = pd.read_csv(folder / "reliability.csv")
    error = (bins["patients"] * (bins["accuracy"] - bins["confidence"]).abs()).sum() / 40
    assert error == approx(found["attention"]["ece"]["value"], abs=1e-9)
