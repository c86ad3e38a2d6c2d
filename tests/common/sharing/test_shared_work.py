"""Runs that share a folder do each job once, both tell of all, and a killed one's jobs are done by the other."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from common.failures import SlideError
from common.parallel import over_slides
from common.sharing import claims
from common.sharing.claims import Claims

pytestmark = pytest.mark.slow  # seconds a test: processes that start processes
NAMES = [f"s{number:02d}" for number in range(14)]


def work(log: str, name: str) -> str:
    with Path(log).open("a") as file:
        file.write(f"{name}\n")
    time.sleep(0.15)
    if name == "s05":
        raise SlideError("found", "do")
    return name.upper()


def look_or_work(log: str, name: str) -> str:
    """Keep what is there, as every step does."""
    if name in Path(log).read_text().split() and name != "s05":
        return name.upper()
    return work(log, name)


def run(folder, log, queue, workers, first):
    order = NAMES if first else NAMES[::-1]
    jobs = [(name, (str(log), name)) for name in order]
    with Claims(folder, {"step": "x"}, what="own.py") as own:
        outcomes = list(over_slides(look_or_work, jobs, workers=workers, timeout_s=60, title="test", sharing=own))
    queue.put((first, {outcome.name: outcome.value or str(outcome.error) for outcome in outcomes}))


@pytest.mark.parametrize("workers", [0, 1])
def test_two_runs_do_each_job_once_and_both_tell_of_all(tmp_path, workers):
    log, context = tmp_path / "log", multiprocessing.get_context("spawn")
    log.touch()
    (tmp_path / "study").mkdir()
    queue = context.Queue()
    runs = [
        context.Process(target=run, args=(tmp_path / "study", log, queue, workers, first)) for first in (True, False)
    ]
    for process in runs:
        process.start()
    told = dict(queue.get(timeout=120) for _ in runs)
    for process in runs:
        process.join()
    assert sorted(log.read_text().split()) == NAMES
    expected = {name: name.upper() for name in NAMES} | {"s05": "found; do"}
    assert told == {True: expected, False: expected}
    assert list((tmp_path / "study").iterdir()) == []


def test_what_a_killed_run_held_is_done_by_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "POLL_S", 0.1)
    log, context = tmp_path / "log", multiprocessing.get_context("spawn")
    log.touch()
    queue = context.Queue()
    (tmp_path / "study").mkdir()
    first = context.Process(target=run, args=(tmp_path / "study", log, queue, 0, True))
    first.start()
    while len(log.read_text().split()) < 3:
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    n_left = len(list((tmp_path / "study" / ".claims").iterdir()))
    assert n_left >= 1
    run(tmp_path / "study", log, queue, 0, True)
    assert set(log.read_text().split()) == set(NAMES)
    assert list((tmp_path / "study").iterdir()) == []


def test_the_order_is_that_of_the_jobs_whatever_ends_first():
    jobs = [(name, (name, pause)) for name, pause in (("a", 1.0), ("b", 0.0), ("c", 0.0), ("d", 0.0))]
    outcomes = over_slides(pausing, jobs, workers=2, timeout_s=60, title="test")
    assert [outcome.name for outcome in outcomes] == ["a", "b", "c", "d"]


def pausing(name, pause):
    time.sleep(pause)
    return name
