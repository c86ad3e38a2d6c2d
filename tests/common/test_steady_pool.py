"""A thread of the pool that dies, or cannot begin, ends the run with one message, and leaves no process behind."""

import multiprocessing
import threading
import time

import pebble.pool.process as pool_threads
import pytest

from common.failures import StudyError
from common.parallel import over_slides

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]  # processes are started


def work(name: str) -> str:
    time.sleep(0.05)
    return name.upper()


def all_done() -> list[str]:
    jobs = [(name, (name,)) for name in "abcdef"]
    return [outcome.value for outcome in over_slides(work, jobs, workers=2, timeout_s=30.0, title="test")]


def failing(own, error, *, calls):
    """Return a function that raises at some of its calls."""
    n = 0

    def tried(*arguments):
        nonlocal n
        n += 1
        if calls(n):
            raise error
        return own(*arguments)

    return tried


@pytest.fixture(autouse=True)
def no_process_stays():
    yield
    assert not [own for own in multiprocessing.active_children() if own.name == pool_threads.WORKERS_NAME]


THREADS = ("schedule", "update_status", "process_next_message")


@pytest.mark.parametrize("thread", THREADS)
def test_memory_that_ends_a_watching_thread_ends_the_run(thread, monkeypatch, capfd):
    own = getattr(pool_threads.PoolManager, thread)
    monkeypatch.setattr(pool_threads.PoolManager, thread, failing(own, MemoryError(), calls=lambda n: n == 3))
    with pytest.raises(StudyError, match=r"^memory ran out; give fewer --workers"):
        all_done()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("thread", THREADS)
def test_a_watching_thread_that_always_dies_ends_the_run(thread, monkeypatch, capfd):
    own = getattr(pool_threads.PoolManager, thread)
    monkeypatch.setattr(pool_threads.PoolManager, thread, failing(own, KeyError("x"), calls=lambda n: n > 2))
    with pytest.raises(StudyError, match=r"threads that watch the worker processes ended, one after another .KeyError"):
        all_done()
    assert "Traceback" not in capfd.readouterr().err


def test_a_watching_thread_that_dies_once_of_something_else_costs_nothing(monkeypatch):
    own = pool_threads.PoolManager.update_status
    monkeypatch.setattr(pool_threads.PoolManager, "update_status", failing(own, KeyError("x"), calls=lambda n: n == 3))
    assert all_done() == list("ABCDEF")


@pytest.mark.parametrize("which", [1, 2, 3])
def test_a_thread_that_cannot_begin_ends_the_run(which, monkeypatch):
    error = RuntimeError("can't start new thread")
    begin = failing(pool_threads.launch_thread, error, calls=lambda n: n == which)
    monkeypatch.setattr(pool_threads, "launch_thread", begin)
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="can't start new thread"):
        all_done()
    assert threading.active_count() == before


def test_a_thread_that_dies_when_all_is_done_keeps_nobody_waiting(monkeypatch):
    def die(manager):
        raise MemoryError

    outcomes = over_slides(work, [("a", ("a",))], workers=1, timeout_s=30.0, title="test")
    assert next(outcomes).value == "A"
    monkeypatch.setattr(pool_threads.PoolManager, "update_workers", die)
    assert list(outcomes) == []
