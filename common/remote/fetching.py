"""A slide fetched whole: tried again where the connection drops, gone on with where the place can, and checked."""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from common.failures import SlideError
from common.files import writing
from common.remote.address import Address
from common.remote.source import DroppedError, Source, Version, changed

ATTEMPTS = 4  # in a row that bring nothing
FIRST_WAIT_S, MOST_WAIT_S = 0.5, 30.0
AGAIN = "check the network and the server, then run the same command again: what is there is kept"
SOON_S = 0.05  # after an attempt that brought something


class StoppedError(Exception):
    """Whoever fetched ahead has no more use for it."""


def source_of(address: Address) -> Source:
    """Return the place of an address."""
    if address.is_http:
        from common.remote.web_server import WebServer

        return WebServer(address)
    from common.remote.file_system import FileSystem

    return FileSystem(address)


def asked_version(address: Address, *, sleep: Callable[[float], None] = time.sleep) -> Version:
    """Ask a place what is there.

    Raises:
        SlideError: it is not there, or there is no answer after several tries.
    """
    source = source_of(address)
    for attempt in range(ATTEMPTS):
        try:
            return source.version()
        except DroppedError as error:
            if attempt == ATTEMPTS - 1:
                raise _given_up(address, error) from None
            sleep(_wait(attempt, error))
    raise AssertionError("the last attempt returns or raises")


def fetch(
    address: Address, version: Version, partial: Path, *, sleep: Callable[[float], None] = time.sleep,
    is_wanted: Callable[[], bool] = lambda: True, attempts: int = ATTEMPTS,
) -> None:  # fmt: skip
    """Fetch a file into `partial`, behind what of this version lies there, and check it.

    Args:
        address: where it is.
        version: what the place said of it.
        partial: the file that grows; whoever calls sees to it that nobody else writes it.
        sleep: waits between attempts.
        is_wanted: asked between pieces.
        attempts: in a row that bring nothing, until it is given up.

    Raises:
        SlideError: given up, changed at the source, or of another size or checksum than the place says.
        StoppedError: no longer wanted.
        UnwritableError: the disk does not take it.
    """
    source, failures, most = source_of(address), 0, size_of(partial)
    while version.size is None or size_of(partial) < version.size:
        if version.size is None:
            partial.unlink(missing_ok=True)  # what came cannot be told from the whole
        try:
            _take(source, version, partial, is_wanted)
            break
        except DroppedError as error:
            reached = size_of(partial)
            failures = failures + 1 if error.is_slow or reached <= most else 0
            most = max(most, reached)
            if failures >= attempts:
                raise _given_up(address, error) from None
            sleep(SOON_S if failures == 0 else _wait(failures - 1, error))
    _check_whole(address, version, partial, sleep)


def _take(source: Source, version: Version, partial: Path, is_wanted: Callable[[], bool]) -> None:
    """Write what one connection brings."""
    with writing(partial):
        file = partial.open("ab")
    with file:
        for at, piece in source.read(file.tell(), version):
            if not is_wanted():
                raise StoppedError
            if at != file.tell():
                if at:
                    raise DroppedError("a part is missing")
                file.truncate(0)  # the place begins anew
                file.seek(0)
            with writing(partial):
                file.write(piece)
                file.flush()


def _check_whole(address: Address, version: Version, partial: Path, sleep: Callable[[float], None]) -> None:
    size = size_of(partial)
    if version.size is not None and size != version.size:
        partial.unlink(missing_ok=True)
        raise SlideError(f"{address.shown} gave {size:,} bytes where it said {version.size:,}", AGAIN)
    if version.checksum is not None:
        kind, wanted = version.checksum
        with partial.open("rb") as file:
            found = hashlib.file_digest(file, kind).hexdigest()
        if found != wanted:
            partial.unlink(missing_ok=True)
            raise SlideError(
                f"{address.shown} came with another content than its server says ({kind} {found[:16]}, wanted {wanted[:16]})",
                AGAIN,
            )
    if asked_version(address, sleep=sleep).differs_from(version):
        partial.unlink(missing_ok=True)
        raise changed(address)


def _given_up(address: Address, error: DroppedError) -> SlideError:
    return SlideError(f"{address.shown} cannot be fetched: {error}", AGAIN)


def _wait(attempt: int, error: DroppedError) -> float:
    return min(max(FIRST_WAIT_S * 2.0**attempt, error.wait_s), MOST_WAIT_S)


def size_of(path: Path) -> int:
    """Return the size of a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError as error:
        if error.errno == errno.ENOENT:
            return 0
        raise
