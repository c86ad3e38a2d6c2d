"""Locks of the kernel on small files, shared or alone; they go with their process however that ends.

Where the system or the file system has none, nothing is kept off: then one process at a time should use a cache.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from common.guards.one_at_a_time import CLOSED, WITHOUT_LOCKS

LOOK_S = 0.005  # often enough that a worker that waits is not taken for one that stands still (common/running/time_limits.py)


class Lock:
    """A lock that was taken; closing lets it go."""

    def __init__(self, number: int | None) -> None:
        self._number = number

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let it go."""
        if self._number is not None:
            os.close(self._number)
            self._number = None


def take_lock(path: Path, *, is_shared: bool, waits: bool) -> Lock | None:
    """Take the lock of a file, made if need be; None where somebody else has it and `waits` is false.

    Raises:
        OSError: the file cannot be made, other than for want of locks or of leave to write.
    """
    try:
        import fcntl
    except ImportError:
        return Lock(None)
    kind = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # its folder was removed in between
        except OSError as error:
            if error.errno not in CLOSED:
                raise
            return Lock(None)
        try:
            fcntl.flock(number, kind | fcntl.LOCK_NB)
            if os.path.samestat(path.stat(), os.fstat(number)):
                return Lock(number)
        except BlockingIOError:
            if not waits:
                os.close(number)
                return None
        except FileNotFoundError:
            pass  # its owner removed it
        except OSError as error:
            if error.errno in WITHOUT_LOCKS:
                os.close(number)
                return Lock(None)
            with suppress(OSError):
                os.close(number)
            raise
        os.close(number)
        time.sleep(LOOK_S)
