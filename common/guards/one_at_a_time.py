"""One command at a time on one result: the second says who is at work since when, and does nothing.

The guard is a lock of the kernel on a small file in the folder that is written. It goes with its process however that ends, so
a killed run blocks nobody; the file goes too, where the process is given the time. Readers take no lock.
"""

from __future__ import annotations

import errno
import getpass
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from common.failures import StudyError
from common.files import writing

WITHOUT_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL})
CLOSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT})
LOOK_S, LOOKS = 0.1, 10  # for the line of one that has just begun


class RunningError(StudyError):
    """Another process is at work on the same result."""


@contextmanager
def alone(folder: Path, *results: str, what: str, waits: bool = False) -> Iterator[None]:
    """Keep other runs of a command off a result while this one is at work.

    Where the file system has no locks, or the folder takes no file, a note says so and nothing is kept off.

    Args:
        folder: what is written lies in it; made if need be, and removed again where it stays empty.
        results: what is written, one name for all commands that write it.
        what: the command, for the message of the other run.
        waits: wait for another run to end.

    Raises:
        RunningError: a process is at work on one of them; the message says which, whose, and since when. Not where this one waits.
        UnwritableError: the folder cannot be made.
    """
    made = [own for own in (folder, *folder.parents) if not own.exists()]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with ExitStack() as stack:
            for result in sorted(set(results)):
                stack.enter_context(_locked(lock_file(folder, result), what, waits=waits))
            yield
    finally:
        for own in made:
            with suppress(OSError):
                own.rmdir()


def lock_file(folder: Path, result: str) -> Path:
    """Return the file that is locked while a result is written."""
    return folder / f".running-{hashlib.sha256(result.encode()).hexdigest()[:16]}"


@contextmanager
def _locked(path: Path, what: str, *, waits: bool) -> Iterator[None]:
    number = _lock_in_turn(path) if waits else _lock(path)
    if number is None:
        yield
        return
    try:
        line = {"what": what, "who": _who(), "since": datetime.now().astimezone().isoformat(timespec="seconds")}
        with writing(path):
            os.ftruncate(number, 0)
            os.write(number, json.dumps(line).encode())
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is locked: nobody else holds it
        os.close(number)


def _lock_in_turn(path: Path) -> int | None:
    is_told = False
    while True:
        try:
            return _lock(path)
        except RunningError:
            if not is_told:
                line = _line_of(path)
                print(f"waiting for {line.get('what', 'a command')} ({line.get('who', 'who is not known')}) to end",
                      file=sys.stderr, flush=True)  # fmt: skip
                is_told = True
            time.sleep(LOOK_S)


def _lock(path: Path) -> int | None:
    """Return the number of the open and locked file; None where there are no locks."""
    try:
        import fcntl
    except ImportError:
        _say_no_lock(path, "this system has none of this kind")
        return None
    while True:
        try:
            number = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            if error.errno not in CLOSED:
                raise
            _say_no_lock(path, os.strerror(error.errno))
            return None
        try:
            with suppress(OSError):
                os.fchmod(number, 0o666)  # whose run was killed may be another person
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, number):
                return number
        except BlockingIOError:
            line = _line_of(path)
            os.close(number)
            raise RunningError(_message(path, line)) from None
        except OSError as error:
            os.close(number)
            if error.errno not in WITHOUT_LOCKS:
                raise
            _say_no_lock(path, os.strerror(error.errno))
            return None
        os.close(number)  # its owner ended and removed it in between


def _is_still(path: Path, number: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(number))
    except FileNotFoundError:
        return False


def _say_no_lock(path: Path, reason: str) -> None:
    print(
        f"note: {path.parent} takes no locks ({reason}): see to it that this command runs once at a time",
        file=sys.stderr, flush=True,
    )  # fmt: skip


def _line_of(path: Path) -> dict[str, str]:
    for _ in range(LOOKS):
        with suppress(OSError, ValueError):
            line = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(line, dict):
                return {str(name): str(value) for name, value in line.items()}
        time.sleep(LOOK_S)
    return {}


def _message(path: Path, line: dict[str, str]) -> str:
    return (
        f"{line.get('what', 'a command')} is running on {path.parent} already: {line.get('who', 'who is not known')}, since "
        f"{line.get('since', 'just now')}; nothing was done. Wait until it ends, or end it, and run this command again"
    )


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a table of users
        user = "somebody"
    return f"{user} on {platform.node()}, process {os.getpid()}"
