"""A pool of spawned worker processes that is made anew when it breaks.

pebble's pool restarts a dead worker and ends one past its time limit, which is one of processor time here
(common/running/time_limits.py); but where one is killed before it took its first job,
the whole pool breaks, and every job that waits fails with it. Here those jobs are handed to a new pool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from multiprocessing.context import SpawnContext
from typing import TYPE_CHECKING, Any

from common.running.log_file import in_worker, log_path
from common.running.time_limits import TimeLimits

if TYPE_CHECKING:
    from pebble import ProcessPool

MAX_RENEWALS = 2  # in a row without one job done between: then something ends every worker
LOOK_S = 1.0  # a job that never reached its pool does not hear that the pool broke


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
            if self.is_lost and self._pool.is_broken and self._pool.renew():
                continue
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
            task.start(self._pool)
        except RuntimeError:  # the pool takes none; a new one, where it broke, takes all that waits, and so this one
            if not (self.is_broken and self.renew()):
                raise
        return task

    def renew(self) -> bool:
        """Make the pool anew and hand it what is unfinished; False where that has helped nothing."""
        if self._n_renewals >= MAX_RENEWALS:
            return False
        self._n_renewals += 1
        self.stop()
        self.join()
        self._pool = self._make()
        for task in list(self._tasks.values()):
            if task.is_lost:
                task.start(self._pool)
        return True

    def wait(self, tasks: Sequence[Task]) -> None:
        """Wait until one of some jobs has ended, or a moment; a pool that broke is made anew."""
        wait([task.future for task in tasks], timeout=LOOK_S, return_when=FIRST_COMPLETED)
        if self.is_broken and any(task.is_lost for task in tasks):
            self.renew()

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


def _is_broken(future: Future[Any]) -> bool:
    from concurrent.futures.process import BrokenProcessPool

    return future.done() and not future.cancelled() and isinstance(future.exception(), BrokenProcessPool)
