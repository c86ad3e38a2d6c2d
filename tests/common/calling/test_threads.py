"""A thread that dies for want of memory, or cannot begin, ends the command with one message; nobody waits for it."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from common.calling import threads
from common.failures import command

ROOT = Path(__file__).resolve().parents[3]
# a command whose main thread waits for ever for one that dies as it is told
WAITING = """
import signal, sys, threading
sys.path[0] = {root!r}
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from common.failures import command
own = threading.Thread._bootstrap_inner
def unborn(thread):
    raise MemoryError
def die():
    {raised}
@command
def main(argv=None):
    if {kind!r} == "unborn":
        threading.Thread._bootstrap_inner = unborn
    thread = threading.Thread(target=die, daemon=True)
    thread.start()
    threading.Event().wait(20)
    return 0
sys.exit(main([]))
"""


@pytest.mark.parametrize(
    ("kind", "raised"),
    [("dead", "raise MemoryError"), ("dead", 'raise RuntimeError("can\'t start new thread")'), ("unborn", "pass")],
)
def test_a_thread_that_memory_ends_ends_the_command(kind, raised):
    text = WAITING.format(root=str(ROOT), kind=kind, raised=raised)
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: memory ran out; give fewer --workers")
    assert done.stderr.count("\n") == 1
    assert time.monotonic() - began < 15


def test_a_thread_that_dies_of_something_else_is_printed_as_ever(monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", lambda args: seen.append(args.exc_type))

    @command
    def main(argv=None):
        thread = threading.Thread(target=lambda: {}["x"])
        thread.start()
        thread.join()
        return 0

    assert main([]) == 0
    assert seen == [KeyError]


def test_the_wait_for_a_thread_to_begin_has_an_end_even_where_nothing_is_heard_of_it(monkeypatch, capsys):
    monkeypatch.setattr(threads, "BEGIN_S", 0.2)

    @command
    def main(argv=None):
        name = "_start_joinable_thread" if hasattr(threading, "_start_joinable_thread") else "_start_new_thread"
        monkeypatch.setattr(threading, name, lambda *_, **__: 1)
        try:
            threading.Thread(target=print, daemon=True).start()
        finally:
            monkeypatch.undo()
        return 0

    assert main([]) == 2
    assert capsys.readouterr().err.startswith("error: memory ran out")


def test_a_command_leaves_threads_as_they_were():
    before = (threading.Thread.start, threading.excepthook, sys.unraisablehook)
    command(lambda argv: 0)([])
    assert (threading.Thread.start, threading.excepthook, sys.unraisablehook) == before
