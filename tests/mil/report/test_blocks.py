"""The parts of a page: cells that say what they hold, numbers in words, slides in place of patients, pictures with own ids."""

import pytest

from mil.metrics.bootstrap import Interval
from mil.report.blocks import (
    Code,
    Folded,
    Heading,
    Illustration,
    Paragraph,
    Section,
    counted,
    illustration,
    in_words_of,
    note,
    number,
    p_value,
    table,
    with_interval,
    words_of_unit,
)


def test_cells_say_how_they_stand():
    found = table(
        ["a", "b"], [[1, "ok"], [-2.5, "warning"], ["+0.1", "leak"], [None, "fine"], ["", "1.2.3"], ["1-2", "-"]]
    )
    assert found.head == ("a", "b")
    assert [[(cell.words, cell.kind) for cell in row] for row in found.rows] == [
        [("1", "n"), ("ok", "")], [("-2.5", "n"), ("warning", "")], [("+0.1", "n"), ("leak", "")], [("none", ""), ("fine", "")],
        [("none", ""), ("1.2.3", "")], [("1-2", "n"), ("-", "")],
    ]  # fmt: skip
    judged = table(["a", "b"], [["ok", "ok"], ["leak", "fine"], ["x", "warning"], ["y", 0]], verdict_column=1)
    assert [row[1].kind for row in judged.rows] == ["ok", "", "warning", "n"]
    assert [row[0].kind for row in judged.rows] == ["", "", "", ""]


@pytest.mark.parametrize(
    ("words", "kind"), [("x" * 40, ""), ("x" * 41, "hash"), ("x" * 40 + " y", ""), ("1" * 50, "n")]
)
def test_a_long_word_is_a_hash(words, kind):
    assert table(["a"], [[words]]).rows[0][0].kind == kind


@pytest.mark.parametrize(
    ("value", "words", "signed"),
    [
        (None, "not defined", "not defined"),
        (Interval(None, None, None), "not defined", "not defined"),
        (Interval(0.5, 0.25, 0.75), "0.500 (0.250\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}0.750)",
         "+0.500 (+0.250\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}+0.750)"),
        (Interval(0.5, None, 0.75), "0.500", "+0.500"),
        (Interval(0.5, 0.25, None), "0.500", "+0.500"),
    ],
)  # fmt: skip
def test_a_figure_stands_with_its_interval(value, words, signed):
    assert with_interval(value) == words
    assert with_interval(value, signed=True) == signed


def test_numbers_are_said_in_words():
    assert [counted(n, "event") for n in (0, 1, 2)] == ["0 events", "1 event", "2 events"]
    assert [p_value(p) for p in (None, 0.0, 0.00099, 0.001, 0.5)] == [
        "not defined",
        "< 0.001",
        "< 0.001",
        "0.001",
        "0.500",
    ]
    assert [number(None), number(0.12345), number(2.0, 1)] == ["not defined", "0.123", "2.0"]
    assert note("x") == Paragraph(words="x", kind="note")


def test_patients_are_slides_where_a_label_is_one_of_a_slide():
    words = "Patients and a patient; the patient bootstrap, impatient"
    assert words_of_unit(words, "patient") == words
    assert words_of_unit(words, "slide") == "Slides and a slide; the patient bootstrap, impatient"
    own = table(["patients"], [["1 patient"]])
    section = Section(
        key="k", title="By patient", items="1", body=(
            Paragraph(words="a patient", kind="note"), Heading(words="Patient"), own,
            Illustration(name="n", caption="patients", svg="<patient>"), Folded(title="patients", table=own, is_open=True),
            Code(text="--patient"),
        ),
    )  # fmt: skip
    assert in_words_of(section, "patient") is section
    other = table(["slides"], [["1 slide"]])
    assert in_words_of(section, "slide") == Section(
        key="k", title="By slide", items="1", body=(
            Paragraph(words="a slide", kind="note"), Heading(words="Slide"), other,
            Illustration(name="n", caption="slides", svg="<patient>"), Folded(title="slides", table=other, is_open=True),
            Code(text="--patient"),
        ),
    )  # fmt: skip


def test_a_picture_inside_a_page_has_ids_of_its_own():
    assert illustration("roc", "c", {"other": "<svg/>"}) == []
    svg = (
        '<?xml?>\n<svg aria-labelledby="title description"><title id="title"/><use href="#m1"/>'
        '<g clip-path="url(#c)" id="m1"/></svg>'
    )
    (found,) = illustration("roc", "Curves.", {"roc": svg})
    assert (found.name, found.caption) == ("roc", "Curves.")
    assert found.svg == (
        '<svg aria-labelledby="roc-title roc-description"><title id="roc-title"/><use href="#roc-m1"/>'
        '<g clip-path="url(#roc-c)" id="roc-m1"/></svg>'
    )
