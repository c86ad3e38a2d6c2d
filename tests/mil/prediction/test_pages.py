"""The pages of predictions: what stands in which row, and the curve where its numbers say."""

import re
from dataclasses import replace

import numpy as np
import pytest
from pytest import approx

from common.failures import SlideStatus
from mil.models.record import PredictionSets, SurvivalGrid
from mil.pages.page import Drawing, Link, Listing, Words
from mil.prediction.pages import index_page, patient_page
from tests.helpers.model_records import COHORT, class_says, hazard_says, prediction, some_model, survival_model

TOLD = prediction("told", classes=class_says([0.2, 0.7, 0.1], [False, True, False]))
OPEN = prediction("open", classes=class_says([0.5, 0.4, 0.1], [True, True, False]), warnings=("mind", "this"))
NONE = prediction("none", classes=class_says([0.4, 0.3, 0.3], [False] * 3))


def index(model, predictions, **changes):
    known = {"failed": (), "notes": (), "truth": {}, "has_evaluation": False}
    names = {own.patient_id: f"{at:04d}.html" for at, own in enumerate(predictions)}
    return index_page(model, predictions, names, **known | changes)


def part(page, title):
    (found,) = [own for own in page.parts if own.title == title]
    return found.blocks


def test_the_list_has_a_row_a_patient_in_the_order_of_its_head():
    truth = {"open": {"subtype": "A", "age": 7}, "none": {"subtype": "C"}}
    page = index(some_model(), [TOLD, OPEN, NONE], truth=truth)
    (listing,) = part(page, "Predictions")
    assert listing.head == (
        "patient", "answer", "p A", "p B", "p C", "not ruled out", "true age", "true subtype", "slides", "tiles", "beware",
    )  # fmt: skip
    assert listing.rows[0][0] == Link(words="told", place=("patients", "0000.html"))
    assert [row[1:] for row in listing.rows] == [
        ("B", "0.2", "0.7", "0.1", "B", "none", "none", "2", "15", "nothing found"),
        ("cannot tell", "0.5", "0.4", "0.1", "A, B", "7", "A", "2", "15", "mind this"),
        ("cannot tell", "0.4", "0.3", "0.3", "none of them", "none", "C", "2", "15", "nothing found"),
    ]
    assert listing.marked == {1}
    assert listing.caption == "3 patients; marked: something to beware of"
    assert page.lead.startswith(
        "3 patients predicted by a model of the task subtype. It tells the class of 1, and cannot tell that of the other 2. An"
    )
    assert [own.title for own in page.parts] == ["Predictions", "Model"]
    assert not page.is_by_synthetic_model


def test_a_hazard_has_its_own_columns_and_no_word_of_classes():
    own = prediction("p", hazard=hazard_says())
    page = index(survival_model(cohort=replace(COHORT, is_synthetic=True), unit="slide"), [own])
    (listing,) = part(page, "Predictions")
    assert listing.head == ("slide", "risk group", "log-hazard", "score", "slides", "tiles", "beware")
    assert listing.rows[0][1:] == ("high risk", "1.235", "0.5", "2", "15", "nothing found")
    assert "class" not in page.lead and page.lead.startswith("1 slides predicted")
    assert page.is_by_synthetic_model


def test_lost_slides_and_an_evaluation_have_their_places():
    lost = (SlideStatus(slide_id="s", step="tile", state="failed", reason="no tissue", remedy="look"),)
    page = index(some_model(), [TOLD], failed=lost, has_evaluation=True, notes=("first", "second"))
    assert [own.title for own in page.parts] == ["Predictions", "Not predicted", "Model"]
    (listing,) = part(page, "Not predicted")
    assert listing.rows == (("s", "tile", "no tissue", "look"),)
    assert part(page, "Predictions")[1].rows == (
        (Link(words="evaluation of these predictions", place=("evaluation", "report.html")),),
    )
    assert [own.words for own in part(page, "Model")[1:]] == ["first", "second"]


def test_the_model_says_what_it_was_made_of():
    (listing,) = part(index(some_model(), [TOLD]), "Model")
    assert dict(listing.rows) == {
        "task": "subtype", "trained on": "80 patients, 120 slides", "of whom": "all of the table", "heads": "2",
        "worth out of fold": "macro_auroc 0.9123", "encoder": "e", "its licence": "MIT",
        "calibrated on": "70 patients out of fold", "coverage wanted": "90% of each class",
        "never ruled out, for too few patients": "B",
    }  # fmt: skip
    every = PredictionSets(coverage=0.8, thresholds={"A": 0.5, "B": 0.1, "C": 0.4}, n_patients={})
    rows = dict(part(index(some_model(prediction_sets=every, worth={}), [TOLD]), "Model")[0].rows)
    assert "never ruled out, for too few patients" not in rows
    assert (rows["coverage wanted"], rows["worth out of fold"]) == ("80% of each class", "not evaluated")
    rows = dict(part(index(survival_model(), [prediction(hazard=hazard_says())]), "Model")[0].rows)
    assert "coverage wanted" not in rows and rows["calibrated on"] == "0 patients out of fold"


@pytest.mark.parametrize(
    ("own", "lead"),
    [
        (TOLD, "Answer: B. Likeliest: B (70.0%); not ruled out: B."),
        (OPEN, "Answer: cannot tell. Likeliest: A (50.0%); not ruled out: A, B."),
        (NONE, "Answer: cannot tell. Likeliest: A (40.0%); not ruled out: none of them."),
        (
            prediction(classes=class_says([0.1, 0.2, 0.7])),
            "Answer: cannot tell. Likeliest: C (70.0%); no limits are known.",
        ),
    ],
)
def test_the_first_sentence_on_a_patient_of_a_class(own, lead):
    page = patient_page(some_model(), own, {})
    assert page.lead == lead
    assert page.title == f"Patient {own.patient_id}"
    assert page.warnings == own.warnings
    assert page.back == Link(words="all predictions", place=("..", "index.html"))


@pytest.mark.parametrize(
    ("says", "grid", "end"),
    [
        ({}, "months", " Predicted median survival: 20 months; mean time until 40 months: 27.1 months."),
        ({"median": None}, "months", " Predicted median survival: beyond 40 months; mean time until 40 months: 27.1 months."),
        ({"median": 1234.5}, "", " Predicted median survival: 1.23e+03; mean time until 40: 27.1."),
        ({"restricted_mean": None, "survival": np.empty(0)}, "months", ""),
        ({}, None, ""),
    ],
)  # fmt: skip
def test_the_first_sentence_on_a_patient_of_a_hazard(says, grid, end):
    survival = None if grid is None else SurvivalGrid(times=(10.0, 20.0, 40.0), unit=grid)
    page = patient_page(survival_model(survival=survival), prediction(hazard=hazard_says(**says)), {})
    assert page.lead == (
        "Risk group: high risk. Log-hazard 1.235 beside the mean of the training patients (+0.50 of their standard deviations)."
        + end
    )
    drawn = [block for block in part(page, "Prediction") if isinstance(block, Drawing)]
    assert len(drawn) == (grid is not None and says.get("survival") is None)


def test_what_unseen_heads_say_and_what_is_known_stand_below():
    own = replace(TOLD, unseen=class_says([0.1, 0.1, 0.8], [False, False, True]), trained=(4, 5))
    said = part(patient_page(some_model(), own, {"subtype": "C", "age": 61.5}), "Prediction")
    assert [block.caption for block in said] == [
        "What all heads say together", "What 1 head(s) say that never saw this patient", "Known",
    ]  # fmt: skip
    assert said[0].rows == (("B", "0.2", "0.7", "0.1", "B"),)
    assert said[1].rows == (("C", "0.1", "0.1", "0.8", "C"),)
    assert said[2].rows == (("subtype", "C"), ("age", "61.5"))
    assert len(part(patient_page(some_model(), TOLD, {}), "Prediction")) == 1


def test_slides_with_their_shares_and_the_sum_in_words():
    own = replace(TOLD, told=1, residual=np.array([0.0, -1e-3, 1e-7]), base=np.array([0.5, -1.0, 2.0]))
    listing, words = part(patient_page(some_model(), own, {}), "Slides")
    assert isinstance(listing, Listing) and isinstance(words, Words)
    assert listing.head[1:6] == (
        "tiles",
        "contribution to A",
        "contribution to B",
        "contribution to C",
        "tile distance",
    )
    assert listing.rows == (
        ("told-1", "5", "0.25", "1.25", "2.25", "0.5", "none", "none"),
        ("told-2", "10", "0.5", "1.5", "2.5", "3.5", "2.5", "embedding, stain"),
    )
    assert listing.marked == {1} and listing.caption == "Marked: the slide that speaks most for B"
    assert words.words == (
        "A: +0.5000 (a bag of average training tiles) and +1.5000 (the slides) make +2.0000. "
        "B: -1.0000 (a bag of average training tiles) and +3.0000 (the slides) make +2.0000, of which -0.0010 is no tile's. "
        "C: +2.0000 (a bag of average training tiles) and +0.0000 (the slides) make +2.0000."
    )


def test_each_head_has_a_row():
    (listing,) = part(patient_page(some_model(), TOLD, {}), "Heads")
    assert listing.head == ("head", "A", "B", "C")
    assert listing.rows == (("repeat 0, fold 0", "0", "1", "2"), ("repeat 0, fold 1", "3", "4", "5"))


@pytest.mark.parametrize("unit", ["months", ""])
def test_the_curve_lies_where_time_and_survival_say(unit):
    model = survival_model(survival=SurvivalGrid(times=(10.0, 20.0, 40.0), unit=unit))
    own = prediction(hazard=hazard_says(survival=np.array([0.75, 0.5, 0.25])))
    (drawing,) = [block for block in part(patient_page(model, own, {}), "Prediction") if isinstance(block, Drawing)]
    assert ("(months)" in drawing.caption) == bool(unit)
    points = [tuple(map(float, pair.split(","))) for pair in re.search(r"points='([^']+)'", drawing.svg)[1].split()]
    left, right, top, low = 46.0, 448.0, 12.0, 172.0
    assert [x for x, _ in points] == approx(
        [left, left + (right - left) / 4, left + (right - left) / 2, right], abs=0.1
    )
    assert [y for _, y in points] == approx([top + (low - top) * fall for fall in (0, 0.25, 0.5, 0.75)], abs=0.1)
    lines = [
        (float(a), float(b), float(c)) for a, b, c in re.findall(r"x2='(\d+)' y1='([\d.]+)' y2='([\d.]+)'", drawing.svg)
    ]
    assert lines == [(448.0, 172.0, 172.0), (448.0, 92.0, 92.0), (448.0, 12.0, 12.0)]
    texts = {
        text: (float(x), float(y))
        for x, y, text in re.findall(r"<text x='([\d.]+)' y='([\d.]+)'[^>]*>([^<]+)", drawing.svg)
    }
    assert texts == {
        "1": (40.0, 16.0), "0.5": (40.0, 96.0), "0": (46.0, 192.0), "20": (247.0, 192.0), "40": (448.0, 192.0),
    }  # fmt: skip
    assert re.search(r"<text x='40' y='176.0' text-anchor='end'>0<", drawing.svg)
