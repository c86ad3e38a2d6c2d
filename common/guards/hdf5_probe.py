"""A file of HDF5 read through by a process of its own first: damage makes its library loop for ever, or crash.

What is damaged stops that process, and the caller reads on: it learns which file it was. One such process serves all files; it is
started by the first that has no checksum at its end, and ends with its caller. It ends itself by a timer of the kernel, so that
a loop in the library does not outlive a caller that was killed. What it read through is not asked again until the file changes.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from common.guards.hdf5_contents import check_arrays

LOOP_S = 5.0  # of computing: structures are read in milliseconds
BYTES_A_S = 20e6  # beyond it, for what is read and unpacked; a processor does ten times that
WAIT_S = 60.0  # in all: a disk that answers slowly is no damage
WAITED_BYTES_A_S = 1e6
MEMORY_BYTES = 4 << 30  # beside the file's size
PART_BYTES = 8 << 20  # of an array, read at a time
SETTLED_S = 2.0  # a file changed later than this may change again under the same time stamp
ROOT = str(Path(__file__).resolve().parents[2])
START = "import sys; sys.path[0] = sys.argv[1]; from common.guards.hdf5_probe import serve; serve()"

_known: dict[
    Path, tuple[tuple[int, ...], frozenset[str] | None]
] = {}  # what was read through: the file's state, arrays
_lock = threading.Lock()
_process: subprocess.Popen[str] | None = None


def probe(path: Path, arrays: Collection[str] | None) -> None:
    """Have a file's structure, attributes and arrays read through by another process.

    Args:
        path: the file.
        arrays: names of the arrays that the caller is going to read, where they are there; None: all.

    Raises:
        OSError: the file is so damaged that reading it does not end, crashes the library, or takes more memory than it can need.
    """
    state = path.stat()
    found = (state.st_size, state.st_mtime_ns, state.st_ino)
    asked = None if arrays is None else frozenset(arrays)
    with _lock:
        if _covers(_known.get(path), found, asked):
            return
        fault = _answer(path, asked, state.st_size)
        if fault:
            raise OSError(fault)
        if time.time() - state.st_mtime > SETTLED_S:
            _known[path] = (found, asked)


def _covers(known: tuple[tuple[int, ...], frozenset[str] | None] | None, found: tuple[int, ...], asked: Any) -> bool:
    if known is None or known[0] != found:
        return False
    return known[1] is None or (asked is not None and asked <= known[1])


def _answer(path: Path, arrays: frozenset[str] | None, size: int) -> str:
    """Return what is wrong with the file, as the process tells it or by how it ended; empty: nothing."""
    process = _running()
    if process is None:
        return ""  # the system allows no further process: as before there were any
    assert process.stdin is not None
    loop_s, wait_s = LOOP_S + size / BYTES_A_S, WAIT_S + size / WAITED_BYTES_A_S
    request = {"path": str(path.absolute()), "arrays": None if arrays is None else list(arrays), "size": size}
    try:
        process.stdin.write(json.dumps(request | {"loop_s": loop_s, "wait_s": wait_s}) + "\n")
        process.stdin.flush()
        reply = _line(process, wait_s + 5)
    except OSError:
        reply = ""
    if reply:
        return str(json.loads(reply)["fault"])
    _end()
    if (
        process.returncode in (-getattr(signal, "SIGPROF", 0), -getattr(signal, "SIGALRM", 0))
        or process.returncode == 0
    ):
        limit = f"{loop_s:.0f} s of computing"
        return f"its structure is damaged: reading it does not end (stopped after {limit})"
    return f"its structure is damaged: the HDF5 library crashes on it (exit code {process.returncode})"


def _line(process: subprocess.Popen[str], limit_s: float) -> str:
    """Return the next line it says; empty at its end, or where there is none in time (its timers come first)."""
    stream, lines = process.stdout, list[str]()
    assert stream is not None
    reader = threading.Thread(target=lambda: lines.append(stream.readline()), daemon=True)
    reader.start()
    reader.join(limit_s)
    return lines[0] if lines else ""


def _running() -> subprocess.Popen[str] | None:
    """Return the process, started where there is none; None where it does not start."""
    global _process  # noqa: PLW0603  # one a process, as there is one memory of what was read
    if _process is not None and _process.poll() is None:
        return _process
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # threads take room of addresses
    try:
        _process = subprocess.Popen(
            [sys.executable, "-c", START, ROOT], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, encoding="utf-8", env=environment,
        )  # fmt: skip
    except OSError:
        return None
    if not _line(_process, WAIT_S):
        _end()
        return None
    return _process


@atexit.register
def _end() -> None:
    global _process
    process, _process = _process, None
    if process is None:
        return
    assert process.stdin is not None and process.stdout is not None
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def serve() -> None:
    """Answer requests, a line each, until the caller ends: the body of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller ends this process
    import h5py  # noqa: F401  # before the limit of memory

    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        _limit(request["loop_s"], request["wait_s"], request["size"])
        fault = _read_through(Path(request["path"]), request["arrays"])
        _limit(0, 0, 0)
        print(json.dumps({"fault": fault}), file=out, flush=True)


def _limit(loop_s: float, wait_s: float, size: int) -> None:
    """Have the kernel end this process after so much computing, and after so much time; 0: not."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, loop_s)  # the signals' own effect is an end, in the midst of a library too
        signal.setitimer(signal.ITIMER_REAL, wait_s)
    with suppress(ImportError, ValueError, OSError):  # a system without: the time is bounded all the same
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        wanted = MEMORY_BYTES + 2 * size if size else hard
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard < 0 else min(wanted, hard), hard))


def _read_through(path: Path, arrays: Sequence[str] | None) -> str:
    """Read what the caller will; what it raises of itself, the caller will meet itself and put into words."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            for place, found in check_arrays(path, file):
                is_array = isinstance(found, h5py.h5d.DatasetID)
                member = h5py.Dataset(found) if is_array else h5py.Group(found) if _is_group(found) else None
                if member is not None:
                    _read_attributes(member)
                if is_array and (arrays is None or place in arrays):
                    with suppress(OSError, TypeError, ValueError, RuntimeError):
                        _read_array(member)
    except MemoryError:
        return "its structure is damaged: reading it takes more memory than a file of its size can need"
    except Exception:
        return ""
    return ""


def _is_group(found: Any) -> bool:
    import h5py

    return isinstance(found, h5py.h5g.GroupID)


def _read_attributes(member: Any) -> None:
    for name in member.attrs:
        with suppress(OSError, TypeError, ValueError, RuntimeError, KeyError):  # of a kind that h5py cannot say
            member.attrs[name]


def _read_array(array: Any) -> None:
    if array.ndim == 0 or array.size is None:
        array[()]
        return
    row_bytes = max(1, array.size * array.dtype.itemsize // max(1, len(array)))
    step = max(1, PART_BYTES // row_bytes)
    if array.chunks is not None:
        step = -(-step // array.chunks[0]) * array.chunks[0]  # each chunk is unpacked once
    for start in range(0, len(array), step):
        array[start : start + step]
