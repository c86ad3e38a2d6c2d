"""A checksum of all bytes of a file at its end: damage is found before a library reads the structure that is damaged.

HDF5's library loops for ever or crashes on some damage, and a checksum over arrays says nothing of attributes. Readers of HDF5
take no notice of bytes behind its end.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

MARK = b"\n%SHA256 of all before this line: "
LENGTH = len(MARK) + 64 + 1
READ_BYTES = 8 << 20
SETTLED_S = 2.0  # a file changed later than this may change again under the same time stamp
_known: dict[Path, tuple[int, ...]] = {}  # files found whole in this process, and what tells that they were changed


def seal(path: Path) -> None:
    """Add the checksum at the end of a file."""
    digest = _digest(path, path.stat().st_size)
    with path.open("ab") as file:
        file.write(MARK + digest.encode() + b"\n")


def check_seal(path: Path) -> bool:
    """Return whether a file has a checksum at its end; earlier files and those of other tools have none.

    Raises:
        ValueError: the checksum differs.
        OSError: the file cannot be read.
    """
    state = path.stat()
    size, found = state.st_size - LENGTH, (state.st_size, state.st_mtime_ns, state.st_ino)
    if _known.get(path) == found:
        return True
    with path.open("rb") as file:
        file.seek(max(0, size))
        end = file.read()
    if size < 0 or not end.startswith(MARK):
        return False
    if end[len(MARK) :] != _digest(path, size).encode() + b"\n":
        raise ValueError(
            f"{path}: its content is not what was written (checksum differs); delete it and rerun the step that made it"
        )
    if time.time() - state.st_mtime > SETTLED_S:
        _known[path] = found
    return True


def _digest(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (part := file.read(min(size, READ_BYTES))):
            digest.update(part)
            size -= len(part)
    return digest.hexdigest()
