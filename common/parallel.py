"""Slides over worker processes: one that crashes, hangs or is killed costs its own slide only.

pebble's pool restarts a dead worker and ends one past its time limit; the standard library's pool breaks as a whole.
Workers are spawned, never forked, so they hold no half-copied state of the parent and behave alike on every system.
"""

import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from common.failures import SlideError, StudyError, machine_fault
from common.files import UnwritableError
from common.running.progress import progress
from common.sharing.claims import Sharing
from common.steady_pool import LostPoolError, SteadyPool, Task, worker_pool

Value = TypeVar("Value")


@dataclass(frozen=True)
class Outcome(Generic[Value]):
    """What became of one job: its value, or the error that stopped it (exactly one is set)."""

    name: str
    value: Value | None
    error: SlideError | None


class WorkerError(Exception):
    """What a job raised, as text: exceptions of other libraries may not survive the way out of a worker."""

    def __init__(self, summary: str, trace: str) -> None:
        super().__init__(summary, trace)
        self.summary, self.trace = summary, trace


def guarded(function: Callable[..., Value], *arguments: Any) -> Value:
    """Call a job in its worker; what it raises comes out as a SlideError or a WorkerError, and a full disk as it is."""
    try:
        return function(*arguments)
    except (SlideError, UnwritableError):
        raise
    except (Exception, SystemExit) as error:
        if (told := machine_fault(error)) is not None:
            raise told from None
        raise WorkerError(f"{type(error).__name__}: {error}", traceback.format_exc()) from None


@runtime_checkable
class Pending(Protocol):
    """A job that was given to an engine."""

    def done(self) -> bool:
        """Return whether it has ended."""

    def outcome(self) -> Outcome[Any]:
        """Return what became of it."""


@runtime_checkable
class Engine(Protocol):
    """Runs jobs, here or elsewhere; a job that fails, crashes or hangs is an outcome with an error."""

    def n_ahead(self) -> int:
        """Return how many jobs it takes before the first of them has ended, from 1."""

    def submit(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], timeout_s: float) -> Pending:
        """Start a job."""

    def wait(self, jobs: Sequence[Pending]) -> None:
        """Wait until one of some jobs has ended, for a second or so at most."""


def over_slides(
    function: Callable[..., Value],
    jobs: Sequence[tuple[str, tuple[Any, ...]]],
    *,
    workers: int,
    timeout_s: float,
    title: str,
    unit: str = "slide",
    engine: Engine | None = None,
    sharing: Sharing | None = None,
) -> Iterator[Outcome[Value]]:
    """Yield the outcome of `function(*arguments)` for each job (name, arguments), in the order of the jobs.

    Args:
        function: an importable function; a SlideError it raises is its slide's failure.
        jobs: a name and the (picklable) arguments of each.
        workers: number of processes; 0 runs everything in this process (for debugging, no time limit).
        timeout_s: processor seconds after which a job is ended; so is one that stands still as long.
        title: shown beside the progress bar.
        unit: of what, in the singular.
        engine: runs the jobs instead of processes of this machine.
        sharing: what other runs hold is left to them and comes last: made by them, and looked at here.

    Raises:
        StudyError: a negative number of workers.
        UnwritableError: a job could not write its file; the jobs that are under way are ended.
        LostPoolError: memory ended the threads that watch the workers.
    """
    if workers < 0:
        raise StudyError(f"--workers is a number from 0, got {workers}")
    with progress(len(jobs), title=title, unit=unit) as count, _engine(engine, workers, len(jobs)) as own:
        for outcome in _in_order(function, jobs, own, sharing or Sharing(), timeout_s):
            count(1)
            yield outcome


def _in_order(
    function: Callable[..., Value],
    jobs: Sequence[tuple[str, tuple[Any, ...]]],
    engine: Engine,
    sharing: Sharing,
    timeout_s: float,
) -> Iterator[Outcome[Value]]:
    """Keep the engine busy with jobs that nobody else holds; hand out what is done when its turn has come."""
    queue, order = deque(jobs), deque(name for name, _ in jobs)
    running: dict[str, Pending] = {}
    ready: dict[str, Outcome[Value]] = {}
    held: dict[str, tuple[Any, ...]] = {}  # by other runs
    while order or held:
        while queue and len(running) < engine.n_ahead():
            name, arguments = queue.popleft()
            if not sharing.take(name):
                held[name] = arguments
                order.remove(name)
            elif (failure := sharing.failure(name)) is not None:
                ready[name] = _ended(sharing, Outcome(name, None, failure))
            else:
                running[name] = engine.submit(name, function, arguments, timeout_s)
        if running:
            engine.wait(list(running.values()))
        for name in [name for name, job in running.items() if job.done()]:
            ready[name] = _ended(sharing, running.pop(name).outcome())
        while order and order[0] in ready:
            yield ready.pop(order.popleft())
        if held and not queue:
            released = sharing.released(list(held)) if running else sharing.wait(list(held))
            queue.extend((name, held.pop(name)) for name in released)
            order.extend(released)


def _ended(sharing: Sharing, outcome: Outcome[Value]) -> Outcome[Value]:
    sharing.free(outcome.name, outcome.error)
    return outcome


@contextmanager
def _engine(given: Engine | None, workers: int, n_jobs: int) -> Iterator[Engine]:
    """Yield the engine that was given, or one of this machine, which is ended."""
    if given is not None or workers == 0:
        yield given or _Here()
        return
    pool = worker_pool(min(workers, max(1, n_jobs)))
    try:
        yield _Pool(pool, workers)
        pool.close()
    except BaseException:
        pool.stop()
        raise
    finally:
        pool.join()


@dataclass(frozen=True)
class _Ended:
    result: Outcome[Any]

    def done(self) -> bool:
        return True

    def outcome(self) -> Outcome[Any]:
        return self.result


class InThisProcess:
    """An engine that runs each job at once, here; what a job raises ends the loop."""

    def n_ahead(self) -> int:
        """Return how many jobs it takes: one."""
        return 1

    def submit(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], timeout_s: float) -> Pending:
        """Do a job."""
        return _Ended(Outcome(name, function(*arguments), None))

    def wait(self, jobs: Sequence[Pending]) -> None:
        """Wait for nothing: it is done."""


class _Here(InThisProcess):
    """The same, but what a job raises is its own failure."""

    def submit(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], timeout_s: float) -> Pending:
        return _Ended(outcome_of(name, lambda: guarded(function, *arguments), timeout_s))


@dataclass(frozen=True)
class _InPool:
    name: str
    task: Task
    timeout_s: float

    def done(self) -> bool:
        return self.task.done()

    def outcome(self) -> Outcome[Any]:
        return outcome_of(self.name, self.task.result, self.timeout_s)


class _Pool:
    """Runs jobs in processes of this machine; one more waits, so that none is idle."""

    def __init__(self, pool: SteadyPool, workers: int) -> None:
        self._pool, self._workers = pool, workers

    def n_ahead(self) -> int:
        return self._workers + 1

    def submit(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], timeout_s: float) -> Pending:
        return _InPool(name, self._pool.schedule(guarded, args=(function, *arguments), timeout=timeout_s), timeout_s)

    def wait(self, jobs: Sequence[Pending]) -> None:
        self._pool.wait([job.task for job in jobs if isinstance(job, _InPool)])


def outcome_of(name: str, result: Callable[[], Value], timeout_s: float) -> Outcome[Value]:
    """Call `result` (a pool's future) and turn whatever stopped the worker into a SlideError that names it."""
    try:
        return Outcome(name, result(), None)
    except SlideError as error:
        return Outcome(name, None, error)
    except (UnwritableError, LostPoolError):
        raise  # not this slide's fault, and the next would meet it too
    except (TimeoutError, FutureTimeoutError):
        reason = f"no result within the time limit of {timeout_s:g} s (of processor time, or standing still)"
        return Outcome(name, None, SlideError(reason, "raise --timeout_s, or check the file and the disk it is on"))
    except WorkerError as fault:  # a defect of ours: the slide is named and the trace is kept
        print(fault.trace, file=sys.stderr)
        return Outcome(name, None, SlideError(f"unexpected {fault.summary}", "see the trace above"))
    except Exception as error:
        if (ended := _ended_worker(error)) is not None:
            return Outcome(name, None, ended)
        traceback.print_exception(error)
        return Outcome(name, None, SlideError(f"unexpected {type(error).__name__}: {error}", "see the trace above"))


def _ended_worker(error: Exception) -> SlideError | None:
    """Return what to say of pebble's errors, known by their names: importing it costs a run without workers too much."""
    kind = type(error).__name__
    if kind == "ProcessExpired":
        reason = f"the worker process died (exit code {getattr(error, 'exitcode', 'unknown')})"
        return SlideError(reason, "the file may crash its decoder, or memory ran out")
    if kind == "BrokenProcessPool":
        reason = "its worker processes are ended from outside before they begin, one after another"
        return SlideError(reason, "see what ends them (memory, a limit), or give --workers 1")
    return None
