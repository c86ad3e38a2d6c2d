"""What is wrong with an option is said in the words of who gives it, with the nearest name."""

import subprocess
import sys
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_type_hints

import pytest

import common
from common.failures import StudyError
from common.option_faults import option_words
from common.settings import option, parse_config
from tests.helpers.scripts import SCRIPTS

ROOT = Path(__file__).resolve().parents[2]
ALONE = "belongs to no option; write --OPTION VALUE, and a value with spaces in quotation marks"


@dataclass(frozen=True, kw_only=True)
class Config:
    study: Path = option(Path("study"), help="the folder", group="study")
    tile_um: float = option(256.0, help="side", group="tiles")
    tile_px: int = option(224, help="side", group="tiles")
    mpp: float | None = option(None, help="scale", group="tiles")
    workers: int | None = option(None, help="processes", group="tiles")
    method: Literal["k_fold", "monte_carlo"] = option("k_fold", help="how", group="tiles")
    is_fast: bool = option(True, help="fast", group="tiles")


def error_of(capsys, *flags):
    with pytest.raises(SystemExit) as stop:
        parse_config(Config, list(flags), section="tool", description=None)
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert not any(
        word in told for word in ("class", "float", "int ", "bool", "Literal", "NoneType", "usage", "Parser key")
    )
    return told.removeprefix("error: ").strip()


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--tile_um", "abc"], "--tile_um is a length in um such as 256; found 'abc'"),
        (["--tile_um="], "--tile_um is a length in um such as 256; found ''"),
        (["--tile_px", "2.5"], "--tile_px is a whole number of pixels such as 224; found '2.5'"),
        (["--mpp", "x"], "--mpp is a scale in um a pixel; found 'x'"),
        (["--workers", "many"], "--workers is a whole number; found 'many'"),
        (["--is_fast", "maybe"], "--is_fast is true or false; found 'maybe'"),
        (["--method", "kfold"], "--method is one of k_fold, monte_carlo; found 'kfold'; the nearest is k_fold"),
        (["--mmp", "1"], "--mmp is no option here; the nearest is --mpp; --help lists all"),
        (["--TILE_UM=1"], "--TILE_UM is no option here; the nearest is --tile_um; --help lists all"),
        (["--zzz"], "--zzz is no option here; --help lists all"),
        (["--tile_um"], "--tile_um wants a value: a length in um such as 256"),
        (["--tile_um", "--mpp", "1"], "--tile_um wants a value: a length in um such as 256"),
        (["128"], f"'128' {ALONE}"),
        (["--is_fast", "--tile_um", "64", "x"], f"'x' {ALONE}"),
    ],
)  # fmt: skip
def test_u4_wrong_flags(capsys, flags, text):
    assert error_of(capsys, *flags) == text


def test_u4_negative_numbers_and_many_signs(capsys):
    assert parse_config(Config, ["--tile_um", "-3"], section="tool", description=None).tile_um == -3
    assert len(error_of(capsys, "--tile_um", "a" * 10_000)) < 200


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("tool:\n  tile_um: wide\n", "tool: tile_um is a length in um such as 256; found 'wide'"),
        ("tool:\n  tile_um: [1, 2]\n", "tool: tile_um is a length in um such as 256; found [1, 2]"),
        ("tool:\n  mmp: 1\n", "'tool' has no option 'mmp'; the nearest is mpp; it has"),
        ("tool: 3\n", "wanted a mapping of option to value under 'tool:', found 3"),
        ("tool: [a]\n", "wanted a mapping of option to value under 'tool:', found a list"),
        ("tile_slide:\n  mpp: 1\n", "'tile_slide' is no script; the nearest is tile_slides; options"),
    ],
)
def test_u4_wrong_files(tmp_path, content, text):
    (tmp_path / "study.yaml").write_text(content)
    with pytest.raises(StudyError) as told:
        parse_config(Config, ["--study", str(tmp_path)], section="tool", description=None)
    assert f"study.yaml: {text}" in str(told.value)
    for flag in ("--help", "--version"):
        with pytest.raises(SystemExit) as stop:
            parse_config(Config, ["--study", str(tmp_path), flag], section="tool", description=None)
        assert stop.value.code == 0


def test_u4_every_setting_has_words():
    from mil.training.training_settings import TrainConfig
    from preprocessing.tiling.tiling_settings import TilingConfig

    for settings in (TilingConfig, TrainConfig):
        kinds = get_type_hints(settings)
        for field in fields(settings):
            assert option_words(field.name, kinds[field.name], field.default).split()[0] in (
                "a",
                "one",
                "true",
                "memory",
            )


def test_u4_the_version_has_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "common.__version__"}


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_u4_every_script_tells_its_version_and_knows_a_wrong_option(script):
    for flags, code, text in (
        (["--version"], 0, f"sarcoma-mil {common.__version__}\n"),
        (["--studdy", "x"], 2, "error: --studdy is no option here; the nearest is --study; --help lists all\n"),
    ):
        done = subprocess.run([sys.executable, script, *flags], cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (code, text)


def test_u4_names_of_encoders_heads_tasks_and_columns(tmp_path, capsys):
    from features.encoder.registry import find_card
    from mil.heads.registry import head_named
    from mil.tasks.registry import task_named
    from mil.train import main as train
    from splits.make_splits import main as split
    from tests.helpers.feature_study import make_feature_study

    for find, name, near in (
        (find_card, "efficientnet-lite0", "efficientnet_lite0"), (find_card, "resnet5", "resnet50"),
        (head_named, "gated_atention", "gated_attention"), (task_named, "Survial", "survival"),
    ):  # fmt: skip
        with pytest.raises(StudyError, match=f"the nearest is {near};"):
            find(name)
    study = make_feature_study(tmp_path / "study", n_patients=24)
    assert split(["--study", str(study.root)]) == 0
    assert train(["--study", str(study.root), "--encoder", "efficientnet_lite"]) == 2
    assert "the nearest is efficientnet_lite0" in capsys.readouterr().err
    table = study.cohort_table
    table.write_text(table.read_text().replace("patient_id", "patientid"))
    assert train(["--study", str(study.root)]) == 2
    assert "no column patient_id; the nearest is patientid" in capsys.readouterr().err
