"""What a Dask worker does with a job: it runs in a process of its own, so that Dask sees values and exceptions only.

A slide that aborts its decoder, is killed for its memory or hangs ends that process; the worker and its other jobs go on. The
process is kept for the next job: what it has loaded (an encoder) stays loaded.
"""

from __future__ import annotations

import atexit
import multiprocessing
import platform
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from common.failures import StudyError, machine_fault
from common.machine import wait_passively
from common.parallel import Outcome, guarded, outcome_of
from common.steady_pool import LostPoolError, SteadyPool, worker_pool

_of_thread = threading.local()
_pools: list[SteadyPool] = []


Job = tuple[str, Callable[..., Any], tuple[Any, ...], float]  # name, function, arguments, time limit in seconds


def in_own_process(jobs: Sequence[Job]) -> list[tuple[Outcome[Any], float]]:
    """Run jobs, one after the other, in the process that belongs to this thread of the Dask worker.

    Returns:
        What became of each, and how many seconds it took.

    Raises:
        StudyError: the worker may start no process, or memory ended the threads that watch it.
        UnwritableError: a job could not write its file.
    """
    if multiprocessing.current_process().daemon:
        raise StudyError(
            f"the Dask worker on {platform.node()} runs under a nanny and may start no process of its own; start workers with "
            "--no-nanny (docs/cluster/README.md)"
        )
    if (pool := getattr(_of_thread, "pool", None)) is None:
        pool = _of_thread.pool = worker_pool(1, wait_passively)
        _pools.append(pool)
    ended = []
    try:
        for name, function, arguments, timeout_s in jobs:
            began = time.monotonic()
            task = pool.schedule(guarded, args=(function, *arguments), timeout=timeout_s)
            ended.append((outcome_of(name, task.result, timeout_s), time.monotonic() - began))
    except (LostPoolError, MemoryError, RuntimeError) as error:  # the last: no thread begins
        told = error if isinstance(error, LostPoolError) else machine_fault(error)
        if told is None:
            raise
        _drop(pool)  # the next job begins with a new one
        raise StudyError(f"the Dask worker on {platform.node()}: {told}") from None
    return ended


def _drop(pool: SteadyPool) -> None:
    del _of_thread.pool
    _pools.remove(pool)
    pool.stop()
    pool.join()


@atexit.register
def _end() -> None:
    for pool in _pools:
        pool.stop()
        pool.join()
