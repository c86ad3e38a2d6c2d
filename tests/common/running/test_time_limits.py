"""Limits of time: a busy machine ends no sound job, and what loops or stands still is ended."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from common.parallel import over_slides
from common.running.time_limits import WALL_FACTOR, TimeLimits, Used, processor_seconds

needs_proc = pytest.mark.skipif(processor_seconds(os.getpid()) is None, reason="this system tells no processor times")


class Machine:
    """A clock and a process that uses a share of it."""

    def __init__(self):
        self.now, self.used = 1000.0, 7.0  # the worker did other jobs before

    def limits(self):
        return TimeLimits(clock=lambda: self.now, used_by=lambda _: Used(main=self.used, all=self.used))

    def ended_after(self, share, *, limit_s=100.0, most_s=5000):
        limits, started = self.limits(), self.now
        while self.now - started < most_s:
            if limits.is_over(1, process=2, started=started, limit_s=limit_s):
                return self.now - started
            self.now += 1
            self.used += share
        return None


@pytest.mark.parametrize(
    ("share", "seconds"),
    [(1.0, 101), (0.5, 201), (0.2, 501), (0.05, 100 * WALL_FACTOR + 1), (0.0, 101), (0.0001, 101)],
)
def test_a_job_is_ended_by_what_it_uses_or_by_standing_still(share, seconds):
    assert Machine().ended_after(share) == pytest.approx(seconds, abs=1)


def test_a_job_that_stops_in_the_middle_is_ended_one_limit_later():
    machine = Machine()
    limits, started = machine.limits(), machine.now
    for second in range(400):
        if limits.is_over(1, process=2, started=started, limit_s=100.0):
            break
        machine.now += 1
        machine.used += 0.3 if second < 150 else 0.0
    assert 245 <= second <= 255


def test_jobs_of_one_worker_are_told_apart():
    machine = Machine()
    limits = machine.limits()
    for job in range(5):  # 90 of 100 s each
        started = machine.now
        for _ in range(90):
            assert not limits.is_over(job, process=2, started=started, limit_s=100.0)
            machine.now += 1
            machine.used += 1


def test_without_processor_times_the_clock_decides():
    now = [0.0]
    limits = TimeLimits(clock=lambda: now[0], used_by=lambda _: None)
    assert not limits.is_over(1, process=2, started=0.0, limit_s=10.0)
    now[0] = 10.5
    assert limits.is_over(1, process=2, started=0.0, limit_s=10.0)


@needs_proc
def test_a_process_is_asked_for_what_it_used():
    before = processor_seconds(os.getpid())
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    after = processor_seconds(os.getpid())
    assert after.all - before.all >= 0.05
    assert processor_seconds(2**30) is None


def spin(processor_s, pid_file):
    """Use processor time, and say which process does."""
    Path(pid_file).write_text(str(os.getpid()))
    end = time.thread_time() + processor_s
    while time.thread_time() < end:
        pass
    return processor_s


def stand_still(_):
    """Wait for what never comes."""
    time.sleep(600)


@pytest.mark.slow
@needs_proc
def test_a_sound_job_outlives_the_limit_where_it_gets_a_part_of_a_processor(tmp_path):
    path, is_over = tmp_path / "pid", threading.Event()

    def crowd():  # stops the worker three quarters of the time, as a crowded processor does
        while not is_over.is_set():
            text = path.read_text() if path.is_file() else ""
            if text:
                try:
                    os.kill(int(text), signal.SIGSTOP)
                    time.sleep(0.3)
                    os.kill(int(text), signal.SIGCONT)
                except ProcessLookupError:
                    return
            time.sleep(0.1)

    thread = threading.Thread(target=crowd)
    thread.start()
    try:
        began = time.monotonic()
        (outcome,) = over_slides(spin, [("x", (1.0, str(path)))], workers=1, timeout_s=2.0, title="test")
    finally:
        is_over.set()
        thread.join()
    assert outcome.value == 1.0
    assert time.monotonic() - began > 2.0


@pytest.mark.slow
def test_a_job_that_loops_or_stands_still_is_ended(tmp_path):
    (looping,) = over_slides(spin, [("x", (600.0, str(tmp_path / "p")))], workers=1, timeout_s=1.0, title="test")
    (waiting,) = over_slides(stand_still, [("x", (None,))], workers=1, timeout_s=1.0, title="test")
    for outcome in (looping, waiting):
        assert "no result within the time limit of 1 s" in outcome.error.reason
