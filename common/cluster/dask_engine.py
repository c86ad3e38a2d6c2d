"""Jobs over the workers of a Dask scheduler, behind the interface of `common/parallel.py`."""

from __future__ import annotations

import itertools
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from common.cluster.own_process import Job, in_own_process
from common.failures import SlideError, StudyError
from common.files import UnwritableError
from common.parallel import Outcome, Pending

LOOK_S = 1.0
COUNT_S = 5.0  # between two counts of the workers
CONNECT_S = 20.0
OF_LOSS = frozenset({"CancelledError", "FutureCancelledError", "FuturesCancelledError", "CommClosedError"})
BUNDLE_S, MAX_BUNDLE = 0.5, 16  # jobs that take less together go to Dask as one, so many at most
LOGGED = 10  # messages that a connection remembers, each with a job's arguments
AHEAD = 2  # jobs a thread of a worker: the next one is there when one ends
EXTRA = "pip install 'sarcoma-mil[cluster]', or in a copy of the repository: pip install -e '.[cluster]'"


class LostSchedulerError(StudyError):
    """The Dask scheduler does not answer any more."""


def check_installed(option: str, package: str) -> None:
    """Refuse an option whose package is missing.

    Raises:
        StudyError: it is; the message has the command that installs it.
    """
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise StudyError(f"{option} needs {package.replace('_', '-')}, which is not installed: {EXTRA}")


@contextmanager
def dask_engine(address: Any, shown: str) -> Iterator[DaskEngine]:
    """Connect to a scheduler; whatever is under way is given up behind it.

    Args:
        address: of the scheduler, or a cluster object of Dask.
        shown: the scheduler, for messages.

    Raises:
        StudyError: distributed is not installed, or nobody answers.
    """
    check_installed("--scheduler", "distributed")
    import dask
    from distributed import Client

    _be_quiet()
    try:
        with dask.config.set({"distributed.admin.low-level-log-length": LOGGED}):
            client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError, ImportError) as error:
        raise StudyError(
            f"no Dask scheduler answers at {shown} ({type(error).__name__}); start one with `dask scheduler`, or correct the "
            "address"
        ) from error
    try:
        yield DaskEngine(client, shown)
    finally:
        client.close(timeout=LOOK_S)


def _be_quiet() -> None:
    """Keep Dask from telling of a lost connection: it is told once, by us."""
    for name in ("distributed", "tornado", "asyncio", *logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


class DaskEngine:
    """Runs jobs on Dask workers, in a process of their own there.

    Jobs of seconds go to Dask one by one. Of jobs that take no time (what an earlier run made is only looked at) several go
    together, so that Dask's own work does not outweigh theirs; each still ends for itself.
    """

    def __init__(self, client: Any, shown: str) -> None:
        self._client, self._shown = client, shown
        self._numbers = itertools.count()
        self._n_threads, self._counted = 0, 0.0
        self._is_told = False
        self._waiting: list[_InDask] = []  # to be given to Dask at the next look
        self._seconds: deque[float] = deque([BUNDLE_S], maxlen=MAX_BUNDLE)  # that the last jobs took

    def n_ahead(self) -> int:
        """Return how many jobs the workers of this moment take; without a worker one, which waits for the first."""
        if time.monotonic() - self._counted > COUNT_S or not self._n_threads:
            self._n_threads, self._counted = self._count(), time.monotonic()
            if not self._n_threads and not self._is_told:
                print(f"{self._shown} has no worker yet; waiting for the first", file=sys.stderr, flush=True)
                self._is_told = True
        return max(1, AHEAD * self._n_threads * self._n_together())

    def submit(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], timeout_s: float) -> Pending:
        """Start a job."""
        job = _InDask((name, function, arguments, timeout_s), self)
        self._waiting.append(job)
        return job

    def wait(self, jobs: Sequence[Pending]) -> None:
        """Wait until one of some jobs has ended, for a second at most.

        Raises:
            LostSchedulerError: the scheduler is gone.
        """
        from distributed import wait

        self._give()
        futures = list({job.future for job in jobs if isinstance(job, _InDask)})
        with self._talking(), suppress(TimeoutError), self._client.as_current():
            wait(futures, timeout=LOOK_S, return_when="FIRST_COMPLETED")
        self.check_alive()

    def note(self, seconds: float) -> None:
        """Take note of how long a job took."""
        self._seconds.append(seconds)

    def check_alive(self) -> None:
        """Raise a LostSchedulerError where the scheduler is gone."""
        if self._client.status != "running":
            raise self.lost()

    def lost(self) -> LostSchedulerError:
        """Return the error that says so."""
        return LostSchedulerError(
            f"the Dask scheduler {self._shown} is gone; what was made is kept: start it again, then run the same command, which "
            "goes on where it stopped"
        )

    def _n_together(self) -> int:
        """Return how many jobs go to Dask as one, by what the last ones took."""
        return max(1, min(MAX_BUNDLE, int(BUNDLE_S / max(1e-3, fmean(self._seconds)))))

    def _give(self) -> None:
        """Give the jobs that wait to Dask."""
        size = self._n_together()
        while self._waiting:
            bundle, self._waiting = self._waiting[:size], self._waiting[size:]
            with self._talking():
                key = f"sarcoma-mil-{self._client.id}-{next(self._numbers)}"  # no name of a slide in the scheduler's pages
                future = self._client.submit(in_own_process, [own.job for own in bundle], key=key, pure=False)
            for place, own in enumerate(bundle):
                own.future, own.place = future, place

    def _count(self) -> int:
        with self._talking():
            return int(sum(self._client.nthreads().values()))

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if isinstance(error, OSError) or type(error).__name__ in OF_LOSS:  # of a closed connection, both kinds
                raise self.lost() from error
            raise


@dataclass(eq=False)
class _InDask:
    job: Job
    engine: DaskEngine
    future: Any = None  # of the bundle that it is in
    place: int = 0

    def done(self) -> bool:
        return self.future is not None and bool(self.future.done())

    def outcome(self) -> Outcome[Any]:
        """Return what the job's process said; what stopped the Dask worker itself is the slide's failure, too."""
        try:
            outcome, seconds = self.future.result()[self.place]
        except (StudyError, UnwritableError):
            raise
        except Exception as error:
            self.engine.check_alive()
            if type(error).__name__ in OF_LOSS:
                raise self.engine.lost() from error
            reason, remedy = _told(error)
            return Outcome(self.job[0], None, SlideError(reason, remedy))
        self.engine.note(seconds)
        own: Outcome[Any] = outcome
        return own


def _told(error: Exception) -> tuple[str, str]:
    if type(error).__name__ == "KilledWorker":
        return (
            "its Dask workers were ended from outside, one after another",
            "see the workers' logs (memory, a time limit)",
        )
    if isinstance(error, ModuleNotFoundError):
        return (
            f"a Dask worker lacks {error.name}",
            "install the same version of this program where the workers run, or start them in its folder",
        )
    return f"unexpected {type(error).__name__} on a Dask worker: {error}", "see the workers' logs"
