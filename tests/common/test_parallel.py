"""A worker that crashes, hangs or fails costs its own job only."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.util import Finalize

import pytest

from common.failures import SlideError, StudyError
from common.parallel import outcome_of, over_slides
from common.steady_pool import worker_pool

pytestmark = pytest.mark.slow  # seconds a test: networks, processes


def work(kind: str) -> str:
    if kind == "abort":
        os.abort()
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "sleep":
        time.sleep(600)
    if kind == "slide error":
        raise SlideError("found this", "do that")
    if kind == "defect":
        raise KeyError("oops")
    return kind.upper()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_every_other_job_is_done_in_order(workers, capfd):
    kinds = ["a", "abort", "b", "sleep", "kill", "c", "slide error", "defect", "d"]
    jobs = [(f"{index} {kind}", (kind,)) for index, kind in enumerate(kinds)]
    outcomes = list(over_slides(work, jobs, workers=workers, timeout_s=4.0, title="test"))
    assert [outcome.name for outcome in outcomes] == [name for name, _ in jobs]
    assert [outcome.value for outcome in outcomes if outcome.error is None] == ["A", "B", "C", "D"]
    reasons = {outcome.name.split(" ", 1)[1]: outcome.error.reason for outcome in outcomes if outcome.error}
    assert "died" in reasons["abort"]
    assert "died" in reasons["kill"]
    assert "time limit of 4 s" in reasons["sleep"]
    assert reasons["slide error"] == "found this"
    assert "KeyError" in reasons["defect"]
    assert "oops" in capfd.readouterr().err  # a defect of ours leaves its trace


def test_a_slide_error_keeps_its_remedy_through_the_worker():
    (outcome,) = over_slides(work, [("x", ("slide error",))], workers=1, timeout_s=30.0, title="test")
    assert str(outcome.error) == "found this; do that"


def test_no_worker_runs_in_this_process():
    outcomes = list(over_slides(work, [("x", ("a",)), ("y", ("slide error",))], workers=0, timeout_s=1.0, title="test"))
    assert outcomes[0].value == "A"
    assert outcomes[1].error.remedy == "do that"


class Late:
    """What every worker but the first receives slowly; the first one is slow to end."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return _arrived, (self.marker,)


def _arrived(marker):
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        Finalize(None, time.sleep, args=(1.0,), exitpriority=1)
    except FileExistsError:
        time.sleep(0.6)


def _received(_late):
    pass


def test_a_pool_that_closes_while_workers_are_still_starting_prints_nothing(tmp_path, capfd):
    pool = worker_pool(2, _received, (Late(tmp_path / "marker"),))
    assert pool.schedule(work, args=("a",)).result() == "A"
    pool.close()
    pool.join()
    assert capfd.readouterr().err == ""


class OddError(Exception):
    """An exception that cannot be unpickled, as some libraries have."""

    def __init__(self, one, other):
        super().__init__(f"{one} {other}")


def odd(kind):
    if kind == "odd":
        raise OddError("what", "ever")
    if kind == "exit":
        sys.exit(3)
    return kind


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_job_raises_costs_its_own_job_only(workers, capfd):
    jobs = [(kind, (kind,)) for kind in ("a", "odd", "b", "exit", "c", "d")]
    outcomes = list(over_slides(odd, jobs, workers=workers, timeout_s=60.0, title="test"))
    assert [outcome.value for outcome in outcomes if outcome.error is None] == ["a", "b", "c", "d"]
    reasons = [outcome.error.reason for outcome in outcomes if outcome.error is not None]
    assert reasons == ["unexpected OddError: what ever", "unexpected SystemExit: 3"]
    assert 'raise OddError("what", "ever")' in capfd.readouterr().err


def test_a_negative_number_of_workers_is_refused():
    with pytest.raises(StudyError, match="--workers is a number from 0"):
        next(over_slides(work, [("a", ("a",))], workers=-1, timeout_s=1.0, title="test"))


def slow_work(kind):
    time.sleep(0.3)
    return kind.upper()


def test_d1_a_worker_killed_while_it_starts_costs_no_job(capfd):
    def kill_the_first():
        while not (workers := multiprocessing.active_children()):
            time.sleep(0.005)
        os.kill(workers[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_the_first)
    killer.start()
    jobs = [(kind, (kind,)) for kind in "abcdef"]
    outcomes = list(over_slides(slow_work, jobs, workers=2, timeout_s=60.0, title="test"))
    killer.join()
    assert [outcome.value for outcome in outcomes] == list("ABCDEF")
    assert "Traceback" not in capfd.readouterr().err


def test_d1_a_pool_that_breaks_for_ever_ends_with_a_named_failure(capfd):
    pool = worker_pool(1, os._exit, (9,))  # every worker ends before it takes a job
    task = pool.schedule(work, args=("a",))
    outcome = outcome_of("s", task.result, 60.0)
    assert "ended from outside before they begin" in outcome.error.reason
    assert "Traceback" not in capfd.readouterr().err
    pool.stop()
    pool.join()
