"""Files that appear whole or not at all, and HDF5 array files that prove they are complete.

Every output is written under a temporary name beside its target, flushed to disk and renamed, so a process killed at
any moment leaves the old file or the new one. No file holds a clock time: same inputs and settings, same bytes.
"""

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HASHED_BYTES = 8 << 20  # read at a time


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a partial path beside `path`; on leaving without an error it becomes `path`, else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)  # left by a killed process
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, with Unix line ends on every system."""
    with replacing(path) as partial:
        partial.write_bytes(text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN has no JSON form and is an error."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_table(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV table atomically; floats in their shortest exact form."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)


def read_rows(path: Path) -> list[list[str]]:
    """Return the rows of a CSV table, its header first, to compare it with one of ours; of another kind of file, other rows."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return list(csv.reader(file))


def settings_text(settings: Mapping[str, object]) -> str:
    """Return settings as canonical JSON: sorted, so equal settings are equal text."""
    return json.dumps(settings, sort_keys=True, default=str)


def file_fingerprint(path: Path) -> str:
    """Identify a file's content by its size and three 1 MiB samples (start, middle, end): a sha256, hex.

    A folder (a DICOM series) is identified by all its files but hidden ones, an index of MIRAX or Hamamatsu's older formats
    also by the files beside it that hold its pixels. Name, place and dates do not count.
    """
    digest = hashlib.sha256()
    sample = 1 << 20
    for part in _parts(path):
        size = part.stat().st_size
        digest.update(f"{size};".encode())
        with part.open("rb") as file:
            for start in sorted({0, max(0, size // 2 - sample // 2), max(0, size - sample)}):
                file.seek(start)
                digest.update(file.read(sample))
    return digest.hexdigest()


def content_sha256(path: Path) -> str:
    """Identify a file by all its bytes: for one that a person may edit in place."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parts(path: Path) -> list[Path]:
    """Return the files that make up a slide."""
    if path.is_dir():
        return _files_in(path)
    ending = path.suffix.lower()
    if ending == ".mrxs":
        return [path, *_files_in(path.with_suffix(""))]
    if ending in (".vms", ".vmu"):
        index = path.read_text(encoding="utf-8", errors="replace")
        values = [line.partition("=")[2].strip() for line in index.splitlines()]
        beside = (path.with_name(value) for value in values if value.strip(".") and not {"/", "\\", "\0"} & set(value))
        return [path, *sorted({file for file in beside if file != path and file.is_file()})]
    return [path]


def _files_in(folder: Path) -> list[Path]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts))


@dataclass(frozen=True)
class ArrayFile:
    """What an HDF5 array file holds: named arrays and file attributes (str, int, float, bool)."""

    arrays: Mapping[str, np.ndarray]
    attributes: Mapping[str, Any]


def write_arrays(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    attributes: Mapping[str, str | int | float | bool],
    *,
    array_attributes: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write arrays contiguously to one HDF5 file, atomically, with a sha256 over their content.

    Args:
        path: the target file.
        arrays: name to array, written in the given order.
        attributes: file attributes.
        array_attributes: attributes of single arrays, by array name (for other tools' readers).
    """
    with writing_arrays(path, attributes, array_attributes=array_attributes) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)


@contextmanager
def writing_arrays(
    path: Path,
    attributes: Mapping[str, str | int | float | bool],
    *,
    array_attributes: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[Any]:
    """Yield an open h5py file to create arrays in, part by part; then attributes and the sha256 are added.

    Memory stays bounded whatever the size of the arrays.
    """
    import h5py

    with replacing(path) as partial, h5py.File(partial, "w") as file:
        yield file
        for name, values in (array_attributes or {}).items():
            for key, value in values.items():
                file[name].attrs[key] = value
        for key, value in attributes.items():
            file.attrs[key] = value
        file.attrs["content_sha256"] = _content_sha256(file)


def read_arrays(path: Path, *, names: Sequence[str] | None = None) -> ArrayFile:
    """Read an array file whole, or only the named arrays and all attributes.

    Raises:
        ValueError: the file does not open, an array is missing, or (when all are read) the checksum differs.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            attributes = {key: _plain(value) for key, value in file.attrs.items()}
            arrays = {name: file[name][()] for name in (list(file) if names is None else names)}
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"{path}: not a complete HDF5 file ({error}); delete it and rerun the step that made it"
        ) from error
    if names is None and attributes.get("content_sha256") != _content_sha256(arrays):
        raise ValueError(
            f"{path}: its content is not what was written (checksum differs); delete it and rerun the step"
        )
    return ArrayFile(arrays=arrays, attributes=attributes)


def read_attributes(path: Path) -> Mapping[str, Any]:
    """Read only the file attributes."""
    return read_arrays(path, names=()).attributes


def array_shapes(path: Path) -> Mapping[str, tuple[int, ...]]:
    """Read only the shapes of the arrays."""
    import h5py

    with h5py.File(path, "r") as file:
        return {name: file[name].shape for name in file}


def whats_stale(path: Path, wanted: Mapping[str, object]) -> str | None:
    """Return None when `path` is complete and its attributes equal `wanted`, else the reason to make it again."""
    if not path.exists():
        return "not made yet"
    try:
        found = verified_attributes(path)
    except ValueError as error:
        return str(error)
    for key, value in wanted.items():
        if found.get(key) != value:
            return f"{key} changed from {found.get(key)!r} to {value!r}"
    return None


def verified_attributes(path: Path) -> Mapping[str, Any]:
    """Read the file attributes after checking the sha256 over all arrays, part by part in bounded memory.

    Raises:
        ValueError: the file does not open, or the checksum differs.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            attributes = {key: _plain(value) for key, value in file.attrs.items()}
            digest = _content_sha256(file)
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"{path}: not a complete HDF5 file ({error}); delete it and rerun the step that made it"
        ) from error
    if attributes.get("content_sha256") != digest:
        raise ValueError(
            f"{path}: its content is not what was written (checksum differs); delete it and rerun the step"
        )
    return attributes


def _content_sha256(arrays: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name};{array.shape};".encode())
        if array.dtype.kind in "OSU":
            digest.update("\0".join(_plain(item) for item in np.asarray(array).ravel().tolist()).encode())
            continue
        digest.update(array.dtype.str.encode())
        rows = len(array) if array.ndim else 1
        step = max(1, HASHED_BYTES * rows // max(1, array.size * array.dtype.itemsize))
        for start in range(0, rows, step):
            part = array[start : start + step] if array.ndim else array[()]
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value.item() if isinstance(value, np.generic) else value
