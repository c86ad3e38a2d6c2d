"""Embeddings as one tensor in a .pt file: CLAM's training files, and slideflow's with their index of tile centres.

A .pt file is loaded as tensors only, so nothing in it can run.
"""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from common.guards.hdf5_contents import MAX_PACKING
from features.exchange.bag import (
    CENTRES,
    CLAM,
    DAMAGED,
    LEVEL0,
    NO_COORDS,
    SLIDE_VECTORS,
    SLIDEFLOW,
    ExchangeBag,
    Source,
    corners_of_centres,
    embedding_rows,
    foreign_attributes,
    slideflow_footprint,
    stated_size,
)
from features.store.provenance import UNKNOWN

BAGS_CONFIG = "bags_config.json"


def read_tensor(source: Source) -> ExchangeBag:
    """Read a .pt file: slideflow's when it has an index or a bags_config.json beside it, else CLAM's.

    Raises:
        ValueError: it is damaged, holds something else than one tensor, or its companions are damaged.
    """
    import torch

    path = source.path
    try:
        try:
            tensor = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # written in the format before torch 1.6, which cannot be mapped
            tensor = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file of another kind
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path}: not a file of one tensor ({first}); either {DAMAGED}. Other pickled content is not loaded"
        ) from error
    if not isinstance(tensor, torch.Tensor):
        raise ValueError(f"{path}: wanted one tensor (tiles, width), found {type(tensor).__name__}")
    claimed, on_disk = tensor.numel() * tensor.element_size(), path.stat().st_size
    if claimed > on_disk:  # rows that stand for many, which would be written out in memory
        raise ValueError(f"{path}: its tensor claims {claimed:,} bytes in a file of {on_disk:,}; {DAMAGED}")
    tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    features, n_tiles = embedding_rows(path, tensor.detach().numpy(), is_header=source.is_header)
    is_slide_vector = tensor.ndim == 1 and n_tiles > 0
    index = next((own for own in (_beside(path, ".index.npz"), _beside(path, ".index.npy")) if own.is_file()), None)
    if is_slide_vector or (index is None and not (path.parent / BAGS_CONFIG).is_file()):
        return ExchangeBag(
            slide_id=source.slide_id, layout=SLIDE_VECTORS if is_slide_vector else CLAM, features=features,
            coords=NO_COORDS, coords_unit=UNKNOWN, n_tiles=n_tiles, attributes=foreign_attributes(), mpp=source.mpp,
        )  # fmt: skip
    return _slideflow(source, features, n_tiles, None if source.is_header else index)


def _slideflow(source: Source, features: np.ndarray, n_tiles: int, index: Path | None) -> ExchangeBag:
    mpp = source.mpp
    record = source.path.parent / BAGS_CONFIG
    config = _bags_config(record)
    given_um, tile_px = config.get("tile_um"), config.get("tile_px")
    is_um = bool(given_um) and not isinstance(given_um, str)  # "20x" has no size in µm
    tile_um = stated_size(record, "tile_um", given_um) if is_um else None
    tile_px = int(stated_size(record, "tile_px", tile_px)) if tile_px else None
    normaliser = config.get("normalizer")
    colour = {"stain": UNKNOWN, "stain_reference": UNKNOWN} if "normalizer" not in config else {
        "stain": "none" if normaliser is None else str(normaliser["method"]),
        "stain_reference": "none" if normaliser is None else json.dumps(normaliser.get("fit"), sort_keys=True),
    }  # fmt: skip
    extractor = config.get("extractor") or {}
    attributes = foreign_attributes(
        encoder=str(extractor.get("class", UNKNOWN)).rpartition(".")[2],
        tile_um=tile_um or (str(given_um) if given_um else UNKNOWN),
        tile_px=tile_px or UNKNOWN,
    )
    coords, unit, footprint = NO_COORDS, UNKNOWN, None
    if tile_um is not None and mpp is not None:
        footprint = slideflow_footprint(tile_um, mpp[0])
    if index is not None and (centres := _centres(index)) is not None:
        coords, unit = centres, CENTRES
        if footprint is not None:
            coords, unit = corners_of_centres(centres, footprint), LEVEL0
    return ExchangeBag(
        slide_id=source.slide_id, layout=SLIDEFLOW, features=features, coords=coords, coords_unit=unit, n_tiles=n_tiles,
        attributes=attributes | colour, footprint_level0=footprint, mpp=mpp, tile_um=tile_um,
        tile_px=tile_px,
    )  # fmt: skip


def _bags_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not readable as JSON ({error}); {DAMAGED}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path}: wanted extractor, normalizer, tile_px and tile_um, found {type(config).__name__}")
    for name, needed in (("extractor", ()), ("normalizer", ("method",))):
        part = config.get(name)
        if part is not None and not (isinstance(part, dict) and all(key in part for key in needed)):
            wanted = "a mapping" + "".join(f" with {key}" for key in needed)
            raise ValueError(f"{path}: {name} is {str(part)[:60]!r}; wanted {wanted}, as slideflow writes it")
    return config


def _centres(index: Path) -> np.ndarray | None:
    """Return slideflow's tile centres; None for an index of TFRecords, which has the same name and other numbers."""
    try:
        _check_claims(index)
        content = np.load(index, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content.astype(np.int64)
        with content:
            return None if "locations" in content.files else content["arr_0"].astype(np.int64)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{index}: not a readable index of tile centres ({error}); {DAMAGED}") from error


def _check_claims(index: Path) -> None:
    """Refuse arrays that claim more bytes than are there, before memory is asked for.

    Raises:
        ValueError: names the array.
    """
    if not zipfile.is_zipfile(index):
        with index.open("rb") as file:
            _check_claim(file, index.name, index.stat().st_size)
        return
    with zipfile.ZipFile(index) as archive:
        for member in archive.infolist():
            if member.file_size > MAX_PACKING * max(1, member.compress_size):
                raise ValueError(f"{member.filename} is packed more densely than can be")
            with archive.open(member) as file:
                _check_claim(file, member.filename, member.file_size)


def _check_claim(file: Any, name: str, n_bytes: int) -> None:
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, dtype = header[np.lib.format.read_magic(file)](file)
    if math.prod(shape) * dtype.itemsize > n_bytes:
        raise ValueError(f"{name} claims {math.prod(shape) * dtype.itemsize:,} bytes and has {n_bytes:,}")


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name.removesuffix(".pt") + ending)
