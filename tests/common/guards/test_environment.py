"""A Python without the packages is told in one line which environment to use; so is one that is too old."""

import ast
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from common.guards import environment
from common.guards.environment import lacking_text, old_text, own_script, this_python
from preprocessing.make_demo_study import main as paint
from tests.helpers.scripts import SCRIPTS

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin" / "python"


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_u1_a_python_without_the_packages_names_the_environment(bare_python, tmp_path, script):
    for flags in ([], ["--help"]):
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV"))}
        done = subprocess.run(
            [bare_python, ROOT / script, *flags], cwd=tmp_path, env=kept, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        for part in (
            "error: this Python",
            str(bare_python),
            "has no package",
            ".venv",
            "make install",
            "conda env create",
            script,
        ):
            assert part in done.stderr or part == "make install"


@pytest.mark.slow
def test_the_command_says_so_too_and_its_help_needs_no_package(bare_python, tmp_path):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV"))}

    def called(*words):
        command = [bare_python, ROOT / "sarcoma_mil", *words]
        return subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, text=True, check=False)

    for word in ("tile", "features", "train", "run", "init", "doctor"):
        done = called(word)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert "has no package" in done.stderr
        assert "sarcoma-mil" in done.stderr
    assert called("--help").returncode == called("--version").returncode == 0


def test_u1_only_a_missing_package_is_taken_for_one():
    assert "no package numpy;" in lacking_text(ModuleNotFoundError("x", name="numpy.linalg"))
    assert lacking_text(ModuleNotFoundError("x", name="mil.nothing")) == ""
    assert lacking_text(ImportError("x", name="numpy")) == ""
    assert lacking_text(KeyError("numpy")) == ""
    assert own_script() == ""  # pytest is none of ours


def test_u1_an_earlier_python_can_read_and_say_so(monkeypatch):
    first = ("__init__.py", "guards/__init__.py", "guards/environment.py", "guards/interruption.py", "calling/calls.py")
    for name in (*(f"common/{each}" for each in first), "sarcoma_mil/__main__.py", "sarcoma_mil/command.py"):
        ast.parse((ROOT / name).read_text(), feature_version=(3, 8))
    assert old_text() == ""
    monkeypatch.setattr(
        environment, "sys", type("Old", (), {"version_info": (3, 9, 1), "executable": "/x/python", "modules": {}})
    )
    assert old_text().startswith("this Python (/x/python) is 3.9.1, and 3.11 or newer is needed; ")


def test_u1_the_next_command_calls_this_python(tmp_path, capsys, monkeypatch):
    assert paint(["--study", str(tmp_path / "a study"), "--patients", "1", "--workers", "1"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert (
        last
        == f"next, in this environment: {this_python()} preprocessing/tile_slides.py --study '{tmp_path / 'a study'}'"
    )
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert (Path.cwd() / this_python()).samefile(sys.executable)
    monkeypatch.setattr(shutil, "which", lambda name: sys.executable)
    assert this_python() == "python"


def test_u1_the_readme_and_the_demo_say_how_to_call_the_next_command():
    assert ". .venv/bin/activate" in (ROOT / "README.md").read_text()
    assert "$(BIN)/sarcoma-mil demo" in (ROOT / "Makefile").read_text()  # which says what to type next
