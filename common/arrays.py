"""HDF5 files of arrays that prove they are complete and say what they were made from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.files import DISK_FAULTS, errno_of, replacing
from common.guards.hdf5_files import SEALED, reading_hdf5
from common.guards.hdf5_writing import writing_hdf5
from common.guards.sealed_files import seal

HASHED_BYTES = 8 << 20  # read at a time
NOT_MADE = "not made yet"


@dataclass(frozen=True)
class ArrayFile:
    """What an HDF5 array file holds: named arrays and file attributes (str, int, float, bool)."""

    arrays: Mapping[str, np.ndarray]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Contents:
    """What is known of an array file without its values: the shapes of its arrays, and the file attributes."""

    shapes: Mapping[str, tuple[int, ...]]
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
    """Yield an open h5py file to create arrays in, part by part; then attributes and checksums are added: over the arrays, which
    identifies them, and over the whole file, at its end. Files of earlier versions have the first alone, and are read by it.

    Memory stays bounded whatever the size of the arrays.
    """
    with replacing(path) as partial:
        with writing_hdf5(partial) as file:
            yield file
            for name, values in (array_attributes or {}).items():
                for key, value in values.items():
                    file[name].attrs[key] = value
            for key, value in attributes.items():
                file.attrs[key] = value
            file.attrs["content_sha256"] = _content_sha256(file)
            file.attrs[SEALED] = "at the end of the file"
        seal(partial)


@contextmanager
def _reading(path: Path, arrays: Sequence[str] | None) -> Iterator[Any]:
    """Open a file for reading these arrays (None: all); whatever is wrong with it is a ValueError with its name.

    A disk that fails is no fault of the file, which must not be deleted for it: an OSError with the file's name.
    """
    try:
        with reading_hdf5(path, arrays=arrays) as file:
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        if isinstance(error, OSError) and (number := errno_of(error)) in DISK_FAULTS:
            raise OSError(number, os.strerror(number), str(path)) from error
        raise ValueError(
            f"{path}: not a complete HDF5 file ({error}); delete it and rerun the step that made it"
        ) from error


def read_arrays(path: Path, *, names: Sequence[str] | None = None) -> ArrayFile:
    """Read an array file whole, or only the named arrays and all attributes.

    Raises:
        ValueError: the file does not open, an array is missing, or (when all are read) the checksum differs.
    """
    with _reading(path, names) as file:
        attributes = {key: _plain(value) for key, value in file.attrs.items()}
        arrays = {name: file[name][()] for name in (list(file) if names is None else names)}
    if names is None and SEALED not in attributes and attributes.get("content_sha256") != _content_sha256(arrays):
        raise ValueError(
            f"{path}: its content is not what was written (checksum differs); delete it and rerun the step"
        )
    return ArrayFile(arrays=arrays, attributes=attributes)


def read_attributes(path: Path) -> Mapping[str, Any]:
    """Read only the file attributes."""
    return read_arrays(path, names=()).attributes


def array_shapes(path: Path) -> Mapping[str, tuple[int, ...]]:
    """Read only the shapes of the arrays.

    Raises:
        ValueError: the file does not open, or holds something else than arrays.
    """
    with _reading(path, ()) as file:
        return {name: file[name].shape for name in file}


def stale_reason(path: Path, wanted: Mapping[str, object]) -> str | None:
    """Return None when `path` is complete and its attributes equal `wanted`, else the reason to make it again."""
    return look_if_made_of(path, wanted)[1] or None


def read_if_made_of(path: Path, wanted: Mapping[str, object]) -> tuple[ArrayFile | None, str]:
    """Read a file once: its content where it is complete and its attributes equal `wanted`, else the reason to make it again."""
    if not path.exists():
        return None, NOT_MADE
    try:
        file = read_arrays(path)
    except ValueError as error:
        return None, str(error)
    reason = _difference(file.attributes, wanted)
    return (file, "") if reason is None else (None, reason)


def look_if_made_of(path: Path, wanted: Mapping[str, object]) -> tuple[Contents | None, str]:
    """Look into a file once, its arrays' values aside: its contents where it is complete and its attributes equal `wanted`, else
    the reason to make it again.
    """
    if not path.exists():
        return None, NOT_MADE
    try:
        contents = verified_contents(path)
    except ValueError as error:
        return None, str(error)
    reason = _difference(contents.attributes, wanted)
    return (contents, "") if reason is None else (None, reason)


def _difference(attributes: Mapping[str, Any], wanted: Mapping[str, object]) -> str | None:
    for key, value in wanted.items():
        if attributes.get(key) != value:
            return f"{key} changed from {attributes.get(key)!r} to {value!r}"
    return None


def verified_attributes(path: Path) -> Mapping[str, Any]:
    """Read the file attributes of a file that is proven whole, as `verified_contents` does."""
    return verified_contents(path).attributes


def verified_contents(path: Path) -> Contents:
    """Read shapes and file attributes after checking the sha256 over all arrays, part by part in bounded memory.

    Raises:
        ValueError: the file does not open, or the checksum differs.
    """
    with _reading(path, None) as file:
        attributes = {key: _plain(value) for key, value in file.attrs.items()}
        is_sealed = SEALED in attributes  # then every byte was compared
        digest = attributes.get("content_sha256") if is_sealed else _content_sha256(file)
        shapes = {name: file[name].shape for name in file}
    if attributes.get("content_sha256") != digest:
        raise ValueError(
            f"{path}: its content is not what was written (checksum differs); delete it and rerun the step"
        )
    return Contents(shapes, attributes)


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
    if isinstance(value, np.ndarray):
        return value.tolist()  # no attribute of ours; a list can be compared with what is wanted
    return value.item() if isinstance(value, np.generic) else value
