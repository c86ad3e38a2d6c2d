"""An HDF5 file written on a disk that may fail: the disk's own error comes out, once, and the library goes on to its end."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def writing_hdf5(path: Path) -> Iterator[Any]:
    """Yield a new h5py file; whoever calls removes what is left of it after an error.

    Raises:
        OSError: the disk does not take it, or cannot be read again; with the path.
    """
    import h5py

    raw = FirstError(path)
    try:
        with h5py.File(raw, "w") as file:
            yield file
    except Exception:
        if raw.error is None:
            raise
    finally:
        raw.close()
    if raw.error is not None:
        raise OSError(raw.error.errno, raw.error.strerror, str(path)) from raw.error


class FirstError(io.RawIOBase):
    """A file that is written on behalf of a library which does not bear errors: the first is kept, and what follows is let go.

    HDF5 raises again and again, and may end the process, where a file cannot be written to its end.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self.error: OSError | None = None

    def _tried(self, work: Callable[[], Any], otherwise: Any) -> Any:
        if self.error is not None:
            return otherwise
        try:
            return work()
        except OSError as error:
            self.error = error
            return otherwise

    def readable(self) -> bool:
        """It is."""
        return True

    def writable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Write all of it."""
        left = memoryview(data).cast("B")
        n = len(left)

        def work() -> int:
            rest = left
            while len(rest):
                rest = rest[self._file.write(rest) or 0 :]
            return n

        return int(self._tried(work, n))

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, with zeros once something failed."""
        view = memoryview(buffer).cast("B")

        def work() -> int:
            at = 0
            while at < len(view) and (got := self._file.readinto(view[at:])):
                at += got
            return at

        found = int(self._tried(work, -1))
        if found < 0:
            view[:] = bytes(len(view))
            return len(view)
        return found

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        return int(self._tried(lambda: self._file.seek(offset, whence), offset))

    def tell(self) -> int:
        """Return the place."""
        return int(self._tried(self._file.tell, 0))

    def truncate(self, size: int | None = None) -> int:
        """Set the size."""
        return int(self._tried(lambda: self._file.truncate(size), size or 0))

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Close the file; the caller raises `error`."""
        if not self.closed:
            try:
                self._file.close()
            except OSError as error:
                self.error = self.error or error
            super().close()
