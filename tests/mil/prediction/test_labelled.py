"""Predictions of patients with known labels: who is evaluated, who is left out and why, and the rows of the run."""

import pandas as pd
import pytest

from common.cohort import read_cohort
from common.failures import StudyError
from mil.prediction import labelled
from mil.prediction.labelled import evaluate_predictions, truth_of
from mil.tasks.registry import task_named
from tests.helpers.model_records import class_says, hazard_says, prediction, some_model, survival_model


def test_labels_are_those_of_all_columns_of_the_task(tmp_path):
    table = pd.DataFrame(
        {"patient_id": ["P0", "P1", "P2"], "slide_id": list("abc"), "time": [3.5, 4.0, None], "event": [1, 0, None]}
    )
    table.to_csv(tmp_path / "cohort.csv", index=False)
    cohort = read_cohort(tmp_path / "cohort.csv")
    found = truth_of(cohort, task_named("survival"), ["P1", "P0", "P2", "stranger"])
    assert found == {"P1": {"time": 4, "event": 0}, "P0": {"time": 3.5, "event": 1}}
    assert {type(value) for value in found["P1"].values()} == {int}
    assert isinstance(found["P0"]["time"], float)
    assert truth_of(cohort, task_named("subtype"), ["P0"]) == {}


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """Return a call that evaluates predictions, without the report, and returns the metrics, the words, the run and the table."""

    def call(predictions, truth, model=None):
        reported = []
        monkeypatch.setattr(labelled, "write_results_of_new_patients", lambda *given: reported.append(given))
        model = model or some_model()
        metrics, words = evaluate_predictions(tmp_path, model, predictions, truth, n_bootstrap=20, seed=3)
        if metrics is None:
            assert not reported
            assert not (tmp_path / "evaluation" / "predictions.csv").exists()
            return None, words, None, None
        ((run, of_report, _, said_words),) = reported
        assert (of_report, said_words) == (metrics, words)
        assert (tmp_path / "evaluation" / "metrics.json").is_file()
        return metrics, words, run, pd.read_csv(tmp_path / "evaluation" / "predictions.csv")

    return call


def of_class(k, **changes):
    return prediction(f"P{k:02d}", classes=class_says([0.25, 0.625, 0.125] if k % 2 else [0.5, 0.25, 0.25]), **changes)


def labels(n, names="AB"):
    return {f"P{k:02d}": {"subtype": names[k % len(names)]} for k in range(n)}


def test_who_was_in_the_training_or_has_no_label_is_no_evidence(evaluate):
    predictions = [of_class(k, trained=(1, 2) if k == 3 else (0, 2)) for k in range(24)]
    metrics, words, run, table = evaluate(predictions, labels(22))
    assert words == (
        "21 patients who trained nothing of the model; 1 with labels left out "
        "(in the training, or of a class the model does not know)."
    )
    assert table["patient_id"].tolist() == [f"P{k:02d}" for k in range(22) if k != 3]
    assert (metrics.n_patients, metrics.bootstrap.n, metrics.bootstrap.seed) == (21, 20, 3)
    assert table.columns.tolist() == ["repeat", "fold", "patient_id", "model", "truth", "p_A", "p_B", "p_C"]
    assert table.loc[1].tolist() == [0, 0, "P01", "attention", "B", 0.25, 0.625, 0.125]
    assert (run.facts.n_slides, run.facts.n_tiles, run.facts.task, run.facts.time_unit) == (42, 21 * 15, "subtype", "")
    metrics, words, *_ = evaluate(predictions[4:], labels(22))
    assert words == "18 patients who trained nothing of the model."


def test_classes_that_the_model_does_not_know_are_named(evaluate):
    truth = labels(20) | {"P04": {"subtype": "Z"}, "P05": {"subtype": "X"}}
    _, words, _, table = evaluate([of_class(k) for k in range(20)], truth)
    assert "2 with labels left out (in the training, or of a class the model does not know: X, Z)" in words
    assert not {"P04", "P05"} & set(table["patient_id"])


def test_one_patient_is_too_few(evaluate):
    metrics, words, *_ = evaluate([of_class(0), of_class(1)], labels(1))
    assert (metrics, words) == (None, "too few patients with labels to evaluate: 1")
    metrics, words, *_ = evaluate([of_class(0), of_class(1, trained=(1, 2))], labels(2))
    assert words.startswith("too few patients with labels to evaluate: 1; 1 with labels left out")
    assert evaluate([of_class(0), of_class(1)], labels(2))[0] is not None


def test_an_evaluation_that_cannot_be_is_told(evaluate, monkeypatch):
    def refused(*_, **__):
        raise StudyError("no such thing")

    monkeypatch.setattr(labelled, "metrics_of_run", refused)
    assert evaluate([of_class(k) for k in range(9)], labels(9))[:2] == (None, "no such thing")


def test_hazards_are_rows_of_a_survival_run(evaluate):
    predictions = [
        prediction(f"P{k:02d}", hazard=hazard_says(log_hazard=0.25 * k, score=0.5 * k, group=k % 2)) for k in range(20)
    ]
    truth = {f"P{k:02d}": {"time": 30 - k, "event": k % 2} for k in range(20)}
    metrics, _, run, table = evaluate(predictions, truth, survival_model())
    assert table.columns.tolist()[4:] == ["time", "event", "log_hazard", "score", "risk_group"]
    assert table.loc[3].tolist() == [0, 0, "P03", "attention", 27.0, 1, 0.75, 1.5, 1]
    assert (metrics.attention["c_index"].value, run.facts.time_unit) == (1.0, "months")
