"""Slides fetched while those before them are worked on: an aid alone; whoever opens a slide fetches it if it is not there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

from common.remote.remote_slide import Kept, kept, known, origin_of

WAIT_S = 5.0  # at the end, for the piece that is under way
OWN_TO_A_PROCESS = frozenset({"memory"})  # what only this process has, it fetches before others are asked


class Ahead:
    """A thread that fetches the slides that will be opened next, at most `window` beyond those that are done."""

    def __init__(self, paths: Mapping[str, Path], *, window: int, is_needed: Callable[[str], bool]) -> None:
        self._paths = {name: path for name, path in paths.items() if origin_of(path) is not None}
        self._window, self._is_needed = window, is_needed
        self._kept: dict[str, Kept] = {}
        self._done: set[str] = set()
        self._change = threading.Condition()
        self._is_wanted = True
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        own = {name for name, path in self._paths.items() if _scheme(path) in OWN_TO_A_PROCESS}
        for name in own:
            self._fetch(name)
        self._paths = {name: path for name, path in self._paths.items() if name not in own}
        if self._paths:
            self._thread.start()

    def done(self, name: str) -> None:
        """Take note that a slide is done with: it may leave the cache, and the next one is fetched."""
        with self._change:
            self._done.add(name)
            place = self._kept.pop(name, None)
            self._change.notify()
        if place is not None:
            place.close()

    def close(self) -> None:
        """End."""
        with self._change:
            self._is_wanted = False
            self._change.notify()
        if self._thread.is_alive():
            self._thread.join(WAIT_S)
        for name in list(self._kept):
            self.done(name)

    def _run(self) -> None:
        for place, name in enumerate(self._paths):
            with self._change:
                while self._is_wanted and place - len(self._done & set(self._paths)) >= self._window:
                    self._change.wait()
                if not self._is_wanted:
                    return
                if name in self._done:
                    continue
            self._fetch(name)

    def _fetch(self, name: str) -> None:
        with suppress(Exception):  # what goes wrong here is met again by who opens the slide, and told there
            if not self._is_needed(name):
                return
            path = self._paths[name]
            place, origin = kept(path), origin_of(path)
            assert place is not None and origin is not None
            with self._change:
                is_late = name in self._done or not self._is_wanted
                if not is_late:
                    self._kept[name] = place
            if is_late:
                place.close()
                return
            place.entry.fetch(
                origin.address, known(origin).version, is_ahead=True,
                is_wanted=lambda: self._is_wanted and name not in self._done,
            )  # fmt: skip


def _scheme(path: Path) -> str:
    origin = origin_of(path)
    return "" if origin is None else origin.address.scheme


@contextmanager
def fetched_ahead(
    paths: Mapping[str, Path], *, window: int, is_needed: Callable[[str], bool] = lambda _: True
) -> Iterator[Ahead]:
    """Fetch slides in their order while those before them are worked on.

    Args:
        paths: name to slide, in the order in which they are opened; those that lie here are passed over.
        window: slides that are under way or ahead at the same time.
        is_needed: whether a slide will be opened at all; it may take its time.
    """
    ahead = Ahead(MappingProxyType(dict(paths)), window=max(1, window), is_needed=is_needed)
    ahead.start()
    try:
        yield ahead
    finally:
        ahead.close()
