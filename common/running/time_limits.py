"""When a job of a worker process has had its time: by the processor time it used, not by the clock of a busy machine.

A sound slide takes ten times as long where ten processes share a processor; one that loops for ever uses all it is given, and one
that waits for a disk that does not answer uses none. The last two are ended, the first is not. Where the system does not tell
the processor time of another process (no /proc), the clock decides.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

WALL_FACTOR = 10.0  # of the limit: a job is ended by then, whatever it used
LEAST_SHARE = 0.002  # of a processor that a job which goes on gets and uses, however busy the machine
LEAST_S = 0.02
MAX_WATCHED = 4096  # jobs are few at a time; those that ended are let go now and then


@dataclass(frozen=True)
class Used:
    """Processor seconds of a process: of its main thread, where jobs run, and of all its threads."""

    main: float
    all: float


@dataclass
class _Watch:
    base: float  # what the main thread had used when the job was first seen
    moved_at: float  # when the job was last seen to have gone on
    used_then: float  # by all threads, at that time


class TimeLimits:
    """Remembers what each job had used when it began, and when it last went on."""

    def __init__(
        self, *, clock: Callable[[], float] = time.time, used_by: Callable[[int], Used | None] | None = None
    ) -> None:
        self._clock, self._used_by = clock, used_by or processor_seconds
        self._watches: dict[tuple[int, float], _Watch] = {}

    def is_over(self, job: int, *, process: int | None, started: float, limit_s: float) -> bool:
        """Return whether a job is to be ended. It must be asked again and again while the job runs.

        Args:
            job: its number.
            process: the id of the process that does it.
            started: when, by the clock.
            limit_s: the processor seconds it may use; also how long it may stand still.
        """
        now = self._clock()
        used = None if process is None else self._used_by(process)
        if used is None:
            return now - started > limit_s
        watch = self._watches.setdefault((job, started), _Watch(used.main, now, used.all))
        if used.all - watch.used_then >= max(LEAST_S, LEAST_SHARE * limit_s):
            watch.moved_at, watch.used_then = now, used.all
        self._let_go()
        if now - started <= limit_s:
            return False
        stands_still = now - max(watch.moved_at, started) > limit_s
        return stands_still or used.main - watch.base > limit_s or now - started > WALL_FACTOR * limit_s

    def _let_go(self) -> None:
        if len(self._watches) > MAX_WATCHED:
            for key in list(self._watches)[: MAX_WATCHED // 2]:
                del self._watches[key]


def processor_seconds(process: int) -> Used | None:
    """Return what a process has used; None where that is not told, or the process is gone."""
    try:
        whole, main = (_seconds(Path(f"/proc/{process}/{part}stat")) for part in ("", f"task/{process}/"))
    except (OSError, ValueError, IndexError):
        return None
    return Used(main=main, all=whole)


def _seconds(path: Path) -> float:
    """Return user and system time of a stat file of /proc; fields are counted behind the name, which may hold anything."""
    fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
