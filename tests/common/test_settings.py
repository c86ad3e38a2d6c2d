"""A dataclass is a command line and a YAML file; flags win, faults are named."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from common.failures import StudyError
from common.settings import option, parse_config, settings_of


@dataclass(frozen=True, kw_only=True)
class Config:
    study: Path = option(Path("study"), help="the folder", group="study")
    tile_um: float = option(256.0, help="side of a tile, µm", group="tiles")
    name: str | None = option(None, help="a name", group="tiles")
    is_fast: bool = option(True, help="fast", group="tiles")

    def __post_init__(self) -> None:
        if self.tile_um <= 0:
            raise ValueError(f"--tile_um is above 0, got {self.tile_um}")


def parse(*argv):
    return parse_config(Config, list(argv), section="tool", description="What it does.")


def test_defaults_flags_and_file_in_rising_order(tmp_path):
    study = ("--study", str(tmp_path))
    assert parse(*study).tile_um == 256
    (tmp_path / "study.yaml").write_text("tool:\n  tile_um: 128\n  is_fast: false\ntrain:\n  x: 1\n")
    assert (parse(*study).tile_um, parse(*study).is_fast) == (128, False)
    assert parse(*study, "--tile_um", "64").tile_um == 64
    assert parse("--tile_um=64", f"--study={tmp_path}").is_fast is False
    assert parse(*study, "--is_fast").is_fast is True  # a switch alone says yes
    assert parse(*study, "--is_fast", "--tile_um", "64").tile_um == 64


@pytest.mark.parametrize(
    ("content", "message"),
    [("tool:\n  tile: 1\n", "no option 'tile'"), ("tool: 3\n", "wanted a mapping"), ("a: [", "not readable as YAML")],
)
def test_faulty_files_are_named(tmp_path, content, message):
    (tmp_path / "study.yaml").write_text(content)
    with pytest.raises(StudyError, match=message):
        parse("--study", str(tmp_path))


def test_rules_and_unknown_flags(tmp_path, capsys):
    with pytest.raises(StudyError, match="--tile_um is above 0, got -1"):
        parse("--tile_um", "-1")
    for flags in (["--tile_um", "wide"], ["--nothing", "1"]):
        with pytest.raises(SystemExit) as stop:
            parse(*flags)
        assert stop.value.code == 2
    assert "tile_um" in capsys.readouterr().err


def test_help_shows_groups_units_and_defaults(capsys):
    with pytest.raises(SystemExit) as stop:
        parse("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for part in ("What it does.", "tiles:", "side of a tile, µm (default: 256.0)"):
        assert part in text
    assert "class" not in text


def test_settings_are_plain_values():
    assert settings_of(Config(), without=("name",)) == {"study": "study", "tile_um": 256.0, "is_fast": True}


def test_sections_of_no_script_and_shortened_flags_are_refused(tmp_path, capsys):
    for content in ("tile-slides:\n  tile_um: 128\n", "tile_um: 128\n"):
        (tmp_path / "study.yaml").write_text(content)
        with pytest.raises(StudyError, match="is no script"):
            parse("--study", str(tmp_path))
    with pytest.raises(SystemExit):
        parse("--stud", str(tmp_path))
    assert "--stud" in capsys.readouterr().err
    (tmp_path / "study.yaml").write_text("tool:\ntrain:\n  name: x\n")
    assert parse("--study", str(tmp_path)).tile_um == 256  # an empty section
    (tmp_path / "study.yaml").write_text("tool:\n  name: 2024-05-01\n")
    assert parse("--study", str(tmp_path)).name == "2024-05-01"


@pytest.mark.parametrize("key", ["1", "true", "null", "2026-01-01", "1.5", "[a, b]", "{a: b}"])
@pytest.mark.parametrize("place", ["tool", "top"])
def test_s6_a_key_that_is_no_text_is_named_beside_one_that_is(tmp_path, key, place):
    content = f"tool:\n  ? {key}\n  : 3\n  typo: 4\n" if place == "tool" else f"? {key}\n: 3\ntypo: 4\n"
    (tmp_path / "study.yaml").write_text(content)
    with pytest.raises(ValueError, match=r"study\.yaml"):
        parse("--study", str(tmp_path))
