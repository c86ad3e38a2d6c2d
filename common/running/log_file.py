"""--log FILE: everything a command and its workers print is appended to a file, each line with its time.

What is printed goes where it went before as well. Lines are appended whole, so several processes can write one log.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from common.failures import StudyError, when_command_ends

OWN_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d ")
_log: _Log | None = None


def now() -> str:
    """Return the time as ISO 8601, to the second, with the zone."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def start_log(path: Path, first_line: str) -> None:
    """Begin to write everything printed to a log as well, until the command ends.

    Args:
        path: the file; what stands in it stays.
        first_line: the command.

    Raises:
        StudyError: it cannot be written, or holds something else than a log.
    """
    stop_log()
    try:
        if path.is_file():
            with path.open("rb") as file:
                start = file.read(40)
            if start and not OWN_TIME.match(start.decode("utf-8", "replace")):
                raise StudyError(f"--log {path} is there and is no log of these commands; name another file")
        _begin(path)
    except OSError as error:
        raise StudyError(
            f"--log {path} cannot be written ({error.strerror}); name a file in a folder that is there"
        ) from error
    log_line(first_line)


def stop_log(last_line: str = "") -> None:
    """End the log, if there is one; what is printed goes to the screen alone again."""
    global _log  # one a process, as there is one screen
    if _log is None:
        return
    log, _log = _log, None
    log.end(last_line)


def log_path() -> Path | None:
    """Return the log that is being written, for workers to join in."""
    return None if _log is None else _log.path


def log_line(text: str) -> None:
    """Write a line to the log alone, if there is one."""
    if _log is not None:
        _log.append(text)


def in_worker(path: Path | None, begin: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """Begin a worker process: its prints go to the log of its command too."""
    if path is not None:
        with suppress(OSError):  # without a log the work goes on
            _begin(path)
    if begin is not None:
        begin(*arguments)


def _begin(path: Path) -> None:
    global _log  # noqa: PLW0603
    _log = _Log(path.absolute())


class _Log:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self._streams = sys.stdout, sys.stderr
        self._copies = _Copy(sys.stdout, self), _Copy(sys.stderr, self)
        sys.stdout, sys.stderr = self._copies  # type: ignore[assignment]

    def append(self, text: str) -> None:
        """Write lines with the time; a disk that is full ends the log, not the work."""
        lines = "".join(f"{'' if OWN_TIME.match(line) else f'{now()} '}{line}\n" for line in text.splitlines())
        with suppress(OSError):
            os.write(self._number, lines.encode("utf-8", "backslashreplace"))

    def end(self, last_line: str) -> None:
        for copy in self._copies:
            copy.end()
        if last_line:
            self.append(last_line)
        if (sys.stdout, sys.stderr) == self._copies:
            sys.stdout, sys.stderr = self._streams
        os.close(self._number)


class _Copy:
    """A stream whose whole lines go to the log as well; all else is the stream's own."""

    def __init__(self, stream: Any, log: _Log) -> None:
        self._stream, self._log, self._rest, self._lock = stream, log, "", threading.Lock()

    def write(self, text: str) -> int:
        written = self._stream.write(text)
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            self._rest = self._rest.rpartition("\r")[2]  # what a progress bar wrote over
            lines = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
            if lines:
                self._log.append("\n".join(lines))
        return int(written or 0)

    def end(self) -> None:
        with self._lock:
            if self._rest.strip():
                self._log.append(self._rest)
            self._rest = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@when_command_ends
def _end_of_command(code: int, trace: str) -> None:
    stop_log(f"{trace.rstrip()}\nexit code {code}".lstrip())
