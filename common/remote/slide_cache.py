"""Slides fetched to this computer's disk: a bounded folder that processes share, from which the least recently used leaves.

<cache>/<address and version>/<slide id><ending>     the slide, whole once it has this name
                              .partial               what came so far; a killed process's is gone on with
                              .fetching  .used       locks: one process fetches, whoever reads keeps it from leaving
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from common.failures import SlideError
from common.files import writing
from common.remote.address import Address
from common.remote.fetching import ATTEMPTS, fetch, size_of
from common.remote.locks import LOOK_S, Lock, take_lock
from common.remote.source import Version

PARTIAL, FETCHING, USED = ".partial", ".fetching", ".used"
STUCK_S = 180.0  # longer than a fetch takes to give up
SPARE_BYTES = 256 << 20  # of the disk that are left to others


@dataclass(frozen=True)
class SlideCache:
    """A folder of fetched slides, and how many bytes it may hold beside what is in use at the same time."""

    folder: Path
    max_bytes: int

    def entry(self, key: str, version: Version, name: str) -> Entry:
        """Return the place of one version of a slide."""
        text = "\0".join((key, str(version.size), version.etag, version.modified))
        return Entry(self, self.folder / hashlib.sha256(text.encode()).hexdigest()[:32], name)

    def make_room(self, n_bytes: int, *, but: Path | None = None) -> bool:
        """Remove what was used least recently and is not in use, until so much fits; return whether it does."""
        entries = sorted(self._entries(), key=lambda entry: entry.used)
        total = sum(entry.size for entry in entries if entry.folder != but)
        for entry in entries:
            if total + n_bytes <= self.max_bytes:
                break
            if entry.folder != but and _remove(entry.folder):
                total -= entry.size
        return total + n_bytes <= self.max_bytes

    def _entries(self) -> Iterator[_Seen]:
        try:
            folders = [Path(found.path) for found in os.scandir(self.folder) if found.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return
        for folder in folders:
            if len(folder.name) == 32:  # ours
                with suppress(OSError):
                    sizes = [found.stat().st_size for found in os.scandir(folder)]
                    used = (folder / USED).stat().st_mtime if (folder / USED).exists() else folder.stat().st_mtime
                    yield _Seen(folder, sum(sizes), used)


@dataclass(frozen=True)
class _Seen:
    folder: Path
    size: int
    used: float


def _remove(folder: Path) -> bool:
    """Remove an entry that nobody uses or fetches; return whether that was so."""
    try:
        used = take_lock(folder / USED, is_shared=False, waits=False)
        if used is None:
            return False
        with used:
            fetching = take_lock(folder / FETCHING, is_shared=False, waits=False)
            if fetching is None:
                return False
            with fetching:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return False
    return not folder.exists()


@dataclass(frozen=True)
class Entry:
    """The place of one version of a slide in a cache."""

    cache: SlideCache
    folder: Path
    name: str

    @property
    def path(self) -> Path:
        """The slide's file."""
        return self.folder / self.name

    @property
    def is_whole(self) -> bool:
        """Whether the slide is there."""
        return self.path.is_file()

    def use(self) -> Lock:
        """Keep the entry from leaving until the lock is closed."""
        with writing(self.folder):
            lock = take_lock(self.folder / USED, is_shared=True, waits=True)
        assert lock is not None, "who waits gets it"
        with suppress(OSError):
            os.utime(self.folder / USED)
        return lock

    def fetch(
        self,
        address: Address,
        version: Version,
        *,
        is_ahead: bool = False,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Fetch the slide, unless it is there or comes while another process fetches it; the caller uses the entry.

        Args:
            address: where it is.
            version: what is there.
            is_ahead: nobody waits for it yet: it is left where there is no room, or another process is at it.
            is_wanted: asked between pieces.

        Returns:
            Whether it is there.

        Raises:
            SlideError: it cannot be fetched.
            StoppedError: no longer wanted.
            UnwritableError: the cache cannot be written.
        """
        with writing(self.folder):
            lock = take_lock(self.folder / FETCHING, is_shared=False, waits=False) if is_ahead else self._turn()
        if lock is None:
            return False
        with lock:
            if self.is_whole:
                return True
            partial = self.folder / PARTIAL
            if not self._has_room(version, is_ahead):
                return False
            fetch(address, version, partial, is_wanted=is_wanted, attempts=1 if is_ahead else ATTEMPTS)
            with writing(self.path):
                with partial.open("rb+") as file:
                    os.fsync(file.fileno())
                partial.replace(self.path)
        return True

    def _turn(self) -> Lock:
        """Wait while another process fetches the slide, as long as something comes.

        Raises:
            SlideError: nothing comes any more, and the other process neither ends nor fails.
        """
        size, since, looks = -1, time.monotonic(), 0
        while (lock := take_lock(self.folder / FETCHING, is_shared=False, waits=False)) is None:
            if looks % 100 == 0:
                now = size_of(self.folder / PARTIAL)
                size, since = (now, time.monotonic()) if now != size else (size, since)
            if time.monotonic() - since > STUCK_S:
                raise SlideError(
                    f"another process fetches {self.name} into {self.cache.folder}, and nothing has come for {STUCK_S:.0f} s",
                    "end that process, then run the same command again",
                )
            looks += 1
            time.sleep(LOOK_S)
        return lock

    def _has_room(self, version: Version, is_ahead: bool) -> bool:
        wanted = version.size or 0
        fits = self.cache.make_room(wanted, but=self.folder)
        if is_ahead and not fits:
            return False
        there = sum(found.stat().st_size for found in os.scandir(self.folder))
        free = shutil.disk_usage(self.folder).free
        if free < wanted - there + (SPARE_BYTES if is_ahead else 0):
            if is_ahead:
                return False
            raise SlideError(
                f"{self.name} has {wanted:,} bytes, and the disk of {self.cache.folder} has {free:,} free",
                "make room there, or name another disk by --cache",
            )
        return True
