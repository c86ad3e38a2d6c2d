"""The kind of a column is found, or checked as declared; what nothing can be learnt of is refused with what to do."""

import pytest

from common.failures import StudyError
from common.tables.target_columns import CLASSES, NUMBER, ORDERED, find_target, label_of, quarters, values_of_patients


def kind_of(values, **given):
    found = find_target("x", values, **given)
    return found.kind, found.classes


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        (["b", "a"] * 6, CLASSES, ("a", "b")),
        ([1, 2, 3] * 4, CLASSES, ("1", "2", "3")),
        ([1.0, 2.0, 10.0, float("nan")] * 4, CLASSES, ("1", "2", "10")),
        (["low", "High", "intermediate"] * 4, ORDERED, ("low", "intermediate", "High")),
        (["moderate", "mild", "severe", None] * 4, ORDERED, ("mild", "moderate", "severe")),
        (["G3", "G1", "G2"] * 4, ORDERED, ("G1", "G2", "G3")),
        (["grade 2", "grade 1", "grade 3"] * 4, ORDERED, ("grade 1", "grade 2", "grade 3")),
        (["Stage IV", "Stage I", "Stage II"] * 4, ORDERED, ("Stage I", "Stage II", "Stage IV")),
        (["low", "high"] * 6, CLASSES, ("high", "low")),  # two classes have no order that matters
        ([1, 2, 3, 4] * 3, CLASSES, ("1", "2", "3", "4")),  # three patients a class
        ([1, 2, 3, 4] * 2 + [1, 2, 3], NUMBER, ()),
        ([1, 2.5, 3] * 4, NUMBER, ()),
        ([0.5 * n for n in range(12)], NUMBER, ()),
        ([3, 9, 4, 11, 30, 7, 8, 2, 40, 41, 42, 6], NUMBER, ()),
        ([40, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51], NUMBER, ()),
    ],
)
def test_kinds_are_found(values, kind, classes):
    assert kind_of(values) == (kind, classes)


@pytest.mark.parametrize(
    ("values", "given", "kind", "classes"),
    [
        ([1, 2, 3] * 4, {"kind": NUMBER}, NUMBER, ()),
        ([1, 2, 3] * 4, {"kind": ORDERED}, ORDERED, ("1", "2", "3")),
        (["c", "a", "b"] * 4, {"order": ["b", "c", "a"]}, ORDERED, ("b", "c", "a")),
        ([1, 2, 3] * 4, {"order": [3, 2, 1]}, ORDERED, ("3", "2", "1")),
        (
            ["a", "b"] * 6,
            {"order": ["a", "never", "b"]},
            ORDERED,
            ("a", "b"),
        ),  # an absent class has nobody to learn from
        (["G1", "G2", "G3"] * 4, {"kind": CLASSES}, CLASSES, ("G1", "G2", "G3")),
        (list(range(12)), {"kind": NUMBER}, NUMBER, ()),
    ],
)
def test_kinds_can_be_declared(values, given, kind, classes):
    assert kind_of(values, **given) == (kind, classes)


@pytest.mark.parametrize(
    ("values", "given", "message"),
    [
        ([None, float("nan")], {}, "no patient has a value"),
        (["a"] * 9, {}, "all 9 patients with a value have 'a'"),
        ([3.0, 3.0, None], {}, "all 2 patients with a value have '3'"),
        ([f"P{n}" for n in range(12)], {}, "as many values as patients"),
        ([f"P{n % 11}" for n in range(12)], {}, "too many for classes"),
        (list(range(100, 120)), {}, "number the patients from 100 to 119 without a gap"),
        ([*range(20), "<5"], {"kind": NUMBER}, "wanted numbers, found the text '<5'"),
        ([*map(str, range(20)), "<5", "n.d."], {}, "numbers with text in them: '<5', 'n.d.'"),
        (["a", "b"] * 6, {"kind": "klasses"}, "--kind 'klasses' is none; the nearest is classes"),
        (["a", "b", "c"] * 6, {"kind": ORDERED}, "say it with --order"),
        (["a", "b", "c"] * 6, {"order": ["a", "b"]}, "the table has 'c'"),
        (["a", "b"] * 6, {"order": ["a", "a", "b"]}, "names a class twice"),
        ([0.1 * n for n in range(40)], {"kind": ORDERED}, "use --kind number"),
        ([0.1 * n for n in range(40)], {"kind": CLASSES}, "as many values as patients"),
    ],
)
def test_what_cannot_be_learnt_is_refused_with_advice(values, given, message):
    with pytest.raises(StudyError, match="--target x") as error:
        find_target("x", values, **given)
    assert message in str(error.value)


def test_a_column_is_looked_for_by_patient():
    rows = [
        {"patient_id": "A", "slide_id": "1", "Grade": "G1"}, {"patient_id": "A", "slide_id": "2", "Grade": "G1"},
        {"patient_id": "B", "slide_id": "3", "Grade": None},
    ]  # fmt: skip
    columns = ("patient_id", "slide_id", "Grade")
    assert values_of_patients(rows, columns, "Grade", flag="--target") == {"A": "G1", "B": None}
    with pytest.raises(StudyError, match="--target 'grade': no such column; the nearest is Grade"):
        values_of_patients(rows, columns, "grade", flag="--target")
    with pytest.raises(StudyError, match="--target patient_id: an id"):
        values_of_patients(rows, columns, "patient_id", flag="--target")
    rows[1]["Grade"] = "G3"
    with pytest.raises(StudyError, match=r"1 patient\(s\) have several values \(A: G1, G3\)"):
        values_of_patients(rows, columns, "Grade", flag="--target")
    rows[1]["Grade"] = None
    with pytest.raises(StudyError, match=r"several values \(A: G1, None\)"):
        values_of_patients(rows, columns, "Grade", flag="--target")


def test_labels_of_numbers_have_no_zeros_behind_the_point():
    assert [label_of(value) for value in (2.0, 2, 2.5, "2.0", None, float("nan"))] == [
        "2",
        "2",
        "2.5",
        "2.0",
        None,
        None,
    ]


def test_quarters_hold_a_quarter_of_the_numbers_each():
    found = quarters({str(n): float(n) for n in range(40)} | {"x": None})
    assert found["x"] is None
    sizes = [list(found.values()).count(f"Q{part}") for part in (1, 2, 3, 4)]
    assert sizes == [10, 10, 10, 10]
    assert found["0"] == "Q1"
    assert found["39"] == "Q4"
