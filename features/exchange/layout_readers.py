"""Feature files of other tools, one slide a file: read by their ending, completed by what stands beside them, checked.

HDF5 layouts stand in hdf5_readers.py, those of one tensor (CLAM's .pt, slideflow's) in tensor_readers.py. A .pt file is
loaded as tensors only, so nothing in it can run.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from common.guards.hdf5_files import reading_hdf5
from features.exchange.bag import CLAM, DAMAGED, OWN, ExchangeBag, Source, stated_size
from features.exchange.hdf5_readers import read_hdf5
from features.exchange.record import check_unchanged, find_record, with_record
from features.exchange.tensor_readers import read_tensor


def read_exchange_bag(source: Source, *, coordinate_file: Path | None = None) -> ExchangeBag:
    """Read a feature file of any layout.

    Args:
        source: the file; of its scale, what a conversion wrote down beside the file wins.
        coordinate_file: CLAM's coordinate file of the slide, which alone has the side of a tile.

    Raises:
        ValueError: the file is truncated, damaged, of no layout known here, or holds no tile features.
    """
    path = source.path
    converted = find_record(path)
    if converted is not None and not source.is_header:
        check_unchanged(path, *converted)
    record = None if converted is None else converted[1]
    if record is not None and record["mpp"]:
        source = replace(source, mpp=(float(record["mpp"][0]), float(record["mpp"][1])))
    bag = read_tensor(source) if path.suffix == ".pt" else read_hdf5(source)
    if record is not None:
        bag = with_record(bag, record)
    elif bag.layout == CLAM and coordinate_file is not None:
        bag = _with_clam_sides(bag, coordinate_file)
    if not source.is_header and bag.layout != OWN:
        _check_values(path, bag)
    return bag


def _with_clam_sides(bag: ExchangeBag, coordinate_file: Path) -> ExchangeBag:
    """Add the side of a tile out of CLAM's coordinate file, whose patch_size counts pixels of patch_level."""
    if not coordinate_file.is_file():
        return bag
    try:
        with reading_hdf5(coordinate_file, arrays=()) as file:
            beside = dict(file["coords"].attrs)
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(f"{coordinate_file}: not a complete HDF5 file of coordinates ({error}); {DAMAGED}") from error
    if "patch_level" not in beside:
        raise ValueError(f"{coordinate_file}: no patch_level on coords, so it is not one of CLAM's coordinate files")
    tile_px = int(stated_size(coordinate_file, "patch_size of coords", beside.get("patch_size", "not there")))
    downsample = np.ravel(beside.get("downsample", 1.0))[:1]  # CLAM writes one for each axis, alike
    footprint = round(tile_px * stated_size(coordinate_file, "downsample of coords", downsample))
    tile_um = footprint * bag.mpp[0] if bag.mpp else None
    attributes = {**bag.attributes, "tile_px": tile_px}
    return replace(bag, footprint_level0=footprint, tile_px=tile_px, tile_um=tile_um, attributes=attributes)


def _check_values(path: Path, bag: ExchangeBag) -> None:
    if len(bag.coords) and len(bag.coords) != len(bag.features):
        raise ValueError(f"{path}: {len(bag.features)} embeddings and {len(bag.coords)} coordinates; {DAMAGED}")
    if not np.isfinite(bag.features).all():
        n_bad = int((~np.isfinite(bag.features)).any(axis=1).sum())
        raise ValueError(f"{path}: {n_bad} of {len(bag.features)} embeddings are not finite; make the features again")
