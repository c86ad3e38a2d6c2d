"""Messages are told in the words by which a step was called: the scripts', or those of the command."""

import re
import sys
from pathlib import Path

import pytest

from common.calling import calls
from common.calling.calls import OWN_WORDS, WORDS, as_called, command_here, is_by_command, step_name
from common.failures import SlideStatus, StudyError, command, failure_table
from common.guards.environment import call_here
from tests.helpers.scripts import SCRIPTS

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def by_command(monkeypatch):
    monkeypatch.setattr(calls, "is_by_command", lambda: True)
    monkeypatch.setattr("common.guards.environment.is_by_command", lambda: True)


def test_every_script_has_a_word():
    assert set(WORDS.values()) == set(SCRIPTS)
    assert not set(WORDS) & set(OWN_WORDS)


def test_pytest_is_not_the_command():
    assert not is_by_command()
    assert as_called("run preprocessing/tile_slides.py") == "run preprocessing/tile_slides.py"
    assert step_name("tile_slides") == "tile_slides.py"


@pytest.mark.parametrize(
    "file", ["/opt/env/bin/sarcoma-mil", "sarcoma_mil/__main__.py", "C/Scripts/sarcoma-mil.exe/__main__.py"]
)
def test_the_command_knows_itself(monkeypatch, file):
    monkeypatch.setattr(sys.modules["__main__"], "__file__", file, raising=False)
    assert is_by_command()


@pytest.mark.parametrize("file", ["/opt/env/bin/pytest", "mil/train.py", "other/__main__.py", None])
def test_others_are_not_taken_for_it(monkeypatch, file):
    monkeypatch.setattr(sys.modules["__main__"], "__file__", file, raising=False)
    assert not is_by_command()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("run preprocessing/tile_slides.py first", "run sarcoma-mil tile first"),
        ("with: python splits/make_splits.py --study s", "with: sarcoma-mil splits --study s"),
        ("name from encoders.py, timm:NAME", "name from sarcoma-mil encoders, timm:NAME"),
        ("a JSON of make_stain_reference.py; unset", "a JSON of sarcoma-mil stain-reference; unset"),
        ("train.py failed: mil/train.py", "sarcoma-mil train failed: sarcoma-mil train"),
        ("see /home/me/train.py and my_train.py, train.pyc", "see /home/me/train.py and my_train.py, train.pyc"),
    ],
)
def test_scripts_in_a_message_become_words(by_command, text, told):
    assert as_called(text) == told


def test_every_script_a_message_may_name_is_told(by_command):
    for word, script in WORDS.items():
        assert as_called(f"python {script}") == f"sarcoma-mil {word}"
        assert as_called(script.rpartition("/")[2]) == f"sarcoma-mil {word}"
        assert step_name(script.rpartition("/")[2].removesuffix(".py")) == f"sarcoma-mil {word}"
        assert call_here(script) == f"{command_here()} {word}"


def test_errors_and_failed_slides_are_told_in_those_words(by_command, capsys):
    def main(argv):
        raise StudyError("no tile file; run preprocessing/tile_slides.py --study s first")

    assert command(main)([]) == 2
    assert capsys.readouterr().err == "error: no tile file; run sarcoma-mil tile --study s first\n"
    row = SlideStatus(slide_id="a", step="x", state="failed", reason="none", remedy="run preprocessing/tile_slides.py")
    assert "run sarcoma-mil tile" in failure_table([row])


def test_the_next_command_is_one_that_works_here(monkeypatch, tmp_path):
    own = tmp_path / "bin" / "sarcoma-mil"
    own.parent.mkdir()
    monkeypatch.setattr(sys, "executable", str(own.with_name("python")))
    path, package = command_here().split()
    assert (
        path.endswith("python") and Path(package).resolve() == ROOT / "sarcoma_mil"
    )  # not installed: from the checkout
    own.write_text("")
    monkeypatch.setattr(calls.shutil, "which", lambda name: str(own))
    assert command_here() == "sarcoma-mil"
    monkeypatch.setattr(calls.shutil, "which", lambda name: None)  # not on the path
    assert Path(command_here()).resolve() == own
    monkeypatch.setattr(calls.shutil, "which", lambda name: "/other/bin/sarcoma-mil")  # another one is
    assert Path(command_here()).resolve() == own


def test_remedies_of_the_product_name_scripts_that_there_are():
    for stage in ("common", "preprocessing", "features", "splits", "mil"):
        for path in (ROOT / stage).rglob("*.py"):
            for script in re.findall(r"(?<![\w/])(?:preprocessing|features|splits|mil)/\w+\.py", path.read_text()):
                assert (ROOT / script).is_file(), f"{path}: {script}"
