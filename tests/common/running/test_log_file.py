"""--log keeps all that is printed, with times: by workers too, whatever becomes of the command."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.failures import StudyError, command
from common.parallel import over_slides
from common.running.log_file import log_path, stop_log
from common.settings import option, parse_config
from mil.show_results import main as show
from tests.helpers.scripts import SCRIPTS

ROOT = Path(__file__).resolve().parents[3]
TIMED = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d .*")


@dataclass(frozen=True, kw_only=True)
class Config:
    study: Path = option(Path("study"), help="the folder", group="study")
    how: str = option("well", help="how it ends", group="work")


def say(name: str) -> str:
    print(f"{name} speaks")
    return name


@command
def main(argv=None):
    config = parse_config(Config, argv, section="tool", description=None)
    print("begun\nagain", end="")
    print()
    sys.stderr.write("10%|\r20%|\r")
    sys.stderr.write("30%|\nhalf a line")
    for outcome in over_slides(
        say, [("A", ("A",))], workers=int(config.how == "workers"), timeout_s=60, title="speaking"
    ):
        print(outcome.value)
    if config.how == "wrong":
        raise StudyError("this is wrong")
    if config.how == "defect":
        raise KeyError("oops")
    return 0


def lines_of(path):
    lines = path.read_text().splitlines()
    assert all(TIMED.fullmatch(line) for line in lines), lines
    return [line.partition(" ")[2] for line in lines]


def test_d10_all_that_is_printed_is_added_with_times(tmp_path, capsys):
    log = tmp_path / "run.log"
    assert main(["--study", str(tmp_path), "--log", str(log)]) == 0
    told = capsys.readouterr()
    assert told.out == "begun\nagain\nA speaks\nA\n"
    assert "30%|\nhalf a line" in told.err
    assert log_path() is None
    first = lines_of(log)
    assert first[0] == f"$ tool.py --study {tmp_path} --log {log}"
    assert first[1:] == ["begun", "again", "30%|", "A speaks", "A", "half a line", "exit code 0"]
    assert main([f"--study={tmp_path}", "--how", "wrong", f"--log={log}"]) == 2
    assert lines_of(log)[: len(first)] == first
    assert lines_of(log)[-2:] == ["half a lineerror: this is wrong", "exit code 2"]


def test_d10_a_defect_leaves_its_trace_in_the_log(tmp_path):
    log = tmp_path / "run.log"
    with pytest.raises(KeyError):
        main(["--study", str(tmp_path), "--how", "defect", "--log", str(log)])
    assert lines_of(log)[-2:] == ["KeyError: 'oops'", "exit code 1"]
    assert log_path() is None


@pytest.mark.slow
def test_d10_what_workers_print_is_in_the_log_too(tmp_path):
    log = tmp_path / "run.log"
    assert main(["--study", str(tmp_path), "--how", "workers", "--log", str(log)]) == 0
    assert "A speaks" in lines_of(log)


def test_d10_a_path_that_cannot_be_is_one_message_before_any_work(tmp_path, capsys):
    (tmp_path / "cohort.csv").write_text("patient_id,slide_id\n")
    for path in (tmp_path / "none" / "x.log", tmp_path, tmp_path / "cohort.csv"):
        assert main(["--study", str(tmp_path), "--log", str(path)]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert re.fullmatch(rf"error: --log {re.escape(str(path))} .*name .*file.*\n", told.err)
    assert (tmp_path / "cohort.csv").read_text() == "patient_id,slide_id\n"
    stop_log()


def test_d10_the_log_can_stand_in_study_yaml(tmp_path, capsys):
    (tmp_path / "study.yaml").write_text(f"show_results:\n  log: {tmp_path / 'run.log'}\n")
    assert show(["--study", str(tmp_path)]) == 2
    assert lines_of(tmp_path / "run.log")[1].startswith("error: no finished run")


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_d10_every_script_keeps_a_log(tmp_path, script):
    log = tmp_path / "run.log"
    study = ["--study", str(tmp_path / "none")] if "demo" not in script else ["--patients", "0"]
    done = subprocess.run(
        [sys.executable, script, *study, "--log", str(log)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    lines = lines_of(log)
    assert lines[0].startswith("$ ")
    assert lines[-1] == f"exit code {done.returncode}"
    for line in (*done.stdout.splitlines(), *done.stderr.splitlines()):
        assert line in lines
