"""Exit codes, status tables and messages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.failures import SlideError, SlideStatus, StudyError, command, exit_code, failed, failure_table, write_status


def test_commands_turn_errors_into_exit_codes(capsys):
    @command
    def main(argv=None):
        if argv == ["wrong"]:
            raise StudyError("found x, wanted y")
        if argv == ["stop"]:
            raise KeyboardInterrupt
        return 0

    assert (main([]), main(["wrong"]), main(["stop"])) == (0, 2, 130)
    assert "error: found x, wanted y" in capsys.readouterr().err


def test_status_tables_are_sorted_and_the_same_in_any_order(tmp_path):
    rows = [
        SlideStatus(slide_id="b", step="s", state="done", figures={"n_tiles": 3}),
        failed("a", "s", SlideError("no scale", "give mpp")),
    ]
    write_status(tmp_path / "one.csv", rows)
    write_status(tmp_path / "two.csv", rows[::-1])
    assert (tmp_path / "one.csv").read_text().splitlines() == [
        "slide_id,step,state,reason,remedy,n_tiles",
        "a,s,failed,no scale,give mpp,",
        "b,s,done,,,3",
    ]
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    assert exit_code(rows) == 1
    assert exit_code(rows[:1]) == 0
    assert "a: no scale; give mpp" in failure_table(rows)
    assert failure_table(rows[:1]) == ""


@pytest.mark.parametrize("script", ["features/extract_features.py", "mil/train.py"])
def test_d9_ctrl_c_while_modules_load_is_130_without_a_trace(tmp_path, script):
    root = Path(__file__).resolve().parents[2]
    for module in ("numpy", "yaml"):  # what the scripts load first of other packages
        (tmp_path / f"{module}.py").write_text(
            "import signal\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background ignores it
            "signal.raise_signal(signal.SIGINT)\n"
        )
    run = subprocess.run(
        [sys.executable, str(root / script), "--study", str(tmp_path)], env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert run.stderr == "interrupted; run the same command again to go on where it stopped\n"
    assert run.returncode == 130


def test_d9_a_program_that_imports_us_keeps_its_own_ways(tmp_path):
    (tmp_path / "own.py").write_text("import sys\nimport common\nprint(sys.excepthook is sys.__excepthook__)\n")
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run(
        [sys.executable, str(tmp_path / "own.py")], env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip
    assert run.stdout == "True\n"
