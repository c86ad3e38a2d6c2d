"""Embeddings of one slide in the layouts of CLAM, TRIDENT, STAMP and slideflow, and in our own; each file atomic.

Numbers that a layout cannot hold are refused, never bent: what is missing is named, with what to give. Same bag, same
bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.failures import SlideError
from common.files import replacing, write_json
from common.guards.hdf5_writing import writing_hdf5
from features.exchange.bag import (
    CLAM,
    LEVEL0,
    OWN,
    SLIDEFLOW,
    STAMP,
    TRIDENT,
    ExchangeBag,
    centres_of_corners,
    slideflow_footprint,
    um_of_corners,
)
from features.exchange.tensor_readers import BAGS_CONFIG
from features.store.feature_store import FeatureBag, write_feature_bag
from features.store.provenance import UNKNOWN, Provenance

CHUNK_TILES = 32
STAMP_VERSION = "2.0.0"  # its reader refuses versions newer than itself
MPP_REMEDY = "give the slide's scale with --mpp, or in a column mpp of the clinical table"
NAMES = {OWN: "own", CLAM: "clam", TRIDENT: "trident", STAMP: "stamp", SLIDEFLOW: "slideflow"}


def write_layout(root: Path, bag: ExchangeBag, to: str) -> list[Path]:
    """Write one slide below a folder, as the tool names its files.

    Args:
        root: the folder of the conversion.
        bag: the slide.
        to: "clam", "trident", "stamp", "slideflow" or "own".

    Returns:
        The files written.

    Raises:
        SlideError: the layout needs something that is not known of this slide, or cannot hold its numbers.
    """
    if bag.n_tiles == 0:
        raise SlideError("it has no tiles", "leave the slide out")
    return WRITERS[to](root, bag)


def _write_clam(root: Path, bag: ExchangeBag) -> list[Path]:
    """Write h5_files/ and pt_files/, and patches/ where the side of a tile is known (heatmaps read it there)."""
    features, name = bag.features.astype(np.float32), bag.slide_id
    written = []
    if bag.coords_unit == LEVEL0:
        corners = _int32(bag.coords)
        arrays = {"features": features, "coords": corners}
        written.append(_write_hdf5(root / "h5_files" / f"{name}.h5", arrays, {}))
        if bag.footprint_level0 is not None:
            known = bag.coords_attributes
            size = [int(_whole(known.get(side))) for side in ("level0_width", "level0_height")]
            beside = {
                "patch_size": np.int64(bag.footprint_level0), "patch_level": np.int64(0), "downsample": np.array([1.0, 1.0]),
                "downsampled_level_dim": np.array(size), "level_dim": np.array(size), "name": name, "save_path": "",
            }  # fmt: skip
            patches = root / "patches" / f"{name}.h5"
            written.append(_write_hdf5(patches, {"coords": bag.coords.astype(np.int64)}, {"coords": beside}))
    written.append(_write_tensor(root / "pt_files" / f"{name}.pt", features))
    return written


def _write_trident(root: Path, bag: ExchangeBag) -> list[Path]:
    corners, footprint = _corners(bag), bag.footprint_level0
    if footprint is None or bag.tile_px is None:
        raise SlideError("the side of its tiles is not known", "give CLAM's coordinate files with --coordinates DIR")
    known = bag.coords_attributes
    if not {"level0_magnification", "target_magnification"} <= set(known) and (bag.mpp is None or not bag.tile_um):
        raise SlideError("TRIDENT's layout wants magnifications, and the slide's scale is not known", MPP_REMEDY)
    if {"level0_magnification", "target_magnification"} <= set(known):
        level0, target = known["level0_magnification"], known["target_magnification"]
    else:
        assert bag.mpp is not None
        assert bag.tile_um is not None
        level0, target = round(10 / bag.mpp[0], 3), round(10 * bag.tile_px / bag.tile_um, 3)
    encoder, overlap = str(bag.provenance.encoder or UNKNOWN), int(known.get("overlap", 0))
    beside = {
        "patch_size": bag.tile_px, "patch_size_level0": footprint, "level0_magnification": level0,
        "target_magnification": target, "overlap": overlap, "name": bag.slide_id, "savetodir": "",
        "level0_width": known.get("level0_width", "None"), "level0_height": known.get("level0_height", "None"),
    }  # fmt: skip
    folder = root / f"{float(target):g}x_{bag.tile_px}px_{overlap}px_overlap" / f"features_{_folder_name(encoder)}"
    arrays = {"features": bag.features.astype(np.float32), "coords": corners}
    of_features = {"name": bag.slide_id, "savetodir": "", "encoder": encoder}
    return [_write_hdf5(folder / f"{bag.slide_id}.h5", arrays, {"features": of_features, "coords": beside})]


def _write_stamp(root: Path, bag: ExchangeBag) -> list[Path]:
    corners, mpp = _corners(bag), _mpp(bag)
    if not bag.tile_um or bag.tile_px is None:
        raise SlideError(
            "the size of its tiles in µm is not known", "give CLAM's coordinate files with --coordinates DIR"
        )
    with np.errstate(over="ignore"):
        narrow = bag.features.astype(np.float16)
    if not np.isfinite(narrow).all():
        raise SlideError("its embeddings exceed float16, which STAMP's layout keeps", "use another layout")
    try:
        coords_um = um_of_corners(corners, mpp)
    except ValueError as error:
        raise SlideError(str(error), "use another layout") from error
    extractor = str(bag.provenance.encoder or UNKNOWN)
    of_file = {
        "stamp_version": STAMP_VERSION, "extractor": extractor, "unit": "um", "tile_size_um": float(bag.tile_um),
        "tile_size_px": bag.tile_px, "code_hash": "converted", "feat_type": "tile",
    }  # fmt: skip
    path = root / _folder_name(extractor) / f"{bag.slide_id}.h5"
    return [_write_hdf5(path, {"coords": coords_um, "feats": narrow}, {}, of_file=of_file)]


def _write_slideflow(root: Path, bag: ExchangeBag) -> list[Path]:
    written = []
    index = root / f"{bag.slide_id}.index.npz"
    if bag.coords_unit == LEVEL0:
        if not bag.tile_um:
            raise SlideError("the size of its tiles in µm is not known", MPP_REMEDY)
        centres = centres_of_corners(bag.coords, slideflow_footprint(bag.tile_um, _mpp(bag)))
        with replacing(index) as partial, partial.open("wb") as file:
            np.savez(file, arr_0=centres)  # no clock time: zipfile's default date
        written.append(index)
    written.append(_write_tensor(root / f"{bag.slide_id}.pt", bag.features.astype(np.float32)))
    return written


def write_bags_config(root: Path, provenance: Provenance) -> None:
    """Write slideflow's bags_config.json; its class names no class of slideflow, which so refuses to rebuild it."""
    stated = provenance.record()
    stain, tile_um = stated.get("stain", UNKNOWN), stated.get("tile_um", UNKNOWN)
    fit = {"method": f"sarcoma_mil_{stain}", "fit": {"reference": provenance.stain_reference}}
    is_whole = isinstance(tile_um, float) and tile_um == int(tile_um)
    config = {
        "extractor": {"class": f"sarcoma_mil.{stated.get('encoder', UNKNOWN)}", "kwargs": {}},
        "normalizer": None if stain == "none" else fit, "num_features": provenance.n_features,
        "tile_px": stated.get("tile_px", UNKNOWN), "tile_um": int(tile_um) if is_whole else tile_um,
    }  # fmt: skip
    write_json(root / BAGS_CONFIG, config)


def _write_own(root: Path, bag: ExchangeBag) -> list[Path]:
    path = root / f"{bag.slide_id}.h5"
    attributes = dict(bag.attributes)
    if bag.layout != OWN and bag.mpp is not None and "mpp_x" not in attributes:
        attributes |= {"mpp_x": bag.mpp[0], "mpp_y": bag.mpp[1], "mpp_source": f"given with {bag.layout} features"}
    own = FeatureBag(
        slide_id=bag.slide_id, features=bag.features, coords=_corners(bag), unreadable=bag.unreadable, attributes=attributes,
        image_index=bag.image_index,
    )  # fmt: skip
    beside = dict(bag.coords_attributes)
    if bag.footprint_level0 is not None and "image_index" not in attributes and not len(bag.image_index):
        beside.setdefault("patch_size_level0", bag.footprint_level0)
    write_feature_bag(path, own, coords_attributes=beside)
    return [path]


WRITERS: dict[str, Callable[[Path, ExchangeBag], list[Path]]] = {
    "clam": _write_clam,
    "trident": _write_trident,
    "stamp": _write_stamp,
    "slideflow": _write_slideflow,
    "own": _write_own,
}


def _corners(bag: ExchangeBag) -> np.ndarray:
    if bag.coords_unit != LEVEL0:
        if bag.coords_unit == UNKNOWN:
            raise SlideError(
                f"its {bag.layout} file does not say where the tiles are", "use the layout's .h5 or index files"
            )
        raise SlideError(f"its coordinates are in {bag.coords_unit}, and the slide's scale is not known", MPP_REMEDY)
    return bag.coords.astype(np.int64)


def _mpp(bag: ExchangeBag) -> float:
    if bag.mpp is None:
        raise SlideError("the slide's scale is not known", MPP_REMEDY)
    return bag.mpp[0]


def _folder_name(text: str) -> str:
    """Return an encoder's name as a folder's: what a foreign file calls it may hold slashes and dots."""
    return re.sub(r"[^\w.+-]+", "_", text).lstrip(".") or UNKNOWN


def _int32(coords: np.ndarray) -> np.ndarray:
    if len(coords) and np.abs(coords).max() > np.iinfo(np.int32).max:
        raise SlideError("its coordinates exceed int32, which CLAM's layout keeps", "use another layout")
    return coords.astype(np.int32)


def _whole(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _write_hdf5(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    array_attributes: Mapping[str, Mapping[str, Any]],
    *,
    of_file: Mapping[str, Any] | None = None,
) -> Path:
    """Write arrays that can grow by rows, as the peers make them, each with its attributes."""
    with replacing(path) as partial, writing_hdf5(partial) as file:
        for name, array in arrays.items():
            shape = array.shape[1:]
            rows = min(CHUNK_TILES, len(array))
            dataset = file.create_dataset(name, data=array, chunks=(rows, *shape), maxshape=(None, *shape))
            for key, value in array_attributes.get(name, {}).items():
                dataset.attrs[key] = value
        for key, value in (of_file or {}).items():
            file.attrs[key] = value
    return path


def _write_tensor(path: Path, features: np.ndarray) -> Path:
    """Write a .pt file whose bytes do not depend on its name."""
    import torch

    buffer = io.BytesIO()
    torch.save(torch.from_numpy(features), buffer)
    with replacing(path) as partial:
        partial.write_bytes(buffer.getvalue())
    return path
