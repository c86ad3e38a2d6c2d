"""A pool of spawned worker processes that is made anew when it breaks.

pebble's pool restarts a dead worker and ends one past its time limit, which is one of processor time here
(common/running/time_limits.py); but where one is killed before it took its first job,
the whole pool breaks, and every job that waits fails with it. Here those jobs are handed to a new pool.
Where memory ends one of pebble's own threads, which watch the workers, nobody would end its jobs: here the run ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from multiprocessing.context import SpawnContext
from typing import TYPE_CHECKING, Any

from common.failures import StudyError, machine_fault
from common.running.log_file import in_worker, log_path
from common.running.time_limits import TimeLimits

if TYPE_CHECKING:
    from pebble import ProcessPool

MAX_RENEWALS = 2  # in a row without one job done between: then something ends every worker
LOOK_S = 1.0  # a job that never reached its pool does not hear that the pool broke


class LostPoolError(StudyError):
    """What watches the workers ended, and no job comes to its end any more: not the fault of a slide."""


class _KeepingContext(SpawnContext):
    """Keeps the locks it makes: pebble lets go of a pool's before it ends workers that are still starting and want them."""

    def __init__(self) -> None:
        self._kept: list[Any] = []

    def RLock(self) -> Any:  # noqa: N802  # the name is multiprocessing's
        lock = super().RLock()
        self._kept.append(lock)
        return lock


class Task:
    """A job in a pool, as its future; it moves to the next pool if its own breaks."""

    def __init__(self, pool: SteadyPool, schedule: Callable[[ProcessPool], Future[Any]]) -> None:
        self._pool, self._schedule = pool, schedule
        self._future: Future[Any] | None = None

    def start(self, pool: ProcessPool) -> None:
        """Hand the job to a pool."""
        self._future = self._schedule(pool)

    @property
    def future(self) -> Future[Any]:
        """The job's future in the pool that has it now."""
        assert self._future is not None, "a job is started when it is scheduled"
        return self._future

    @property
    def is_lost(self) -> bool:
        """Whether the job has no end of its own: it waits, or its pool broke."""
        return self._future is None or not self._future.done() or _is_broken(self._future)

    def done(self) -> bool:
        """Whether the job has ended."""
        return self._future is not None and self._future.done()

    def cancel(self) -> None:
        """End the job; nobody asks for its result."""
        self._pool.forget(self)
        if self._future is not None:
            self._future.cancel()

    def result(self) -> Any:
        """Wait for the job and return its value, or raise what stopped it."""
        while True:
            future = self.future
            wait([future], timeout=LOOK_S)
            if self.is_lost and self._pool.is_broken:
                if self._pool.renew():
                    continue
                if not future.done():
                    raise self._pool.lost()
            if future.done():
                self._pool.forget(self)
                if not _is_broken(future):
                    self._pool.count_progress()
                return future.result()


class SteadyPool:
    """A pool of spawned workers; the caller closes or stops it, then joins it."""

    def __init__(self, make: Callable[[], ProcessPool]) -> None:
        self._make = make
        self._pool = make()
        self._deaths = _watched(self._pool)
        self._tasks: dict[int, Task] = {}  # whose results nobody has taken yet, in their order
        self._n_renewals = 0

    @property
    def is_broken(self) -> bool:
        """Whether the workers ended before their time."""
        return not self._pool.active

    def schedule(self, function: Callable[..., Any], /, *, args: Sequence[Any], timeout: float | None = None) -> Task:
        """Start a job; its worker is ended past `timeout` seconds of processor time, or of standing still."""
        task = Task(self, lambda pool: pool.schedule(function, args=args, timeout=timeout))
        self._tasks[id(task)] = task
        try:
            _begin(self._pool)
            task.start(self._pool)
        except (
            RuntimeError
        ) as error:  # the pool takes none; a new one, where it broke, takes all that waits, and so this one
            if machine_fault(error) is not None or not self.is_broken:
                raise
            if not self.renew():
                raise self.lost() from error
        return task

    def lost(self) -> LostPoolError:
        """Return the error that ends the run: what the watching threads died of, as far as that is known."""
        told = next((told for error in self._deaths if (told := machine_fault(error)) is not None), None)
        if told is not None:
            return LostPoolError(str(told))
        died = f" ({self._deaths[0]!r})" if self._deaths else ""
        return LostPoolError(
            f"the threads that watch the worker processes ended, one after another{died}; see what ends them (memory, a limit), "
            "then run the same command again: it goes on where it stopped"
        )

    def renew(self) -> bool:
        """Make the pool anew and hand it what is unfinished; False where that has helped nothing.

        Raises:
            LostPoolError: memory ended what watches the workers; a new pool would meet the same.
        """
        if any(machine_fault(error) is not None for error in self._deaths):
            raise self.lost()
        if self._n_renewals >= MAX_RENEWALS:
            return False
        self._n_renewals += 1
        self.stop()
        self.join()
        self._pool = self._make()
        self._deaths = _watched(self._pool)
        try:
            _begin(self._pool)
            for task in list(self._tasks.values()):
                if task.is_lost:
                    task.start(self._pool)
        except RuntimeError as error:  # it broke before it had them all
            if machine_fault(error) is not None or not self.is_broken:
                raise
            return self.renew()
        return True

    def wait(self, tasks: Sequence[Task]) -> None:
        """Wait until one of some jobs has ended, or a moment; a pool that broke is made anew.

        Raises:
            LostPoolError: nobody will end them any more.
        """
        wait([task.future for task in tasks], timeout=LOOK_S, return_when=FIRST_COMPLETED)
        is_over = self.is_broken and any(task.is_lost for task in tasks) and not self.renew()
        if is_over and not any(task.done() for task in tasks):
            raise self.lost()

    def count_progress(self) -> None:
        """Take note that a job came to its own end."""
        self._n_renewals = 0

    def forget(self, task: Task) -> None:
        """Let go of a job whose result was taken."""
        self._tasks.pop(id(task), None)

    def close(self) -> None:
        """Take no more jobs."""
        self._pool.close()

    def stop(self) -> None:
        """End the workers."""
        self._pool.stop()

    def join(self) -> None:
        """Wait for the workers to end."""
        self._pool.join()


def worker_pool(
    max_workers: int, initializer: Callable[..., None] | None = None, initargs: tuple[Any, ...] = ()
) -> SteadyPool:
    """Return a pool of spawned workers; the caller closes or stops it, then joins it."""
    from pebble import ProcessPool

    def make() -> ProcessPool:
        pool = ProcessPool(
            max_workers=max_workers,
            context=_KeepingContext(),
            initializer=in_worker,
            initargs=(log_path(), initializer, initargs),
        )
        limits = TimeLimits()

        def is_over(task: Any) -> bool:
            if not (task.timeout and task.started):
                return False
            return limits.is_over(task.id, process=task.worker_id, started=task.timestamp, limit_s=task.timeout)

        # pebble asks this of every job, several times a second; it has no public way to another answer than the clock's
        pool._pool_manager.task_manager.timeout = is_over  # type: ignore[method-assign]
        return pool

    return SteadyPool(make)


def _begin(pool: ProcessPool) -> None:
    """Start a pool, or end what of it was started: begun a second time it would have two threads of each kind, and never end."""
    try:
        _ = pool.active
    except BaseException:
        pool.stop()
        raise


def _watched(pool: ProcessPool) -> list[BaseException]:
    """Have errors that would end one of pebble's threads without a word break its pool; return where they are noted."""
    deaths: list[BaseException] = []
    manager = pool._pool_manager
    for name in ("schedule", "update_status", "process_next_message"):  # what each thread does, again and again
        setattr(manager, name, _noting(getattr(manager, name), deaths))
    return deaths


def _noting(method: Callable[..., None], deaths: list[BaseException]) -> Callable[..., None]:
    from concurrent.futures.process import BrokenProcessPool

    def noted(*arguments: Any) -> None:
        try:
            method(*arguments)
        except BrokenProcessPool as error:
            if error.__cause__ is not None and machine_fault(error.__cause__) is not None:
                deaths.append(error.__cause__)
            raise
        except Exception as error:
            deaths.append(error)
            raise BrokenProcessPool(str(error)) from error

    return noted


def _is_broken(future: Future[Any]) -> bool:
    from concurrent.futures.process import BrokenProcessPool

    return future.done() and not future.cancelled() and isinstance(future.exception(), BrokenProcessPool)
