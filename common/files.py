"""Files that appear whole or not at all.

Every output is written under a temporary name beside its target, flushed to disk and renamed, so a process killed at
any moment leaves the old file or the new one. No file holds a clock time: same inputs and settings, same bytes.
"""

import csv
import errno
import hashlib
import io
import json
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from common.table_cells import cell_of, text_of

CANNOT_WRITE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EISDIR, errno.ENOTDIR,
     errno.ENAMETOOLONG, errno.ENOTEMPTY, errno.EEXIST}
)  # fmt: skip


DISK_FAULTS = frozenset(  # what a failing disk, or one that lies on a network, says of itself
    {errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.EREMOTEIO, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH,
     errno.ENOTCONN, errno.ESHUTDOWN, errno.ENOMEDIUM}
    if hasattr(errno, "EREMOTEIO") else {errno.EIO, errno.ENXIO, errno.ENODEV, errno.ETIMEDOUT}
)  # fmt: skip
DISK_REMEDY = (
    "look at the disk, or the network it lies on, then run the same command again: it goes on where it stopped"
)


class UnwritableError(OSError):
    """A file cannot be written: the disk is full or read-only, or its folder is closed. Every other slide would meet the same."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say of an error on writing `path`, or a partial file beside it, which file it is and what to do.

    Raises:
        UnwritableError: the disk or the folder does not take it.
    """
    try:
        yield
    except UnwritableError:
        raise
    except OSError as error:
        number = errno_of(error)
        named = () if error.filename is None else (Path(os.fsdecode(error.filename)),)
        if number not in CANNOT_WRITE | DISK_FAULTS or any(
            name not in path.parents and name.parent != path.parent for name in named
        ):
            raise
        raise UnwritableError(
            f"{path} cannot be written ({os.strerror(number)}{_room(path, number)}); "
            f"{DISK_REMEDY if number in DISK_FAULTS else _REMEDY}"
        ) from error


_REMEDY = "make room or change what forbids it, then run the same command again: it goes on where it stopped"


def errno_of(error: OSError) -> int:
    """Return the system's number of an error, also of one that HDF5 tells as text; 0 for none."""
    if error.errno:
        return error.errno
    told = re.search(r"errno = (\d+)", str(error))
    return int(told[1]) if told else 0


def disk_fault(error: OSError) -> str:
    """Say of an error that it is the disk's, or of the network it lies on, and no file's; empty where it is not."""
    number = errno_of(error)
    if number not in DISK_FAULTS | {errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS}:
        return ""
    named = "a file" if error.filename is None else os.fsdecode(error.filename)
    return f"{named} cannot be read or written ({os.strerror(number)})"


def _room(path: Path, number: int) -> str:
    if number != errno.ENOSPC:
        return ""
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    return f": {shutil.disk_usage(folder).free:,} bytes are free"


def pass_disk_fault(error: BaseException) -> None:
    """Raise an error again that is a disk's, not a file's: for who would call the file damaged, or do without it.

    What a network disk fails to hand over for a moment must not change what is made of a slide.

    Raises:
        OSError: it is one.
    """
    if isinstance(error, OSError) and errno_of(error) in DISK_FAULTS:
        raise error


def look_at_disk(path: Path) -> None:
    """Read a byte at both ends of a file: what cannot be read for the disk's sake is no damage of the file.

    Raises:
        OSError: the disk fails.
    """
    if path.is_file():
        with path.open("rb") as file:
            for start in (0, max(0, path.stat().st_size - 1)):
                file.seek(start)
                file.read(1)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a partial path beside `path`; on leaving without an error it becomes `path`, else it is removed."""
    partial = partial_path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        for other in left_behind(path):
            with suppress(OSError):
                other.unlink(missing_ok=True)
        try:
            yield partial
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            with suppress(OSError):  # the error that led here says more
                partial.unlink(missing_ok=True)


def partial_path(path: Path) -> Path:
    """Return where this process makes `path` before it is renamed; another process may write the same at once."""
    return path.with_name(f"{_partial_start(path)}{os.getpid()}.partial")


def left_behind(path: Path) -> Iterator[Path]:
    """Yield what processes that are no more, and earlier versions, left of making `path`: files, folders or links."""
    earlier, start = path.with_name(f".{path.name}.partial"), _partial_start(path)
    with suppress(OSError):  # too long a name is none
        if earlier.is_symlink() or earlier.exists():
            yield earlier
    for other in path.parent.glob(f"{start}*.partial"):
        number = other.name.removeprefix(start).removesuffix(".partial")
        if number.isdigit() and not _is_running(int(number)):
            yield other


def _partial_start(path: Path) -> str:
    """Return how the names of a file's partial files begin on this machine; a name may be as long as names go."""
    name, machine = path.name.encode("utf-8", "surrogatepass"), platform.node().encode()
    return f".{hashlib.sha256(name).hexdigest()[:16]}-{hashlib.sha256(machine).hexdigest()[:8]}-"


def _is_running(process: int) -> bool:
    if os.name == "nt":
        return True  # there signal 0 would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is somebody else's
    return True


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, with Unix line ends on every system."""
    with replacing(path) as partial:
        partial.write_bytes(text.encode("utf-8"))


def save_picture(image: Any, path: Path, **options: Any) -> None:
    """Save a picture of Pillow's by way of memory: its own writing takes no notice of bytes that a disk left out."""
    buffer = io.BytesIO()
    image.save(buffer, **options)
    path.write_bytes(buffer.getvalue())


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN has no JSON form and is an error."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_table(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV table atomically; floats in their shortest exact form, what would be a formula as text (table_cells)."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([cell_of(name) for name in names])
        writer.writerows([cell_of(value) for value in row] for row in rows)


def read_rows(path: Path) -> list[list[str]]:
    """Return the rows of a CSV table, its header first, to compare it with one of ours; of another kind of file, other rows."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return [[text_of(cell) for cell in row] for row in csv.reader(file)]


def read_named_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV table that was written here, column to text; what a row lacks is missing in it."""
    header, *rows = read_rows(path) or [[]]
    return [dict(zip(header, row, strict=False)) for row in rows if row]


def settings_text(settings: Mapping[str, object]) -> str:
    """Return settings as canonical JSON: sorted, so equal settings are equal text."""
    return json.dumps(settings, sort_keys=True, default=str)


def content_sha256(path: Path) -> str:
    """Identify a file by all its bytes: for one that a person may edit in place."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
