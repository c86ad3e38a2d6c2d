"""A slide that lies elsewhere, as a path: the file is fetched when somebody opens it, and kept while it is open.

What was seen of the slide is remembered beside the study (a file a slide): its version at the source and the fingerprint of its
bytes. So a study that is done is found done by asking for versions alone.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.files import write_json
from common.remote.address import Address
from common.remote.fetching import asked_version
from common.remote.locks import Lock
from common.remote.slide_cache import Entry, SlideCache
from common.remote.source import Version

SCHEMA = "remote_slide/1"
PLAIN_ENDING = ".tif"  # of an address without one: nearly all slides are TIFFs, and readers look inside
_LOCKS: dict[Path, threading.Lock] = {}  # threads of a process write a record one after the other
_Path: Any = type(Path())  # a path's class by the system, which is the one to derive from


@dataclass(frozen=True)
class Origin:
    """Where a slide comes from and goes to.

    Attributes:
        address: where it lies.
        slide_id: its id.
        cache: where it is fetched to.
        record: the file that remembers what was seen of it.
        since: when this command began, seconds since 1970: what was asked after is not asked again.
    """

    address: Address
    slide_id: str
    cache: SlideCache
    record: Path
    since: float

    @property
    def key(self) -> str:
        """The name of this slide at this address."""
        return self.address.key(self.slide_id)


class RemoteSlide(_Path):  # type: ignore[misc]
    """A path whose name is the slide's and whose file comes when `local_file` opens it."""

    origin: Origin | None = None  # of paths derived from it (parents, other endings) there is none

    def with_segments(self, *parts: Any) -> Path:
        """Return a plain path for what is derived from this one (Python 3.12)."""
        return Path(*parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path, (str(self),)) if self.origin is None else (remote_slide, (self.origin,))


def remote_slide(origin: Origin) -> Path:
    """Return the path of a slide that lies elsewhere."""
    name = f"{origin.slide_id}{origin.address.ending or PLAIN_ENDING}"
    path = RemoteSlide(origin.cache.folder / name)
    path.origin = origin
    return path  # type: ignore[no-any-return]


def origin_of(path: Path) -> Origin | None:
    """Return where a slide comes from; None for one that lies here."""
    return getattr(path, "origin", None)


@dataclass(frozen=True)
class _Record:
    """What is remembered of a slide."""

    version: Version
    fingerprint: str


class HeldFile:
    """A slide's file on this disk; it stays until this is closed."""

    def __init__(self, path: Path, lock: Lock | None = None, cache: SlideCache | None = None) -> None:
        self.path, self._lock, self._cache = path, lock, cache

    def close(self) -> None:
        """Let the file go; a cache that holds too much makes room."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
            if self._cache is not None:
                self._cache.make_room(0)


def held_file(path: Path) -> HeldFile:
    """Return a slide's file, fetched if need be; whoever asks closes it.

    Raises:
        SlideError: it cannot be fetched.
        UnwritableError: the cache takes no file.
    """
    origin = origin_of(path)
    if origin is None:
        return HeldFile(path)
    held = kept(path)
    assert held is not None
    version = known(origin).version
    try:
        if not held.entry.is_whole:
            held.entry.fetch(origin.address, version)
    except BaseException:
        held.close()
        raise
    return HeldFile(held.entry.path, held.lock, origin.cache)


@contextmanager
def local_file(path: Path) -> Iterator[Path]:
    """Keep a slide's file on this disk while it is read; fetched if need be."""
    held = held_file(path)
    try:
        yield held.path
    finally:
        held.close()


@dataclass(frozen=True)
class Kept:
    """A place in a cache that stays, whether its slide is there yet or not."""

    entry: Entry
    lock: Lock

    def close(self) -> None:
        """Let it go; a cache that holds too much makes room."""
        self.lock.close()
        self.entry.cache.make_room(0)


def kept(path: Path) -> Kept | None:
    """Keep a slide's place in the cache until it is closed; None for a slide that lies here. Nothing is fetched."""
    origin = origin_of(path)
    if origin is None:
        return None
    entry = origin.cache.entry(origin.key, known(origin).version, path.name)
    return Kept(entry, entry.use())


@contextmanager
def in_use(path: Path) -> Iterator[None]:
    """Keep a slide's file while a job opens it several times."""
    place = kept(path)
    try:
        yield
    finally:
        if place is not None:
            place.close()


def remote_fingerprint(path: Path, of_file: Callable[[Path], str]) -> str:
    """Return the fingerprint of a slide's bytes: the one that is remembered of this version, else of the file, fetched.

    Raises:
        SlideError: the place cannot be asked, or the slide not fetched.
    """
    origin = origin_of(path)
    assert origin is not None
    record = known(origin)
    if record.fingerprint:
        return record.fingerprint
    with local_file(path) as file:
        fingerprint = of_file(file)
    with _LOCKS.setdefault(origin.record, threading.Lock()):
        _write(origin, _Record(record.version, fingerprint))
    return fingerprint


def remembered_fingerprint(path: Path) -> str:
    """Return the fingerprint that is remembered of a slide that lies elsewhere, without asking for it; "" for none."""
    origin = origin_of(path)
    record = None if origin is None else _read(origin)
    return "" if record is None else record.fingerprint


def is_seen(path: Path) -> bool:
    """Return whether the slide's fingerprint is known without fetching it; its place is asked whether it is still the same.

    Raises:
        SlideError: there is no answer, or no such file.
    """
    origin = origin_of(path)
    return origin is None or bool(known(origin).fingerprint)


def known(origin: Origin) -> _Record:
    """Return what is known of a slide; its place is asked once a command.

    Raises:
        SlideError: there is no answer, or no such file.
    """
    with _LOCKS.setdefault(origin.record, threading.Lock()):
        record = _read(origin)
        if record is not None and origin.record.stat().st_mtime >= origin.since:
            return record
        version = asked_version(origin.address)
        if record is None or record.version.differs_from(version) or record.version.size is None:
            record = _Record(version, "")
            _write(origin, record)
        else:
            os.utime(origin.record)
        return record


def _read(origin: Origin) -> _Record | None:
    try:
        told = json.loads(origin.record.read_text(encoding="utf-8"))
        if told["schema"] != SCHEMA or told["address_sha256"] != origin.key:
            return None
        checksum = None if told["checksum"] is None else (str(told["checksum"][0]), str(told["checksum"][1]))
        size = None if told["size"] is None else int(told["size"])
        version = Version(size, str(told["etag"]), str(told["modified"]), checksum)
        return _Record(version, str(told["fingerprint"]))
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None  # of another slide, or none: it is asked for anew


def _write(origin: Origin, record: _Record) -> None:
    version = asdict(record.version)
    write_json(
        origin.record, {"schema": SCHEMA, "address_sha256": origin.key, **version, "fingerprint": record.fingerprint}
    )


def now() -> float:
    """Return when a command begins, by the clock of files: early by a few of the steps (to 10 ms) that it goes in."""
    return time.time() - 0.03
