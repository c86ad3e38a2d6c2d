"""Without a terminal a line a minute says what is done, what is left, how fast, and how long; with one there is the bar."""

import re
import sys
import time

import pytest

from common.running import progress as room
from common.running.log_file import start_log, stop_log
from common.running.progress import duration, followed, progress, progress_line, rate_of, stage


@pytest.mark.parametrize(
    ("done", "rate", "text"),
    [
        (12, 0.05, "tiling: 12 of 60 slides done, 48 to do, 3.0 a minute, about 16 min left"),
        (0, 0.0, "tiling: 0 of 60 slides done, 60 to do, rate and time left not known yet"),
        (59, 2.0, "tiling: 59 of 60 slides done, 1 to do, 2.0 a second, about 0 s left"),
        (1, 1 / 7200, "tiling: 1 of 60 slides done, 59 to do, 0.5 an hour, about 118 h 0 min left"),
    ],
)
def test_d10_the_line(done, rate, text):
    assert progress_line("tiling", "slide", done, 60, rate) == text


def test_d10_times_and_rates():
    assert [duration(seconds) for seconds in (5, 119, 121, 3600, 9000)] == [
        "5 s",
        "119 s",
        "2 min",
        "60 min",
        "2 h 30 min",
    ]
    assert rate_of([(100.0, 40), (160.0, 50)], 220.0, 70) == 0.25


def test_d10_lines_come_each_minute_even_while_nothing_ends(monkeypatch, capsys):
    monkeypatch.setattr(room, "EVERY_S", 0.05)
    with progress(3, title="tiling", unit="slide") as count:
        time.sleep(0.12)
        count(2)
        time.sleep(0.12)
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"20\S+T\S+[+-]\d\d:\d\d tiling: 0 of 3 slides done, 3 to do, rate and time left not known yet", lines[0]
    )
    assert re.fullmatch(r"20\S+ tiling: 2 of 3 slides done, 1 to do, [\d.]+ a second, about 0 s left", lines[-1])


def test_d10_a_stage_without_parts_says_that_it_is_at_work(monkeypatch, capsys):
    monkeypatch.setattr(room, "EVERY_S", 0.05)
    with stage("evaluating"):
        time.sleep(0.12)
    assert re.fullmatch(r"20\S+ evaluating: at work for 0 s", capsys.readouterr().err.splitlines()[0])


def test_d10_a_quick_loop_says_nothing(capsys):
    assert list(followed([1, 2], title="tiling", unit="slide")) == [1, 2]
    assert capsys.readouterr().err == ""


def test_d10_on_a_terminal_the_bar_stays_and_the_log_has_the_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(room, "EVERY_S", 0.05)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    start_log(tmp_path / "run.log", "$ own.py")
    try:
        with progress(2, title="tiling", unit="slide") as count:
            count(1)
            time.sleep(0.12)
    finally:
        stop_log()
    told = capsys.readouterr().err
    assert "1/2" in told
    assert "to do" not in told
    lines = (tmp_path / "run.log").read_text().splitlines()
    assert sum("tiling: 1 of 2 slides done, 1 to do" in line for line in lines) >= 1
