"""How a script of ours ends while its modules load: Ctrl-C (exit 130) and a missing package (exit 2) without a trace.

Starting workers leave Ctrl-C to their parent. It must be readable for earlier Pythons too.
"""

import os
import signal
import sys
from types import TracebackType

from common.guards.environment import lacking_text, old_text, own_script

WRONG_USE = 2  # as in common.failures, which an earlier Python cannot read


def prepare_for_early_ends() -> None:
    """Do so in a script of ours and in its workers; a notebook or another program keeps its ways."""
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and processes.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
        return
    if own_script():
        if old_text():
            _leave(old_text(), WRONG_USE)
        sys.excepthook = _end


def _end(kind: "type[BaseException]", error: BaseException, trace: "TracebackType | None") -> None:
    if lacking_text(error):
        _leave(lacking_text(error), WRONG_USE)
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    from common.failures import EXIT_INTERRUPTED, INTERRUPTED

    print(INTERRUPTED, file=sys.stderr, flush=True)
    os._exit(EXIT_INTERRUPTED)


def _leave(text: str, code: int) -> None:
    sys.stdout.flush()
    print(f"error: {text}", file=sys.stderr, flush=True)
    os._exit(code)
