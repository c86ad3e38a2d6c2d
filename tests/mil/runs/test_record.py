"""Records as JSON and back: what is written is read, and every fault names its file and key."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from common.failures import StudyError
from mil.runs.record import (
    Scalar,
    SchemaError,
    keyed,
    plain,
    read_record,
    read_sealed,
    record_of,
    write_record,
    write_sealed,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    value: float
    note: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    name: str
    n: int
    is_done: bool
    inner: Inner | None
    many: tuple[Inner, ...]
    pair: tuple[float, float]
    by_name: dict[str, Inner]
    row: dict[str, Scalar]
    group: str = keyed("class")


KNOWN = Outer(
    name="a", n=3, is_done=True, inner=None, many=(Inner(value=1.5, note=None), Inner(value=2.0, note="ü")),
    pair=(0.1, 0.2), by_name={"x": Inner(value=0.0, note="")}, row={"p": 0.5, "q": "r", "s": None, "t": 1}, group="LMS",
)  # fmt: skip


def written(folder, **changes):
    path = folder / "record.json"
    path.write_text(json.dumps({"schema": "outer/1", **plain(KNOWN), **changes}))
    return path


def read(path):
    return read_record(path, Outer, "outer/1", "make it again")


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "record.json"
    write_record(path, KNOWN, "outer/1")
    assert read(path) == KNOWN
    raw = json.loads(path.read_text())
    assert next(iter(raw)) == "schema"
    assert raw["class"] == "LMS"
    assert "group" not in raw


@dataclass(frozen=True, kw_only=True, slots=True)
class Free:
    settings: dict[str, Any]


def test_a_value_of_any_kind_is_taken_as_it_stands(tmp_path):
    path, free = tmp_path / "free.json", Free(settings={"a": [1, None, {"b": True}], "c": "x", "d": None})
    write_record(path, free, "free/1")
    assert read_record(path, Free, "free/1", "make it again") == free


def test_a_whole_number_is_a_number_too_but_a_truth_is_none(tmp_path):
    assert read(written(tmp_path, pair=[1, 2])).pair == (1, 2)
    with pytest.raises(StudyError, match=r"pair\[0\] is true, not float"):
        read(written(tmp_path, pair=[True, 2]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": "3"}, 'n is "3", not int'),
        ({"n": 3.0}, "n is 3.0, not int"),
        ({"n": True}, "n is true, not int"),
        ({"is_done": 1}, "is_done is 1, not bool"),
        ({"name": None}, "name is null, not str"),
        ({"inner": {"value": 1.0}}, "inner lacks note"),
        ({"inner": {"value": 1.0, "note": "", "more": 1}}, "inner has an unknown key more"),
        ({"many": [{"value": 1.0, "note": 2}]}, r"many\[0\]\.note is 2, not str"),
        ({"many": {"value": 1.0}}, "many is .*, not a list"),
        ({"pair": [1.0]}, "pair is .*, not a list"),
        ({"by_name": {"x": []}}, r"by_name\.x is \[\], not a mapping"),
        ({"by_name": []}, r"by_name is \[\], not a mapping"),
        ({"row": {"p": [1]}}, r"row\.p is \[1\], not str or int"),
        ({"other": 1}, "the file has an unknown key other"),
    ],
)
def test_a_fault_names_file_key_value_and_remedy(tmp_path, changes, message):
    with pytest.raises(StudyError, match=f"record\\.json: {message}.*; make it again"):
        read(written(tmp_path, **changes))


def test_another_schema_none_and_no_json_are_told_apart(tmp_path):
    with pytest.raises(SchemaError, match="schema outer/2, not outer/1; make it again"):
        read(written(tmp_path, schema="outer/2"))
    with pytest.raises(SchemaError, match="schema missing, not outer/1"):
        read(written(tmp_path, schema=None))
    (tmp_path / "record.json").write_text("[1]")
    with pytest.raises(SchemaError, match="schema missing"):
        read(tmp_path / "record.json")
    (tmp_path / "record.json").write_text('{"schema": "outer/1", ')
    with pytest.raises(StudyError, match="not readable as JSON") as caught:
        read(tmp_path / "record.json")
    assert not isinstance(caught.value, SchemaError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuples:
    alone: tuple[float]
    three: tuple[str, int, float]
    several: tuple[str, ...]


def test_tuples_have_their_own_length_unless_they_are_of_any(tmp_path):
    path = tmp_path / "t.json"
    for several in ((), ("a",), ("a", "b", "c")):
        record = Tuples(alone=(1.5,), three=("a", 1, 0.5), several=several)
        write_record(path, record, "t/1")
        assert read_record(path, Tuples, "t/1", "x") == record
    for wrong in ({"alone": (1.0, 2.0)}, {"three": ("a", 1)}, {"alone": ()}):
        kept = {"alone": (1.5,), "three": ("a", 1, 0.5), "several": ()}
        write_record(path, Tuples(**kept | wrong), "t/1")
        with pytest.raises(StudyError, match="not a list"):
            read_record(path, Tuples, "t/1", "x")


@pytest.mark.parametrize(("n_letters", "shown"), [(38, "x" * 38 + '"'), (39, "x" * 39 + " ...")])
def test_forty_letters_of_a_wrong_value_are_shown(tmp_path, n_letters, shown):
    with pytest.raises(StudyError) as error:
        read(written(tmp_path, n="x" * n_letters))
    assert f'n is "{shown}, not int' in str(error.value)


def test_all_faulty_keys_are_named_in_order(tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps({"schema": "outer/1", "z": 1, "a": 2, "class": "x"}))
    with pytest.raises(StudyError, match="the file lacks by_name, inner, is_done, many, n, name, pair, row;"):
        read(path)
    with pytest.raises(StudyError, match="the file has an unknown key a, group, z;"):
        read(written(tmp_path, z=1, a=2, group="x"))
    with pytest.raises(StudyError, match="the file is \\[\\], not a mapping"):
        record_of(Outer, [], path, "x")


def test_a_sealed_record_proves_what_stands_in_it(tmp_path):
    path = tmp_path / "sealed.json"
    write_sealed(path, KNOWN, "outer/1")
    assert read_sealed(path, Outer, "outer/1", "make it again") == KNOWN
    values = json.loads(path.read_text())
    path.write_text(json.dumps(dict(sorted(values.items(), reverse=True))))  # another order is the same record
    assert read_sealed(path, Outer, "outer/1", "make it again") == KNOWN
    for changed in (values | {"n": 4}, values | {"content_sha256": "x"}, {k: v for k, v in values.items() if k != "content_sha256"}):
        path.write_text(json.dumps(changed))
        with pytest.raises(StudyError, match=r"sealed\.json: its content is not what was written \(checksum differs\); make it again"):
            read_sealed(path, Outer, "outer/1", "make it again")
