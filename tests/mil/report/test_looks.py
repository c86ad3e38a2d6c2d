"""How reports look and read: axes, colours, words, names for who does not see the pictures."""

import itertools
import re
from dataclasses import replace
from xml.etree import ElementTree

import pandas as pd
import pytest
from pytest import approx

from mil.report.blocks import counted, table
from mil.report.drawing import COLOURS, LEAST_POINTS, round_ticks, style_of
from mil.report.training_figures import draw_training
from tests.helpers.run_folders import FACTS, evaluated, subtype_run, survival_run, write_facts

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def survival_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("survival") / "run"
    survival_run(folder)
    evaluated(folder, n_bootstrap=100)
    return folder


@pytest.fixture(scope="module")
def subtype_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subtype") / "run"
    subtype_run(folder)
    evaluated(folder, n_bootstrap=100)
    return folder


def written(path):
    """Return the text elements of a picture."""
    return ["".join(each.itertext()).strip() for each in ElementTree.parse(path).getroot().iter(f"{SVG}text")]


@pytest.mark.parametrize("end", [0.7, 7.3, 71, 142, 3650])
def test_u5_ticks_of_time_are_round_and_start_at_0(end):
    ticks = round_ticks(end)
    assert ticks[0] == 0
    assert 3 <= len(ticks) <= 7
    assert ticks[-1] <= end < ticks[-1] + ticks[1]
    assert f"{ticks[1]:e}"[:8] in ("1.000000", "2.000000", "5.000000")


def test_u5_survival_curves_name_rows_unit_and_band(survival_folder):
    words = written(survival_folder / "figures" / "kaplan_meier.svg")
    assert {"number at risk", "low risk", "high risk", "time, as in the table"} <= set(words)
    table = pd.read_csv(survival_folder / "figures" / "kaplan_meier.csv")
    known = table.dropna()
    assert (known["low"] <= known["surviving"]).all() and (known["surviving"] <= known["high"]).all()
    assert (known["low"] < known["high"]).any()
    assert list(table[table["time"] == 0]["low"]) == approx([1, 1])


def test_u5_series_differ_by_dashes_and_markers_and_not_by_colour_alone(subtype_folder):
    looks = [style_of(place) for place in range(40)]
    assert len({(look.colour, str(look.dashes)) for look in looks}) == 40
    for first, second in itertools.pairwise(looks):
        assert first.colour != second.colour and first.dashes != second.dashes and first.marker != second.marker
    assert COLOURS[:3] == ("#0072B2", "#D55E00", "#009E73")
    assert "stroke-dasharray" in (subtype_folder / "figures" / "roc.svg").read_text()
    (axes,) = draw_training(FACTS.folds).figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["fold 0", "fold 1"]


def test_u5_pictures_have_a_role_a_name_and_text(survival_folder, subtype_folder):
    for folder in (survival_folder, subtype_folder):
        pictures = sorted((folder / "figures").glob("*.svg"))
        assert len(pictures) >= 3
        for path in pictures:
            root = ElementTree.parse(path).getroot()
            assert root.get("role") == "img"
            ids = root.get("aria-labelledby").split()
            parts = [root.find(f"{SVG}title"), root.find(f"{SVG}desc")]
            assert [part.get("id") for part in parts] == ids
            assert all(part.text for part in parts)
            assert len(written(path)) > 5
            sizes = re.findall(r"font(?:-size)?: ([\d.]+)px", path.read_text())
            assert sizes and min(map(float, sizes)) >= LEAST_POINTS > 10
            assert "sans-serif" in path.read_text()
        page = (folder / "report.html").read_text()
        found = re.findall(r"\sid=[\"']([^\"']+)", page)
        assert len(found) == len(set(found))
        for label in re.findall(r'aria-labelledby="([^"]+)"', page):
            assert set(label.split()) <= set(found)


def test_u5_tables_have_a_frame_that_scrolls_and_no_cell_is_empty(survival_folder, subtype_folder):
    for folder in (survival_folder, subtype_folder):
        page = (folder / "report.html").read_text()
        assert page.count("<table>") == page.count("<div class='scroll' tabindex='0'><table>") > 3
        assert not re.findall(r"<t[dh][^>]*>\s*</t[dh]>", page)
        assert ".scroll { overflow-x: auto" in page
        in_print = page[page.index("@media print") : page.index("</style>")]
        sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)pt", in_print)]
        assert sizes and min(sizes) > 10
        assert "px" not in in_print
    assert [cell.words for cell in table(["a", "b", "c"], [["", None, 0]]).rows[0]] == ["none", "none", "0"]


def test_u5_one_patient_is_no_patients(survival_folder, subtype_folder):
    assert [counted(n, "patient") for n in (0, 1, 2)] == ["0 patients", "1 patient", "2 patients"]
    for folder in (survival_folder, subtype_folder):
        page = (folder / "report.html").read_text()
        assert not re.findall(r"\b1 (?:patients|slides|tiles|events|images|repeats|folds)\b|\(s\)", page)
        assert "1 repeat of 2 folds" in page
        assert "1 patient left out" in page


def test_u5_each_task_speaks_of_itself(survival_folder, subtype_folder):
    survival, subtype = ((folder / "report.html").read_text() for folder in (survival_folder, subtype_folder))
    assert not re.findall(r"\(subtype\)|\(survival\)|AUROC|macro|logistic|patients of a class|each class", survival)
    assert not re.findall(r"\(subtype\)|\(survival\)|C-index|Cox|[Cc]ensored", subtype)
    assert "and a C-index a conservative bound" in survival
    assert "and an AUROC a conservative bound" in subtype


@pytest.mark.parametrize("is_synthetic", [True, False])
def test_u3_a_report_names_study_and_run_and_says_when_the_data_are_painted(tmp_path, is_synthetic):
    folder = tmp_path / "run"
    subtype_run(folder)
    facts = replace(FACTS, classes=("A<1>", "B", "C"), study="demo & co", run="first", is_synthetic=is_synthetic)
    write_facts(folder, facts)
    evaluated(folder, n_bootstrap=100)
    page = (folder / "report.html").read_text()
    assert "<title>Subtype report, study demo &amp; co, run first</title>" in page
    assert "<p class=source>Study demo &amp; co, run first</p>" in page
    assert page.count("SYNTHETIC DATA") == 2 * is_synthetic  # above and below, as the use is
