"""A step as a process of its own: as the script alone would do it, to the byte, and its memory goes when it ends."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from common.calling.calls import COMMAND, OF_RUN
from common.running.log_file import log_line, log_path

TOLD_AFTER_S = 3.0
PROGRAM = Path(__file__).resolve().parents[1]


def call_step(word: str, flags: Sequence[str]) -> int:
    """Run a step of the command, its output to this screen, and return its exit code.

    A step whose caller is ended is ended too: no orphan goes on to write.
    """
    print(f"\n$ {COMMAND} {word} {shlex.join(flags)}", flush=True)
    log = log_path()
    own = [] if log is None else ["--log", str(log)]
    environment = os.environ | {OF_RUN: "1"}
    process = subprocess.Popen([sys.executable, str(PROGRAM), word, *flags, *own], env=environment)
    before = signal.signal(signal.SIGTERM, _leave) if _is_main_thread() else None
    try:
        return process.wait()
    except KeyboardInterrupt:
        return _end_gently(process)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
        log_line(f"{word} ended with {process.returncode}")


def _end_gently(process: subprocess.Popen[bytes]) -> int:
    """Ctrl-C at a terminal reaches the step too, and it ends by itself; else it is told; a second one ends it at once."""
    try:
        try:
            process.wait(TOLD_AFTER_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait()
    except KeyboardInterrupt:
        process.kill()
        process.wait()
    raise KeyboardInterrupt


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
