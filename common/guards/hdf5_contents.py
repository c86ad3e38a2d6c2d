"""What an open HDF5 file holds, walked through and looked over before a value is read: links, arrays out of other files, claims."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py

MAX_OBJECTS = 10_000  # groups and arrays in a file
MAX_PACKING = 1100  # bytes out of one: no more can come out of gzip
SLACK_BYTES = 1 << 26  # that a chunk may take beyond what it holds


def check_arrays(path: Path, file: h5py.File) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """Walk through a file and yield each group and array, once it was looked over, with its place ("" is the file's own).

    Raises:
        ValueError: something in it reaches out of the file, or claims more than it holds.
    """
    import h5py

    yield "", file

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
            yield place.removeprefix("/"), member


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
