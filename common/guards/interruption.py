"""Ctrl-C while modules still load: scripts end as they do later (exit 130, no trace), and starting workers leave it to them."""

import os
import signal
import sys
from pathlib import Path
from types import TracebackType


def prepare_for_interrupts() -> None:
    """Do so in a script of ours and in its workers; a notebook or another program keeps its ways."""
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and processes.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
        return
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script is not None and Path(script).resolve().parent.parent == Path(__file__).resolve().parents[2]:
        sys.excepthook = _end


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    from common.failures import EXIT_INTERRUPTED, INTERRUPTED

    print(INTERRUPTED, file=sys.stderr, flush=True)
    os._exit(EXIT_INTERRUPTED)
