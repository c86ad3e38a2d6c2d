"""Conditions on rows: nothing in them runs, a missing value never makes one hold, and what is wrong is shown where it stands."""

import json
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.cohort import read_cohort
from common.conditions.rows import rows_that_hold
from common.conditions.tokens import MAX_LENGTH, ExpressionError
from common.failures import StudyError
from splits.make_splits import main as make_splits
from splits.split_store import check_against_cohort, read_splits

TABLE = (
    "patient_id,slide_id,subtype,time,event,site,age,grade now,flag\n"
    "a,1,SS,12,0,X,50,high,True\nb,2,LMS,5,1,,70,,false\nc,3,,8,1,Y,,low,true\nd,4,LMS,9,0,X,61,low,False\n"
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_text(TABLE)
    return path


def kept(path, where):
    return "".join(row["patient_id"] for row in read_cohort(path, where=where).rows)


@pytest.mark.parametrize(
    ("where", "patients"),
    {
        "subtype == 'LMS'": "bd", 'subtype != "LMS"': "a", "not subtype == 'LMS'": "a", "~(subtype == 'LMS')": "a",
        "subtype in ['LMS', 'UPS']": "bd", "subtype not in ('LMS',)": "a", "subtype.isin(['SS'])": "a",
        "~subtype.isin(['SS'])": "bd", "subtype.isna()": "c", "subtype.notna() and event == 1": "b",
        "subtype.isna() or subtype != 'SS'": "bcd", "site != 'X'": "c", "age > 55": "bd", "50 <= age < 70": "ad",
        "not age > 55": "a", "age.between(50, 61)": "ad", "(event == 1) & (time < 6)": "b", "event == 1 & time < 6": "b",
        "(age > 65) | (subtype == 'SS')": "ab", "`grade now` == 'low'": "cd", "`grade now`.str.startswith('l')": "cd",
        "subtype.str.contains('M', na=False)": "bd", "subtype.str.endswith('S')": "abd", "flag": "ac", "not flag": "bd",
        "flag == True": "ac", "event == true": "bc", "time / 12 >= 1": "a", "-time + 2 * age - 1 > 100": "bd",
        "time > -1 and age != age": "", "age / (time - time) > 0": "", "subtype == subtype": "abd",
    }.items(),
)  # fmt: skip
def test_s1_t6_conditions_choose_rows_and_a_missing_value_never_does(path, where, patients):
    if patients:
        assert kept(path, where) == patients
    else:
        with pytest.raises(StudyError, match="keeps no row"):
            kept(path, where)


@pytest.mark.parametrize(
    "where",
    [
        "subtype.to_pickle('x')", "@pd.io.common.os.system('touch x') == 0", "subtype.str.to_pickle('x')", "__import__('os')",
        "subtype.__class__ == 'x'", "subtype.map(print)", "open('x', 'w')", "[].__class__", "(lambda: 1)()", "f'{open}'",
        "subtype == open('x','w')", "subtype; 1", "age := 3", "subtype.str.repeat(99999999999)", "age ** 99999999",
        "subtype in [x for x in y]", "`subtype`.to_csv('x')", "age if age else age", "*age", "index == 1",
    ],
)  # fmt: skip
def test_s1_nothing_in_a_condition_runs(path, tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match=r"--where .*does not fit .*at character \d+:\n(?s:.*)\^\ncolumns: patient_id"):
        kept(path, where)
    assert [file.name for file in tmp_path.iterdir()] == ["cohort.csv"]


def test_s1_the_record_of_splits_is_not_run_either(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--study", str(tmp_path), "--external", "site == 'Y'", "--val_fraction", "0"]
    assert make_splits(flags) == 0
    table, record_file = tmp_path / "splits" / "default.csv", tmp_path / "splits" / "default.json"
    for wrong in ("subtype.to_pickle('x')", "@pd.io.common.os.system('touch x') == 0", 5, None, ["site"]):
        record = json.loads(record_file.read_text())
        record["settings"]["external"] = wrong
        record_file.write_text(json.dumps(record))
        words = "--external" if isinstance(wrong, str) else "settings.external is missing or no text"
        with pytest.raises(StudyError, match=words):
            check_against_cohort(table, read_splits(table), read_cohort(path))
    assert not (tmp_path / "x").exists()
    (tmp_path / "study.yaml").write_text("make_splits: {where: \"subtype.to_pickle('x')\", name: other}\n")
    assert make_splits(flags) == 2
    assert not (tmp_path / "x").exists()


def test_s1_an_unknown_site_does_not_go_to_the_external_test(path, tmp_path):
    assert make_splits(["--study", str(tmp_path), "--external", "site != 'X'", "--val_fraction", "0"]) == 0
    splits = read_splits(tmp_path / "splits" / "default.csv")
    assert splits.loc[splits["set"] == "test", "patient_id"].tolist() == ["c"]


@pytest.mark.parametrize(
    ("where", "message", "position"),
    [
        ("subtpe == 'LMS'", "no column subtpe; the nearest is subtype", 0), ("age = 3", "'=' compares nothing", 4),
        ("age == '70'", "age is a column of numbers, and '70' is a text; write a number without", 4),
        ("site == 01", "site is a column of text, and 01 is a number; write it in quotation marks: '01'", 5),
        ("subtype == None", "write COLUMN.isna()", 11), ("age > 3 and", "found the end, wanted a column", 11),
        ("(age > 3", r"wanted '\)' for the bracket at character 1", 8), ("age > 3)", r"found '\)', wanted and, or", 7),
        ("subtype == 'LMS", "the text that begins with ' does not end", 11), ("age in 3", "wanted a list", 7),
        ("grade.now == 3", "a name with dots or blanks stands in back-ticks", 0), ("age and flag", "age is a column of numbers", 0),
        ("subtype.str.contains('L|S')", "looks for the text as it stands", 21), ("flag < true", "have no order", 5),
        ("age.str.contains('L')", "'L' is a text", 16), ("subtype + 'a' == 'b'", "calculates with numbers", 0),
        ("subtype.str.contains('L', na=True)", "wanted False", 29), ("age.between(1)", r"takes 2 value\(s\), got 1", 11),
        ("age AND flag", "wanted and, or", 4), ("age == " + "1" * 41, "more than 40 digits", 7),
        ("'a' * 3 == age", "calculates", 0), ("age in [1, 2", r"wanted '\]' for the list at character 8", 12),
        ("age == true", "age is a column of numbers, and true", 4),
        ("age.between(1, 2", r"wanted '\)' for the bracket at character 12", 16),
    ],
)  # fmt: skip
def test_s1_what_is_wrong_is_shown_where_it_stands(path, where, message, position):
    with pytest.raises(StudyError, match=message) as caught:
        kept(path, where)
    line, mark = str(caught.value).split("\n")[1:3]
    assert line == f"    {where[: position + 50]}"
    assert mark.index("^") - 4 == position


@pytest.mark.parametrize(
    "where",
    [
        "(" * 3000 + "age > 1" + ")" * 3000, "not " * 3000 + "flag", "~" * 3000 + "flag", "-" * 3000 + "age > 1", "[" * 3000,
        "age > 1" + " and age > 1" * 3000, "age" + " + 1" * 3000 + " > 1", "1" * 99_000 + "x", "age > 1" + " " * 200_000,
        "'" + "\\" * 99_000, "`" * 99_999, "age < " * 3000 + "1", "a" * 99_000, "subtype." * 12_000 + "isna()", "(1," * 30_000,
    ],
    ids=range(15),
)  # fmt: skip
def test_s1_long_and_deep_texts_are_refused_in_milliseconds(path, where):
    cohort = read_cohort(path)
    start = time.process_time()
    with pytest.raises(ExpressionError) as caught:
        rows_that_hold(where, cohort.columns, cohort.rows)
    assert time.process_time() - start < 1  # with every call checked; else some ms
    assert len(caught.value.message) < 1000


def test_a_text_of_just_the_most_characters_is_read_and_one_more_is_not(path):
    longest = "age > 55".ljust(MAX_LENGTH)
    assert kept(path, longest) == "bd"
    with pytest.raises(StudyError, match="it is 100001 characters long; 100000 are the most"):
        kept(path, longest + " ")


def test_s1_many_names_in_a_list_are_fine(path):
    names = ", ".join(f"'P{number:05d}'" for number in range(9000))
    assert kept(path, f"patient_id in ['a', {names}]") == "a"


# Each part is a text and its slow twin: what it says of one row, in plain Python.
NUMBERS = ("age", "size")


def _compared(name, sign, value):
    rules = {
        "==": lambda a: a == value, "!=": lambda a: a != value, "<": lambda a: a < value, ">=": lambda a: a >= value,
    }  # fmt: skip
    return f"{name} {sign} {value!r}", lambda row: None if row[name] is None else rules[sign](row[name])


def _member(name, values, is_not):
    text = f"{name} {'not ' if is_not else ''}in {list(values)!r}"
    return text, lambda row: None if row[name] is None else (row[name] in values) != is_not


def _twin_and(parts):
    texts, twins = zip(*parts, strict=True)

    def twin(row):
        found = [one(row) for one in twins]
        return False if False in found else (None if None in found else True)

    return "(" + " and ".join(texts) + ")", twin


def _twin_or(parts):
    texts, twins = zip(*parts, strict=True)

    def twin(row):
        found = [one(row) for one in twins]
        return True if True in found else (None if None in found else False)

    return "(" + " or ".join(texts) + ")", twin


def _twin_not(part):
    text, twin = part
    return f"(not {text})", lambda row: None if twin(row) is None else not twin(row)


def _chained(name, low, high):
    twin = lambda row: None if row[name] is None else low < row[name] <= high  # noqa: E731
    return f"({low} < {name} <= {high})", twin


SIGNS = st.sampled_from(["==", "!=", "<", ">="])
LEAVES = st.one_of(
    st.builds(_compared, st.sampled_from(NUMBERS), SIGNS, st.integers(-3, 3)),
    st.builds(_compared, st.just("kind"), SIGNS, st.sampled_from("abc")),
    st.builds(_member, st.just("kind"), st.lists(st.sampled_from("abc"), max_size=2).map(tuple), st.booleans()),
    st.builds(_member, st.just("size"), st.lists(st.integers(-3, 3), max_size=3).map(tuple), st.booleans()),
    st.builds(_chained, st.sampled_from(NUMBERS), st.integers(-3, 1), st.integers(-1, 3)),
)  # fmt: skip
CONDITIONS = st.recursive(
    LEAVES,
    lambda part: st.one_of(
        st.lists(part, min_size=1, max_size=3).map(_twin_and), st.lists(part, min_size=1, max_size=3).map(_twin_or),
        part.map(_twin_not),
    ),
    max_leaves=8,
)  # fmt: skip


def rows(is_missing):
    def value(strategy):
        return st.one_of(st.none(), strategy) if is_missing else strategy

    row = st.fixed_dictionaries(
        {"age": value(st.integers(-3, 3)), "size": value(st.integers(-3, 3)), "kind": value(st.sampled_from("abc"))}
    )
    return st.lists(row, min_size=1, max_size=8)


@settings(max_examples=300, deadline=None)
@given(CONDITIONS, rows(is_missing=True))
def test_s1_conditions_equal_a_slow_twin_row_by_row(condition, table):
    text, twin = condition
    as_read = [
        {name: float("nan") if value is None and name == "age" else value for name, value in row.items()}
        for row in table
    ]
    assert rows_that_hold(text, ("age", "size", "kind"), as_read) == [twin(row) is True for row in table]


@settings(max_examples=150, deadline=None)
@given(CONDITIONS, rows(is_missing=False))
def test_s1_conditions_equal_pandas_where_nothing_is_missing(condition, table):
    text, _ = condition
    found = pd.DataFrame(table).eval(text, engine="python")
    assert rows_that_hold(text, ("age", "size", "kind"), table) == np.asarray(found, dtype=bool).tolist()


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab('\")`.~&|<>=!-+*/[],0123 \n\\@;eE_andortiIN"), max_size=60))
def test_s1_any_text_is_answered_or_refused_and_never_breaks(text):
    try:
        found = rows_that_hold(text, ("a", "b"), [{"a": 1.0, "b": "x"}, {"a": None, "b": None}])
    except ExpressionError as error:
        assert 0 <= error.position <= len(text)
    else:
        assert found is None or len(found) == 2
