"""Slides over worker processes: one that crashes, hangs or is killed costs its own slide only.

pebble's pool restarts a dead worker and ends one past its time limit; the standard library's pool breaks as a whole.
Workers are spawned, never forked, so they hold no half-copied state of the parent and behave alike on every system.
"""

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from common.failures import SlideError, StudyError, machine_fault
from common.files import UnwritableError
from common.running.progress import progress
from common.steady_pool import worker_pool

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


def over_slides(
    function: Callable[..., Value],
    jobs: Sequence[tuple[str, tuple[Any, ...]]],
    *,
    workers: int,
    timeout_s: float,
    title: str,
) -> Iterator[Outcome[Value]]:
    """Yield the outcome of `function(*arguments)` for each job (name, arguments), in the order of the jobs.

    Args:
        function: an importable function; a SlideError it raises is its slide's failure.
        jobs: a name and the (picklable) arguments of each.
        workers: number of processes; 0 runs everything in this process (for debugging, no time limit).
        timeout_s: processor seconds after which a job is ended; so is one that stands still as long.
        title: shown beside the progress bar.

    Raises:
        StudyError: a negative number of workers.
        UnwritableError: a job could not write its file; the jobs that are under way are ended.
    """
    if workers < 0:
        raise StudyError(f"--workers is a number from 0, got {workers}")
    with progress(len(jobs), title=title, unit="slide") as count:
        for outcome in _outcomes(function, jobs, workers, timeout_s):
            count(1)
            yield outcome


def _outcomes(
    function: Callable[..., Value],
    jobs: Sequence[tuple[str, tuple[Any, ...]]],
    workers: int,
    timeout_s: float,
) -> Iterator[Outcome[Value]]:
    if workers == 0:
        for name, arguments in jobs:
            yield outcome_of(name, lambda arguments=arguments: guarded(function, *arguments), timeout_s)  # type: ignore[misc]
        return
    pool = worker_pool(min(workers, max(1, len(jobs))))
    try:
        futures = [
            (name, pool.schedule(guarded, args=(function, *arguments), timeout=timeout_s)) for name, arguments in jobs
        ]
        for name, future in futures:
            yield outcome_of(name, future.result, timeout_s)
        pool.close()
    except BaseException:
        pool.stop()
        raise
    finally:
        pool.join()


def outcome_of(name: str, result: Callable[[], Value], timeout_s: float) -> Outcome[Value]:
    """Call `result` (a pool's future) and turn whatever stopped the worker into a SlideError that names it."""
    try:
        return Outcome(name, result(), None)
    except SlideError as error:
        return Outcome(name, None, error)
    except UnwritableError:
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
