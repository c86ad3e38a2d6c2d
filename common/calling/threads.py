"""Threads that cannot begin, or that die, for want of memory: a command hears of them and ends, instead of waiting for ever.

Python waits until a new thread says that it runs; one that finds no memory to begin with never says so. One that dies later is
printed and forgotten, and whoever waits for what it was to do waits on. Both end the command here, whoever made the thread.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

BEGIN_S = 60.0  # for a thread to begin, however busy the machine
LOOK_S = 0.2  # a signal that comes between Python's last look for one and the wait is heard of at its end


class _Begun(threading.Event):
    """What a new thread sets; the wait for it has an end."""

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is not None:
            return super().wait(timeout)
        last = time.monotonic() + BEGIN_S
        while not super().wait(LOOK_S):
            if time.monotonic() > last:
                raise MemoryError("a thread did not begin")
        return True


@contextmanager
def heard_threads(is_fault: Callable[[BaseException], bool]) -> Iterator[list[BaseException]]:
    """Interrupt the main thread, as Ctrl-C does, where another one dies of a fault; yields what they died of.

    Args:
        is_fault: whether an error ends the command; a thread that dies of any other is printed, as ever.
    """
    deaths: list[BaseException] = []
    if threading.current_thread() is not threading.main_thread():
        yield deaths
        return
    start, excepthook, unraisablehook = threading.Thread.start, threading.excepthook, sys.unraisablehook

    def begin(thread: threading.Thread) -> None:
        if not thread._started.is_set():  # type: ignore[attr-defined]
            thread._started = _Begun()  # type: ignore[attr-defined]
        start(thread)

    def hear(error: BaseException | None) -> bool:
        if error is None or not is_fault(error):
            return False
        deaths.append(error)
        _interrupt()
        return True

    def hear_of_dead(args: Any) -> None:
        if not hear(args.exc_value):
            excepthook(args)

    def hear_of_unborn(args: Any) -> None:
        is_thread = getattr(args.object, "__name__", "") == "_bootstrap" or "thread started" in (args.err_msg or "")
        if not (is_thread and hear(args.exc_value)):
            unraisablehook(args)

    threading.Thread.start = begin  # type: ignore[method-assign,assignment]
    threading.excepthook, sys.unraisablehook = hear_of_dead, hear_of_unborn
    try:
        yield deaths
    finally:
        threading.Thread.start = start  # type: ignore[method-assign]
        threading.excepthook, sys.unraisablehook = excepthook, unraisablehook


def _interrupt() -> None:
    """Wake the main thread from whatever it waits for; where Ctrl-C is not its own way to end, it is let be."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)
