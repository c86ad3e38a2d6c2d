"""An HDF5 file opened for reading only after its structure was looked over: it may come from anywhere.

HDF5 follows links into other files, reads the values of an array out of any file it names, puts arrays together out of other
files, and makes up values that were never written: a file of 1,400 bytes may claim 95 GiB. None of this has a place in a file
of tiles or features, so it is refused by name before a value is read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from common.guards.hdf5_contents import check_arrays
from common.guards.hdf5_probe import probe
from common.guards.sealed_files import check_seal

if TYPE_CHECKING:
    import h5py

SEALED = "file_sha256"  # the attribute that says where the checksum stands
OF_DAMAGE = (
    AttributeError,
    IndexError,
    OverflowError,
    TypeError,
    ValueError,
)  # what h5py raises of it, beside its usual


@contextmanager
def reading_hdf5(path: Path, *, arrays: Collection[str] | None = None) -> Iterator[h5py.File]:
    """Open an HDF5 file whose arrays all lie in it.

    A file of ours ends in a checksum of all its bytes, which is compared before HDF5 sees it. Any other is read through by
    another process first: its structure, its attributes, and the arrays named here.

    Args:
        path: the file.
        arrays: names of the arrays whose values the caller reads, where they are there; None: all.

    Raises:
        ValueError: its checksum differs; it names other files, or claims more than it holds; the array is named.
        OSError: it is no HDF5 file, or damaged: also where reading in the caller's block meets a name, a type or a member
            of another kind than it can be. A ValueError of that block that begins with the path passes as it is.
    """
    import h5py

    is_sealed = check_seal(path)
    if not is_sealed:
        probe(path, arrays)
    try:
        with h5py.File(path, "r") as file:
            if SEALED in file.attrs and not is_sealed:
                raise ValueError(
                    f"{path}: the checksum at its end is lost (checksum differs); delete it and rerun the step"
                )
            for _ in check_arrays(path, file):
                pass
            yield file
    except OF_DAMAGE as error:
        if isinstance(error, ValueError) and str(error).startswith(f"{path}: "):
            raise
        raise OSError(f"what is in it is not of the kind it should be: {error}") from error
