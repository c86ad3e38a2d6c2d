"""The table and the JSON of predictions: every value at its name; pages of earlier patients go."""

import json

import numpy as np
import pandas as pd
import pytest
from pytest import approx

from common.failures import SlideStatus
from mil.prediction.predicting import CANNOT_TELL
from mil.prediction.written import write_predictions
from tests.helpers.model_records import class_says, hazard_says, prediction, some_model, survival_model

LOST = SlideStatus(slide_id="s9", step="tiling", state="failed", reason="gone", remedy="find it")


@pytest.fixture
def written(tmp_path):
    """Return a call that writes predictions and returns the table and the record."""

    def write(model, predictions, **changes):
        known = {"failed": [], "notes": [], "truth": {}, "model_sha256": "ab", "evaluation": False}
        write_predictions(tmp_path, model, predictions, **known | changes)
        table = pd.read_csv(tmp_path / "predictions.csv", dtype=str, keep_default_na=False)
        return table.to_dict("records"), json.loads((tmp_path / "predictions.json").read_text())

    return write


def test_a_row_of_classes_says_what_is_told_and_of_whom(written):
    told = prediction(
        "P1",
        classes=class_says([0.25, 0.625, 0.125], [False, True, False]),
        told=1,
        trained=(1, 2),
        warnings=("a", "b"),
    )
    unsure = prediction("P2", classes=class_says([0.5, 0.25, 0.25], [True, False, True]))
    bare = prediction("P3", classes=class_says([0.5, 0.25, 0.25]))
    table, record = written(
        some_model(),
        [told, unsure, bare],
        truth={"P1": {"subtype": "B", "grade": 2}, "P3": {"subtype": "A"}},
        notes=["n"],
        failed=[LOST],
    )
    assert table[0] == {
        "patient_id": "P1", "n_slides": "2", "n_tiles": "15", "answer": "B", "most_likely": "B", "p_A": "0.25", "p_B": "0.625",
        "p_C": "0.125", "prediction_set": "B", "main_slide": "P1-2", "unlike": "", "in_training": "1", "warnings": "a; b",
        "true_grade": "2", "true_subtype": "B",
    }  # fmt: skip
    assert [row["answer"] for row in table] == ["B", CANNOT_TELL, CANNOT_TELL]
    assert [row["most_likely"] for row in table] == ["B", "A", "A"]
    assert [row["prediction_set"] for row in table] == ["B", "A C", ""]
    assert [row["in_training"] for row in table] == ["1", "0", "0"]
    assert [(row["true_grade"], row["true_subtype"]) for row in table] == [("2", "B"), ("", ""), ("", "A")]
    assert {name: record[name] for name in ("schema", "model_sha256", "classes", "unit", "times", "time_unit", "notes")} == {
        "schema": "predictions/1", "model_sha256": "ab", "classes": ["A", "B", "C"], "unit": "patient", "times": [],
        "time_unit": "", "notes": ["n"],
    }  # fmt: skip
    assert record["failed"] == [{"slide_id": "s9", "step": "tiling", "reason": "gone", "remedy": "find it"}]
    first, second, third = record["patients"]
    assert (first["told"], first["n_heads_trained_on"], first["by_unseen_heads"]) == ("B", 1, None)
    assert first["probabilities"] == {"A": 0.25, "B": 0.625, "C": 0.125}
    assert (second["prediction_set"], third["prediction_set"]) == (["A", "C"], None)
    assert (first["truth"], second["truth"]) == ({"subtype": "B", "grade": 2}, {})


def test_numbers_of_outputs_slides_and_heads_stand_at_their_names(written):
    own = prediction(
        "P1", classes=class_says([0.5, 0.25, 0.25]), values=np.array([1.0, 2.0, 3.0]), base=np.array([0.5, 0.25, 0.125]),
        residual=np.array([0.0, 0.5, 0.75]), unseen=class_says([0.2, 0.2, 0.6], [False, False, True]),
    )  # fmt: skip
    _, record = written(some_model(), [own])
    (found,) = record["patients"]
    assert found["outputs"] == {
        "A": {"value": 1.0, "base": 0.5, "residual": 0.0}, "B": {"value": 2.0, "base": 0.25, "residual": 0.5},
        "C": {"value": 3.0, "base": 0.125, "residual": 0.75},
    }  # fmt: skip
    assert [slide["slide_id"] for slide in found["slides"]] == ["P1-1", "P1-2"]
    assert found["slides"][1] == {
        "slide_id": "P1-2", "n_tiles": 10, "contributions": {"A": 0.5, "B": 1.5, "C": 2.5}, "embedding_distance": 3.5,
        "stain_distance": 2.5, "unlike": ["embedding", "stain"],
    }  # fmt: skip
    assert found["folds"] == [
        {"repeat": 0, "fold": 0, "outputs": {"A": 0.0, "B": 1.0, "C": 2.0}},
        {"repeat": 0, "fold": 1, "outputs": {"A": 3.0, "B": 4.0, "C": 5.0}},
    ]
    assert found["by_unseen_heads"]["answer"] == "C"


def test_a_row_of_a_hazard_has_its_times_or_none(written):
    says = [hazard_says(), hazard_says(median=None, restricted_mean=None)]
    table, record = written(
        survival_model(),
        [prediction(f"P{k}", hazard=own) for k, own in enumerate(says)],
        truth={"P0": {"time": 4, "event": 1}},
    )
    assert {name: table[0][name] for name in ("log_hazard", "score", "risk_group", "median_survival", "restricted_mean")} == {
        "log_hazard": "1.23456", "score": "0.5", "risk_group": "high risk", "median_survival": "20.0", "restricted_mean": "27.125",
    }  # fmt: skip
    assert (table[1]["median_survival"], table[1]["restricted_mean"]) == ("", "")
    assert (table[0]["true_event"], table[0]["true_time"], table[1]["true_time"]) == ("1", "4", "")
    assert (record["times"], record["time_unit"]) == ([10.0, 20.0, 40.0], "months")
    assert record["patients"][0]["survival"] == approx([0.9, 0.5, 0.25])
    assert (record["patients"][1]["median_survival"], record["patients"][1]["risk_group"]) == (None, "high risk")
    assert record["patients"][0]["told"] == "log_hazard"


def test_pages_of_earlier_patients_go(written, tmp_path):
    model, own = some_model(), [prediction(f"P{k}", classes=class_says([0.5, 0.25, 0.25])) for k in range(3)]
    written(model, own)
    (tmp_path / "patients" / "own.html").write_text("x")
    assert len(list((tmp_path / "patients").iterdir())) == 4
    written(model, own[1:])
    assert sorted(path.name for path in (tmp_path / "patients").iterdir()) == ["0001.html", "0002.html", "own.html"]
    assert "P1" in (tmp_path / "patients" / "0001.html").read_text()
    assert "patients/0001.html" in (tmp_path / "index.html").read_text()
