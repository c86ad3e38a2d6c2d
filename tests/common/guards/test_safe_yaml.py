"""A settings file or a flag that stands for a billion values, lies too deep or cannot be is one message within a second."""

import time

import pytest
import yaml

from common.failures import StudyError
from common.guards.safe_yaml import plain_value, yaml_value
from common.settings import parse_config, read_settings
from splits.make_splits import main as make_splits
from splits.split_settings import SplitConfig

BOMB = ", ".join(["&a0 [x, x]", *(f"&a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10))])
WRONG = {
    "aliases nine deep": f"make_splits: {{where: [{BOMB}]}}", "no such day": "make_splits: {where: 2020-13-45}",
    "brackets": "make_splits: {where: " + "[" * 3000 + "]" * 3000 + "}", "open brackets": "make_splits: " + "{" * 3000,
    "no whole number": 'make_splits: {folds: !!int "x"}', "no number": 'make_splits: {seed: !!float "x"}',
    "no time": 'make_splits: {where: !!timestamp "x"}', "no truth": 'make_splits: {overwrite: !!bool "x"}',
    "code": "make_splits: {where: !!python/object/apply:os.system ['true']}", "itself": "make_splits: &a {where: *a}",
    "alias of nothing": "make_splits: *a", "large": "make_splits: {where: " + "x" * 2_000_000 + "}",
    "a list as key": "make_splits: {[1, 2]: 3}", "many": "columns: [" + "1, " * 150_000 + "]", "dashes": "- " * 3000,
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_s8_a_settings_file_that_cannot_be_is_one_message_at_once(tmp_path, capsys, name):
    (tmp_path / "study.yaml").write_text(WRONG[name])
    start = time.process_time()
    assert make_splits(["--study", str(tmp_path)]) == 2
    assert time.process_time() - start < (20 if name in ("many", "large") else 5)  # a loaded machine; all but these: ms
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "study.yaml" in error
    assert len(error) < 2000


@pytest.mark.parametrize(
    "text", [f"[{BOMB}]", "[" * 3000 + "]" * 3000, "2020-13-45", '!!int "x"', "{a: b}", "'x", "9" * 5000]
)
@pytest.mark.parametrize("form", ["flag", "text in the file"])
def test_s8_a_flag_is_a_plain_value(tmp_path, text, form):
    start, flags = time.process_time(), [f"--study={tmp_path}"]
    if form == "flag":
        flags.append(f"--where={text}")
    else:
        (tmp_path / "study.yaml").write_text(yaml.safe_dump({"make_splits": {"where": text}}))
    assert parse_config(SplitConfig, flags, section="make_splits", description=None).where == text
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("-2.5", -2.5), ("true", True), ("null", None), ("a: b", "a: b"), ("1e-3x", "1e-3x")]
)
def test_s8_plain_values_are_read_as_yaml_reads_them(text, value):
    assert plain_value(text) == value


def test_s8_an_honest_alias_is_read(tmp_path):
    (tmp_path / "a.yaml").write_text("train: &all {seed: 1, name: x}\nevaluate: {<<: *all, bootstrap: 200}\n")
    assert read_settings(tmp_path / "a.yaml")["evaluate"] == {"seed": 1, "name": "x", "bootstrap": 200}
    assert yaml_value("a: 2020-01-02") == yaml.safe_load("a: 2020-01-02")
    (tmp_path / "a.yaml").write_text("a: [")
    with pytest.raises(StudyError, match="not readable as YAML"):
        read_settings(tmp_path / "a.yaml")


@pytest.mark.parametrize("text", ["9" * 101, "2020-01-02", "<<", "=", "0x" + "f" * 99])
def test_s8_what_is_long_or_no_plain_kind_stays_a_text(text):
    assert plain_value(text) == text
    assert plain_value("9" * 100) == 10**100 - 1


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('a: 1\nb:\n  - !!int "x"', "line 3: 'x' is no int"),
        ("a: 1\nb: *c", "line 2: the alias [*]c stands for nothing"),
    ],
)
def test_s8_the_line_of_a_fault_is_told(text, place):
    with pytest.raises(ValueError, match=f"^{place}"):
        yaml_value(text)
