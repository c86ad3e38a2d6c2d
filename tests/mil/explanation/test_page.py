"""The pages of an explanation: every number in its place, warnings on every page, curves where their axes say."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pytest import approx

from common.failures import SlideStatus
from common.study import Study
from mil.bags.bags import BagStore
from mil.explanation import page as own_module
from mil.explanation.explained import ExplainedPatient
from mil.explanation.faithfulness import Against, Faithfulness
from mil.explanation.page import write_pages
from mil.explanation.patients import ToExplain
from mil.models.known_patients import KnownPatients
from mil.pages.page import Drawing, Link, Picture
from mil.runs.facts import IntervalFacts
from tests.helpers.model_records import COHORT, some_model, survival_model

INTERVALS = IntervalFacts(ends=(6.0, 12.0), base=(-1.0, -0.5))
SVG = "{http://www.w3.org/2000/svg}"
CURVES = {"contributions": (2.0, 0.5, -1.0), "attention": (2.0, 1.0, 0.0), "random": (2.0, 1.5, 0.25)}
FOUND = Faithfulness(
    n_patients=9, shares=(0.0, 0.5, 0.9), most_first=CURVES,
    least_first={name: (2.0, 2.0 + at, 3.0 + at) for at, name in enumerate(CURVES)}, gain=0.5,
    against={
        "attention": Against(gain=0.25, difference=0.3125, p=0.0009), "random": Against(gain=0.125, difference=0.375, p=None)
    },
    whole=2.125, top_alone=1.75, without_top=1.5, same_told=0.875, untrained_likeness=0.0625, most_residual=0.03125, faults=(),
)  # fmt: skip


def some_patient(patient_id="P1", **changes):
    known = {
        "patient_id": patient_id, "told": "B", "told_at": 1, "names": ("A", "B", "C"), "values": np.array([-1.0, 3.0, -2.0]),
        "base": np.array([0.25, 0.5, -0.75]), "residual": np.array([0.0, 0.125, -0.125]),
        "of_slides": np.array([[1.0, 0.375, -0.5], [-2.25, 2.0, -0.625]]), "n_tiles": (3, 40), "slide_ids": ("s1", "s2"),
        "level": 0.25, "heads": ("h0", "h1"), "methods": ("exact",), "is_trained_on": False,
    }  # fmt: skip
    return ExplainedPatient(**known | changes)


def explained(folder, model=None, **changes):
    return ToExplain(
        study=Study(folder), slides=folder, out=folder, model_file=folder / "m", model=model or some_model(), model_sha256="ab",
        known=KnownPatients(is_known=False), bags=BagStore.__new__(BagStore), patients=("P1",), **changes,
    )  # fmt: skip


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """Return a call that gives the pages as values, by name."""

    def made(patients, found=None, made=None, sheets=None, lost=(), model=None, **changes):
        written = {}
        with monkeypatch.context() as patch:
            patch.setattr(own_module, "write_page", lambda path, page: written.update({path.name: page}))
            what = explained(tmp_path, model, **changes)
            assert write_pages(what, patients, found, made or {}, sheets or {}, lost) == tmp_path / "index.html"
        return written

    return made


def blocks(page, title):
    return next(part.blocks for part in page.parts if part.title == title)


def test_the_index_lists_patients_by_what_was_told(pages):
    one = some_patient()
    other = some_patient("P2", told="A", told_at=0, is_trained_on=True, methods=("exact", "leave-out"))
    found = pages([one, other])
    assert sorted(found) == ["0001.html", "0002.html", "index.html"]
    (listing,) = blocks(found["index.html"], "Patients")
    assert listing.caption == "2 explained"
    assert [row[0] for row in listing.rows] == [
        Link(words="P1", place=("patients", "0001.html")), Link(words="P2", place=("patients", "0002.html")),
    ]  # fmt: skip
    assert listing.rows[0][1:] == ("B", "3", "0.5", "s2", "43", "exact", "h0, h1", "no")
    assert listing.rows[1][1:] == ("A", "-1", "0.25", "s1", "43", "exact, leave-out", "h0, h1", "yes")
    assert len(listing.head) == len(listing.rows[0])
    assert [part.title for part in found["index.html"].parts] == ["Patients"]
    (warning,) = found["index.html"].warnings
    assert "not measured" in warning
    assert found["0001.html"].warnings == (warning,)
    assert found["0002.html"].warnings[0] == warning and "by heart" in found["0002.html"].warnings[1]


def test_a_patients_numbers_stand_by_slide_and_add_up(pages):
    own = some_patient()
    assert own.base + own.of_slides.sum(axis=0) + own.residual == approx(own.values)
    files = {"s1": {"png": Path("a") / "s1.png", "ome": Path("a") / "s1.ome.tif"}}
    page = pages([own], made=files)["0001.html"]
    by_slide, sums, heads = blocks(page, "Contributions")
    assert by_slide.rows == (
        ("s1", "3", "1", "0.375", "-0.5", "s1.png, s1.ome.tif"), ("s2", "40", "-2.25", "2", "-0.625", "none"),
    )  # fmt: skip
    assert sums.rows == (
        ("A", "0.25", "-1.25", "0", "-1"), ("B", "0.5", "2.375", "0.125", "3"), ("C", "-0.75", "-1.125", "-0.125", "-2"),
    )  # fmt: skip
    assert [len(each.head) for each in (by_slide, sums)] == [6, 5]
    assert "h0, h1" in heads.words and "exact" in heads.words
    (picture,) = blocks(page, "Maps")
    assert picture.place == ("..", "maps", "s1.png")
    assert (page.title, page.lead) == ("Patient P1", "Told: B.")
    assert page.back == Link(words="all patients", place=("..", "index.html"))
    assert [part.title for part in pages([own])["0001.html"].parts] == ["Contributions"]


@pytest.mark.parametrize("is_synthetic", [False, True])
def test_a_painted_study_says_so_and_real_slides_under_its_model_say_that(pages, is_synthetic):
    model = some_model(cohort=replace(COHORT, is_synthetic=is_synthetic))
    for is_other in (False, True):
        for page in pages([some_patient()], model=model, is_by_other_model=is_other).values():
            assert (page.is_synthetic, page.is_by_synthetic_model) == (is_synthetic and not is_other, is_synthetic)


def test_sheets_and_lost_slides_have_their_part(pages):
    lost = [SlideStatus(slide_id="s9", step="explain", state="failed", reason="gone", remedy="find it")]
    page = pages([some_patient()], FOUND, sheets={"A": Path("x") / "output0.png"}, lost=lost)["index.html"]
    assert [part.title for part in page.parts] == ["Can the maps be believed?", "Patients", "Tiles", "Not drawn"]
    (picture,) = blocks(page, "Tiles")
    assert (
        isinstance(picture, Picture)
        and picture.place == ("sheets", "output0.png")
        and picture.caption.startswith("A: ")
    )
    assert blocks(page, "Not drawn")[0].rows == (("s9", "gone", "find it"),)
    assert page.warnings == ()


def test_the_lead_says_what_contributions_are_to(pages):
    facts = survival_model().record.folds[0]
    with_intervals = survival_model(folds=(replace(facts, scale=replace(facts.scale, intervals=INTERVALS)),))
    for model, told in (
        (some_model(), "to the logit of each class, of 1 patients."),
        (survival_model(unit="slide"), "to the log-hazard, of 1 slides."),
        (with_intervals, "to the log-odds ratio of the event to the training cohort's"),
    ):
        n = len(model.output_names)
        own = some_patient(
            values=np.ones(n), base=np.ones(n), residual=np.ones(n), of_slides=np.ones((2, n)), told_at=0
        )
        assert told in pages([own], model=model)["index.html"].lead


def test_the_verdict_stands_with_its_numbers(pages):
    page = pages([some_patient()], FOUND)["index.html"]
    verdict, _, gains, checks = blocks(page, "Can the maps be believed?")
    assert verdict.words == "The maps are faithful by these checks."
    assert gains.rows == (
        ("contributions", "0.5", "none", "none"), ("attention", "0.25", "0.3125", "< 0.001"),
        ("random", "0.125", "0.375", "not defined"),
    )  # fmt: skip
    assert checks.caption == "Means over 9 patients"
    assert [row[1] for row in checks.rows] == ["2.125", "1.75", "1.5", "0.875", "0.0625", "0.03125"]
    bad = replace(FOUND, faults=("one", "two"), against={"random": Against(gain=0.0, difference=0.0, p=0.001)})
    made = pages([some_patient()], bad)
    for page in made.values():
        assert page.warnings == ("THESE MAPS ARE NOT FAITHFUL: one.", "THESE MAPS ARE NOT FAITHFUL: two.")
    verdict, _, gains, _ = blocks(made["index.html"], "Can the maps be believed?")
    assert verdict.words.startswith("The maps are not faithful")
    assert gains.rows[1][3] == "0.001"


def drawn(pages, found):
    page = pages([some_patient()], found)["index.html"]
    (drawing,) = [own for own in blocks(page, "Can the maps be believed?") if isinstance(own, Drawing)]
    return ET.fromstring(drawing.svg)


def test_curves_lie_where_their_axes_say(pages):
    svg = drawn(pages, FOUND)
    texts = {own.text: (float(own.get("x")), float(own.get("y"))) for own in svg.iter(f"{SVG}text")}
    (x0, _), (x50, _), (x100, _) = (texts[label] for label in ("0%", "50%", "100%"))
    low, high = texts["-1"], texts["5"]  # the least and the most of all curves
    assert low[0] == high[0] < x0 < x50 < x100 and high[1] < low[1]
    assert x50 - x0 == approx(x100 - x50)
    assert texts["tiles taken away"][0] == x50
    width, height = (float(svg.get(side)) for side in ("width", "height"))
    assert svg.get("viewBox") == f"0 0 {width:.0f} {height:.0f}"
    wanted = [
        (name, lines[name], is_broken)
        for name in CURVES
        for lines, is_broken in ((FOUND.most_first, False), (FOUND.least_first, True))
    ]
    lines = list(svg.iter(f"{SVG}polyline"))
    for line, (name, values, is_broken) in zip(lines, wanted, strict=True):
        assert line.get("stroke") == own_module.COLOURS[name]
        assert (line.get("stroke-dasharray") is not None) == is_broken
        points = np.array([point.split(",") for point in line.get("points").split()], float)
        assert points[:, 0] == approx(x0 + (x100 - x0) * np.array(FOUND.shares), abs=0.1)
        assert points[:, 1] + 4 == approx(low[1] + (high[1] - low[1]) * (np.array(values) + 1) / 6, abs=0.11)
        assert (points > 0).all() and (points < (width, height)).all()
    keys = list(svg.iter(f"{SVG}line"))
    for key, name, before in zip(keys, CURVES, (None, *keys), strict=False):
        assert key.get("stroke") == own_module.COLOURS[name]
        x1, x2, y1, y2 = (float(key.get(end)) for end in ("x1", "x2", "y1", "y2"))
        assert x100 < x1 < x2 < texts[name][0] < width - 60  # beside the curves, with room for the name
        assert y1 == y2 == texts[name][1] - 4 > 0
        assert before is None or y1 - float(before.get("y1")) == 20
    assert all(0 < x < width and 0 < y < height for x, y in texts.values())
    assert texts["tiles taken away"][1] > texts["0%"][1] > low[1]


def test_curves_that_do_not_move_are_drawn_too(pages):
    flat = dict.fromkeys(CURVES, (2.0, 2.0, 2.0))
    svg = drawn(pages, replace(FOUND, most_first=flat, least_first=flat))
    heights = {point.split(",")[1] for line in svg.iter(f"{SVG}polyline") for point in line.get("points").split()}
    assert len(heights) == 1 and re.fullmatch(r"\d+\.\d", heights.pop())


def test_pages_of_patients_that_are_no_more_go_and_other_files_stay(tmp_path):
    (tmp_path / "patients").mkdir()
    for name in ("0003.html", "12345.html", "own.html", "001.html"):
        (tmp_path / "patients" / name).write_text("x")
    write_pages(explained(tmp_path), [some_patient(), some_patient("P2")], FOUND, {}, {}, [])
    assert sorted(path.name for path in (tmp_path / "patients").iterdir()) == [
        "0001.html", "0002.html", "001.html", "own.html",
    ]  # fmt: skip
    assert "P2" in (tmp_path / "patients" / "0002.html").read_text()
    assert "patients/0002.html" in (tmp_path / "index.html").read_text()
