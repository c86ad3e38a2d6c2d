"""What an open HDF5 file holds, walked through and looked over before a value is read: links, arrays out of other files, claims.

The walk asks the library's own functions: h5py's objects cost four times as much, and every file that is read passes here.
"""

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


def check_arrays(path: Path, file: h5py.File) -> Iterator[tuple[str, Any]]:
    """Walk through a file and yield each group and array, once it was looked over, with its place ("" is the file's own).

    What is yielded are identifiers (h5py.h5g.GroupID, h5d.DatasetID and others), whose objects h5py.Group and h5py.Dataset make.

    Raises:
        ValueError: something in it reaches out of the file, or claims more than it holds.
    """
    from h5py import h5d, h5g, h5o

    root = h5g.open(file.id, b"/")
    yield "", root

    size = path.stat().st_size
    groups, seen = [("", root)], {h5o.get_info(root).addr}
    while groups:
        above, group = groups.pop()
        for name in list(group):
            place = f"{above}/{_text(path, name)}"
            _check_link(path, place, group, name)
            address = h5o.get_info(group, name).addr
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > MAX_OBJECTS:
                raise ValueError(f"{path}: it holds more than {MAX_OBJECTS} groups and arrays")
            member = h5o.open(group, name)
            if isinstance(member, h5g.GroupID):
                groups.append((place, member))
            elif isinstance(member, h5d.DatasetID):
                _check_array(path, place, member, size)
            yield place.removeprefix("/"), member


def _text(path: Path, name: bytes) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: it holds {name!r}, a name that is no text (UTF-8): the file is damaged; make it again"
        ) from error


def _check_link(path: Path, place: str, group: Any, name: bytes) -> None:
    from h5py import h5l

    kind = group.links.get_info(name).type
    if kind == h5l.TYPE_EXTERNAL:
        other = group.links.get_val(name)[0].decode("utf-8", "replace")
        raise ValueError(f"{path}: {place} is a link to another file ({other}), which is not followed")
    if kind != h5l.TYPE_HARD:
        raise ValueError(f"{path}: {place} is a link, which is not followed; write the array itself")


def _check_array(path: Path, place: str, array: Any, on_disk: int) -> None:
    from h5py import h5d, h5s

    plan = array.get_create_plist()
    layout = plan.get_layout()
    if layout == h5d.VIRTUAL:
        raise ValueError(f"{path}: {place} is put together out of other files, which are not read")
    if plan.get_external_count():
        other = plan.get_external(0)[0].decode("utf-8", "replace")
        raise ValueError(f"{path}: {place} has its values in another file ({other}), which is not read")
    stored, item = int(array.get_storage_size()), int(array.get_type().get_size())
    space = array.get_space()
    is_empty = space.get_simple_extent_type() == h5s.NULL
    claimed = (
        0 if is_empty else math.prod(space.get_simple_extent_dims()) * item
    )  # whole numbers of Python: none is too large
    is_chunked = layout == h5d.CHUNKED
    held = min(stored, on_disk) * (MAX_PACKING if is_chunked and plan.get_nfilters() else 1)
    chunk = math.prod(plan.get_chunk()) * item if is_chunked else 0
    if claimed > held or chunk > held + SLACK_BYTES:
        raise ValueError(
            f"{path}: {place} claims {max(claimed, chunk):,} bytes and holds {stored:,}, in a file of {on_disk:,}; it was not "
            f"written to its end, or is no honest file: make it again"
        )
