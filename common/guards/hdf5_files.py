"""An HDF5 file opened for reading only after its structure was looked over: it may come from anywhere.

HDF5 follows links into other files, reads the values of an array out of any file it names, puts arrays together out of other
files, and makes up values that were never written: a file of 1,400 bytes may claim 95 GiB. None of this has a place in a file
of tiles or features, so it is refused by name before a value is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.guards.sealed_files import check_seal

if TYPE_CHECKING:
    import h5py

SEALED = "file_sha256"  # the attribute that says where the checksum stands

MAX_OBJECTS = 10_000  # groups and arrays in a file
MAX_PACKING = 1100  # bytes out of one: no more can come out of gzip
SLACK_BYTES = 1 << 26  # that a chunk may take beyond what it holds


@contextmanager
def reading_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file whose arrays all lie in it.

    A file of ours ends in a checksum of all its bytes, which is compared before HDF5 sees it.

    Raises:
        ValueError: its checksum differs; it names other files, or claims more than it holds; the array is named.
        OSError: it is no HDF5 file, or damaged.
    """
    import h5py

    is_sealed = check_seal(path)
    with h5py.File(path, "r") as file:
        if SEALED in file.attrs and not is_sealed:
            raise ValueError(
                f"{path}: the checksum at its end is lost (checksum differs); delete it and rerun the step"
            )
        _check_group(path, file)
        yield file


def _check_group(path: Path, file: h5py.File) -> None:
    import h5py

    groups, seen = [file], {_address(file)}
    while groups:
        group = groups.pop()
        for name in group:
            place = f"{group.name.rstrip('/')}/{name}"
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise ValueError(f"{path}: {place} is a link to another file ({link.filename}), which is not followed")
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"{path}: {place} is a link, which is not followed; write the array itself")
            member = group[name]
            if (address := _address(member)) in seen:
                continue
            seen.add(address)
            if len(seen) > MAX_OBJECTS:
                raise ValueError(f"{path}: it holds more than {MAX_OBJECTS} groups and arrays")
            if isinstance(member, h5py.Group):
                groups.append(member)
            elif isinstance(member, h5py.Dataset):
                _check_array(path, place, member)


def _address(member: Any) -> int:
    import h5py

    return int(h5py.h5o.get_info(member.id).addr)


def _check_array(path: Path, place: str, array: h5py.Dataset) -> None:
    if array.is_virtual:
        raise ValueError(f"{path}: {place} is put together out of other files, which are not read")
    if array.external:
        raise ValueError(f"{path}: {place} has its values in another file ({array.external[0][0]}), which is not read")
    stored, on_disk = int(array.id.get_storage_size()), path.stat().st_size
    item = array.dtype.itemsize
    claimed = (array.size or 0) * item
    is_packed = array.chunks is not None and array.id.get_create_plist().get_nfilters() > 0
    held = min(stored, on_disk) * (MAX_PACKING if is_packed else 1)
    chunk = 0 if array.chunks is None else math.prod(array.chunks) * item
    if claimed > held or chunk > held + SLACK_BYTES:
        raise ValueError(
            f"{path}: {place} claims {max(claimed, chunk):,} bytes and holds {stored:,}, in a file of {on_disk:,}; it was not "
            f"written to its end, or is no honest file: make it again"
        )
