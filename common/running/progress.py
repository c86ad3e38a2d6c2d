"""How far a loop is: a bar on a terminal; without one, and in the log, a line a minute with what is done and what is left."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from common.running.log_file import log_line, now

EVERY_S = 60.0
LOOKED_BACK = 10  # lines over which the rate is taken: what was kept from an earlier run goes by in no time
Item = TypeVar("Item")


@contextmanager
def progress(n_total: int, *, title: str, unit: str) -> Iterator[Callable[[int], None]]:
    """Show how far a loop is; yields what is called with the number of units done since.

    Args:
        n_total: units in all.
        title: what is done.
        unit: of what, in the singular.
    """
    from tqdm import tqdm

    done = _Count(n_total, title, unit)
    minutes = _Minutes(done.line)
    with tqdm(total=n_total, desc=title, unit=unit, disable=None) as bar:

        def count(n_more: int) -> None:
            bar.update(n_more)
            done.n_done += n_more

        minutes.start()
        try:
            yield count
        finally:
            minutes.stop()


def followed(items: Sequence[Item], *, title: str, unit: str) -> Iterator[Item]:
    """Yield items and show how many of them are done."""
    with progress(len(items), title=title, unit=unit) as count:
        for item in items:
            yield item
            count(1)


@contextmanager
def stage(title: str) -> Iterator[None]:
    """Say each minute that something without countable parts is at work."""
    start = time.monotonic()
    minutes = _Minutes(lambda: f"{title}: at work for {duration(time.monotonic() - start)}")
    minutes.start()
    try:
        yield
    finally:
        minutes.stop()


class _Count:
    """How many units are done, and how fast it went of late."""

    def __init__(self, n_total: int, title: str, unit: str) -> None:
        self.n_done = 0
        self._n_total, self._title, self._unit = n_total, title, unit
        self._past: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], maxlen=LOOKED_BACK)

    def line(self) -> str:
        """Return the line of this minute."""
        moment, n_done = time.monotonic(), self.n_done
        rate = rate_of(self._past, moment, n_done)
        self._past.append((moment, n_done))
        return progress_line(self._title, self._unit, n_done, self._n_total, rate)


class _Minutes:
    """Says a line each minute, from a thread: a loop that hangs is heard of too."""

    def __init__(self, line: Callable[[], str]) -> None:
        self._line = line
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(EVERY_S):
            if sys.stderr.isatty():
                log_line(self._line())  # on the screen there is the bar
            else:
                print(f"{now()} {self._line()}", file=sys.stderr, flush=True)


def rate_of(past: Iterable[tuple[float, int]], moment: float, n_done: int) -> float:
    """Return units a second since the earliest of the past moments (seconds, units done)."""
    earliest, n_earlier = next(iter(past))
    return (n_done - n_earlier) / max(1e-9, moment - earliest)


def progress_line(title: str, unit: str, n_done: int, n_total: int, rate: float) -> str:
    """Return what is done and left, how fast it goes, and how long the rest takes at that.

    Args:
        title: what is done.
        unit: of what, in the singular.
        n_done: units done.
        n_total: units in all.
        rate: units a second; 0: none was done yet.
    """
    n_left = n_total - n_done
    counted = f"{title}: {n_done} of {n_total} {unit}s done, {n_left} to do"
    if rate <= 0:
        return f"{counted}, rate and time left not known yet"
    per = (
        f"{rate:.1f} a second"
        if rate >= 1
        else f"{60 * rate:.1f} a minute"
        if 60 * rate >= 1
        else f"{3600 * rate:.1f} an hour"
    )
    return f"{counted}, {per}, about {duration(n_left / rate)} left"


def duration(seconds: float) -> str:
    """Return a time span in words, to a minute; below two minutes to a second."""
    minutes = round(seconds / 60)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
