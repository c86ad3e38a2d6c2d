"""The command: its words, quick help, version, and what is meant by a word that is none."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

from common import __version__
from common.calling.calls import OWN_WORDS, WORDS
from common.settings import SECTIONS
from sarcoma_mil.command import help_text, installed_version, main
from sarcoma_mil.steps import STEPS

HEAVY = ("torch", "pandas", "numpy", "matplotlib", "openvino", "timm", "openslide", "h5py", "jsonargparse", "yaml")


def call(root, *words, cwd=None, python=("-X", "utf8")):
    return subprocess.run(
        [sys.executable, *python, str(root / "sarcoma_mil"), *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_script_and_every_own_step_is_a_word():
    assert set(STEPS) == {*WORDS, *OWN_WORDS}
    assert {step.section for step in STEPS.values()} | {"columns"} == SECTIONS


@pytest.mark.parametrize("word", STEPS)
def test_a_word_is_its_script(root, word):
    """The same main function, and settings that are the script's own."""
    step = STEPS[word]
    own = importlib.import_module(step.module)
    assert step.main() is own.main
    assert own.__doc__
    text = (root / f"{step.module.replace('.', '/')}.py").read_text()
    assert f"parse_config({step.config_class().__name__}, " in text
    assert f'section="{step.section}"' in text


def test_help_names_every_word_and_the_first_hour(capsys):
    assert main(["--help"]) == main(["-h"]) == main(["help"]) == main([]) == 0
    shown = capsys.readouterr().out
    assert shown.count(help_text()) == 4
    for word in (*STEPS, "completion"):
        assert f"\n  {word} " in shown
    assert all(len(line) <= 120 for line in help_text().splitlines())


@pytest.mark.slow
def test_help_and_version_import_nothing_heavy(root):
    for words in (["--help"], ["--version"], ["tiel"]):
        code = (
            f"import runpy, sys\nsys.argv = ['x', *{words!r}]\n"
            f"try:\n    runpy.run_path({str(root / 'sarcoma_mil')!r}, run_name='__main__')\nexcept SystemExit:\n    pass\n"
            f"print('LOADED', *[name for name in {HEAVY!r} if name in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1].split() == ["LOADED"]


def test_the_version_is_the_installed_one(capsys, monkeypatch):
    for words in (["--version"], ["-V"], ["version"]):
        assert main(words) == 0
        assert capsys.readouterr().out == f"sarcoma-mil {installed_version()}\n"
    monkeypatch.setattr(importlib.metadata, "version", lambda name: {"sarcoma-mil": "7.8.9"}[name])
    assert installed_version() == "7.8.9"

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert installed_version() == __version__  # a checkout that is not installed


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("tiel", "'tiel' is no command; the nearest is tile"),
        ("featurs", "the nearest is features"),
        ("Train", "the nearest is train"),
        ("halp", "the nearest is help"),
        ("complete", "the nearest is completion"),
        ("tile_slides", "the script tile_slides.py is sarcoma-mil tile"),
        ("tile_slides.py", "the script tile_slides.py is sarcoma-mil tile"),
        ("mil/train.py", "the script train.py is sarcoma-mil train"),
        ("show_results", "is sarcoma-mil results"),
        ("--study", "--study stands before the command"),
        ("xyzzy", "'xyzzy' is no command; sarcoma-mil --help lists all"),
    ],
)
def test_an_unknown_word_is_answered_with_the_nearest(capsys, word, told):
    assert main([word]) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tile", "--tile_umm", "3"], "--tile_umm is no option here; the nearest is --tile_um"),
        (["train", "--head_s", "x"], "--head_s is no option here; the nearest is --heads"),
        (["run", "--dryrun"], "the nearest is --dry_run"),
        (["splits", "--method", "kfold"], "the nearest is k_fold"),
        (["init", "one", "two"], "'two' belongs to no option"),
    ],
)
def test_an_unknown_option_is_answered_with_the_nearest(capsys, words, told):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert told in capsys.readouterr().err


def test_dashes_do_for_underscores(tmp_path, capsys):
    (tmp_path / "study").mkdir()
    assert main(["splits", "--study", str(tmp_path / "study"), "--val-fraction", "0.1"]) == 2
    assert "no clinical table" in capsys.readouterr().err  # the option was understood
    with pytest.raises(SystemExit):
        main(["splits", "--val-fractio=0.1"])
    assert "--val-fractio is no option here; the nearest is --val_fraction" in capsys.readouterr().err


@pytest.mark.slow
def test_by_path_and_by_module_from_any_folder(root, tmp_path):
    by_path = call(root, "tile", "--help", cwd=tmp_path)
    assert by_path.returncode == 0
    assert by_path.stdout.startswith("usage: sarcoma-mil tile [--option VALUE ...]")
    assert ".py" not in by_path.stdout
    by_module = subprocess.run(
        [sys.executable, "-m", "sarcoma_mil", "features", "--help"], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(root)}, check=True,
    )  # fmt: skip
    assert "sarcoma-mil encoders lists the encoders" in by_module.stdout
    lacking = call(root, "tile", cwd=tmp_path)
    assert lacking.returncode == 2
    assert " init --study study --slides FOLDER" in lacking.stderr
    assert " demo" in lacking.stderr
    assert "Traceback" not in lacking.stderr
    assert not list(tmp_path.iterdir())


def test_a_crash_under_run_is_told_from_slides_that_failed(monkeypatch, capsys):
    monkeypatch.setattr("preprocessing.tile_slides.main", lambda flags: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        main(["tile"])
    monkeypatch.setenv("SARCOMA_MIL_STEP", "1")
    assert main(["tile"]) == 70
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.slow
def test_a_reader_that_goes_away_leaves_no_trace(root):
    for words in ("--help", "encoders"):
        code = f"{sys.executable} {root / 'sarcoma_mil'} {words} | true; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert done.stderr == ""


def test_in_a_study_folder_it_says_how_to_name_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "slides").mkdir()
    (tmp_path / "cohort.csv").write_text("patient_id,slide_id\np,s\n")
    monkeypatch.chdir(tmp_path)
    assert main(["splits"]) == 2
    assert "this folder looks like one: give it with --study ." in capsys.readouterr().err
