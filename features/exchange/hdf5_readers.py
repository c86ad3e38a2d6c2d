"""Layouts of feature files in HDF5, told apart by their datasets and attributes: one entry of FORMATS a layout.

| layout | known by | coordinates |
|---|---|---|
| sarcoma-mil | file attribute schema "features/..." | level-0 corners |
| slide vectors | one vector in `features` or `feats`, alone or beside the places of many tiles | none |
| stamp | `feats` (or `patch_embeddings`) | micrometres; level 0 once the slide's mpp is known |
| trident | `features`, and `patch_size_level0` on `coords` | level-0 corners; sides and magnifications on `coords` |
| tile-names | `features` and `metadata` (names of tile images) | none |
| clam | `features` and bare `coords`, or none | level-0 corners; the side stands in CLAM's patches/ |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.guards.hdf5_files import reading_hdf5
from features.exchange.bag import (
    CLAM,
    DAMAGED,
    LEVEL0,
    MICROMETRES,
    NO_COORDS,
    OWN,
    SLIDE_VECTORS,
    STAMP,
    TILE_NAMES,
    TRIDENT,
    ExchangeBag,
    Source,
    coordinate_stride,
    corners_of_um,
    embedding_rows,
    foreign_attributes,
    stamp_footprint,
    stated_size,
)
from features.store.feature_store import SCHEMA, read_feature_bag
from features.store.provenance import UNKNOWN

if TYPE_CHECKING:
    import h5py

HEADER_ARRAYS = ("coords",)  # whose values are read, of any layout
READ_ARRAYS = ("features", "feats", "patch_embeddings", *HEADER_ARRAYS)
OF_THE_FILE = ("schema", "slide_id", "content_sha256")  # written anew with every file


def read_hdf5(source: Source) -> ExchangeBag:
    """Read an HDF5 file by the first of FORMATS that it has.

    Raises:
        ValueError: it is truncated, damaged, or of no layout known here, or reaches into other files.
    """
    path = source.path
    try:
        with reading_hdf5(path, arrays=HEADER_ARRAYS if source.is_header else READ_ARRAYS) as file:
            for known in FORMATS:
                if known.fits(file):
                    return known.read(source, file)
            names = ", ".join(_name_and_shape(file, name) for name in file) or "nothing"
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path}: not a complete HDF5 file ({error}); {DAMAGED}") from error
    if "coords" in names:
        raise ValueError(f"{path}: it holds coordinates and no embeddings; give the folder of feature files")
    raise ValueError(
        f"{path}: no layout known here: it holds {names}; wanted features of CLAM, TRIDENT, STAMP, slideflow or sarcoma-mil"
    )


def _name_and_shape(file: h5py.File, name: str) -> str:
    import h5py

    member = file[name]
    return f"{name} {member.shape if isinstance(member, h5py.Dataset) else '(group)'}"


def _own(source: Source, file: h5py.File) -> ExchangeBag:
    mpp = source.mpp
    coords_attributes = {key: _plain(value) for key, value in file["coords"].attrs.items()}
    n_tiles = len(file["features"])
    if source.is_header:
        attributes = {key: _plain(value) for key, value in file.attrs.items()}
        if attributes["schema"] != SCHEMA:
            raise ValueError(
                f"{source.path}: format {attributes['schema']}, not {SCHEMA}; rerun features/extract_features.py"
            )
        arrays: dict[str, np.ndarray] = {"features": file["features"][:0], "coords": NO_COORDS}
    else:
        own = read_feature_bag(source.path)
        attributes = dict(own.attributes)
        arrays = {"features": own.features, "coords": own.coords}
        arrays |= {"unreadable": own.unreadable, "image_index": own.image_index}
    if "mpp_x" in attributes:
        mpp = (_size(source, "mpp_x", attributes["mpp_x"]), _size(source, "mpp_y", attributes["mpp_y"]))
    tile_um, tile_px = _number(attributes.get("tile_um")), _number(attributes.get("tile_px"))
    footprint = None
    if "patch_size_level0" in coords_attributes:
        footprint = _size(source, "patch_size_level0 of coords", coords_attributes["patch_size_level0"])
    elif "images" in attributes:  # a tile table: corners are pixels of the images themselves
        footprint = tile_px
        tile_um = tile_px * mpp[0] if mpp and tile_px else None
    elif tile_um and mpp:
        footprint = round(tile_um / mpp[0])
    return ExchangeBag(
        slide_id=source.slide_id, layout=OWN, coords_unit=LEVEL0, n_tiles=n_tiles, mpp=mpp, tile_um=tile_um,
        footprint_level0=int(footprint) if footprint else None, tile_px=int(tile_px) if tile_px else None,
        coords_attributes=coords_attributes,
        attributes={key: value for key, value in attributes.items() if key not in OF_THE_FILE}, **arrays,
    )  # fmt: skip


def _trident(source: Source, file: h5py.File) -> ExchangeBag:
    features, n_tiles = embedding_rows(source.path, file["features"], is_header=source.is_header)
    beside = {key: _plain(value) for key, value in file["coords"].attrs.items()}
    footprint, tile_px = (
        int(_size(source, f"{name} of coords", beside[name])) for name in ("patch_size_level0", "patch_size")
    )
    magnification = {name: beside.get(name, UNKNOWN) for name in ("target_magnification", "overlap")}
    encoder = str(_plain(file["features"].attrs.get("encoder", UNKNOWN)))
    return ExchangeBag(
        slide_id=source.slide_id, layout=TRIDENT, features=features, coords=_corners(source, file), coords_unit=LEVEL0,
        n_tiles=n_tiles, attributes=foreign_attributes(encoder=encoder, tile_px=tile_px) | magnification,
        footprint_level0=footprint, mpp=source.mpp, tile_um=footprint * source.mpp[0] if source.mpp else None,
        tile_px=tile_px, coords_attributes=beside,
    )  # fmt: skip


def _slide_vector(source: Source, file: h5py.File) -> ExchangeBag:
    array = file["features" if "features" in file else "feats"]
    features, n_tiles = embedding_rows(source.path, array, is_header=source.is_header)
    stated = array.attrs.get("encoder", file.attrs.get("encoder", file.attrs.get("extractor", UNKNOWN)))
    return ExchangeBag(
        slide_id=source.slide_id, layout=SLIDE_VECTORS, features=features, coords=NO_COORDS, coords_unit=UNKNOWN,
        n_tiles=n_tiles, attributes=foreign_attributes(encoder=str(_plain(stated))), mpp=source.mpp,
    )  # fmt: skip


def _clam(source: Source, file: h5py.File) -> ExchangeBag:
    features, n_tiles = embedding_rows(source.path, file["features"], is_header=source.is_header)
    has_coords = "coords" in file
    return ExchangeBag(
        slide_id=source.slide_id, layout=CLAM, features=features, coords=_corners(source, file) if has_coords else NO_COORDS,
        coords_unit=LEVEL0 if has_coords else UNKNOWN, n_tiles=n_tiles, attributes=foreign_attributes(), mpp=source.mpp,
    )  # fmt: skip


def _tile_names(source: Source, file: h5py.File) -> ExchangeBag:
    features, n_tiles = embedding_rows(source.path, file["features"], is_header=source.is_header)
    return ExchangeBag(
        slide_id=source.slide_id, layout=TILE_NAMES, features=features, coords=NO_COORDS, coords_unit=UNKNOWN,
        n_tiles=n_tiles, attributes=foreign_attributes(), mpp=source.mpp,
    )  # fmt: skip


def _stamp(source: Source, file: h5py.File) -> ExchangeBag:
    mpp = source.mpp
    kind = str(_plain(file.attrs.get("feat_type", "tile")))
    if kind != "tile":
        raise ValueError(
            f"{source.path}: it holds one vector of the whole {kind}; wanted STAMP's features of tiles or slides"
        )
    features, n_tiles = embedding_rows(
        source.path, file["feats" if "feats" in file else "patch_embeddings"], is_header=source.is_header
    )
    coords = _two_columns(source.path, file["coords"][()]) if "coords" in file else NO_COORDS
    of_file = {key: _plain(value) for key, value in file.attrs.items()}
    tile_um, tile_px, side = (_stated(source, of_file, f"tile_size{unit}") for unit in ("_um", "_px", ""))
    if str(of_file.get("unit")) == "um" and side:  # STAMP 2.0
        tile_um = side
    stride = side or coordinate_stride(coords)
    if not tile_um and stride is not None and round(stride) == 224:  # its first releases: 256 µm as 224 px
        coords, tile_um, tile_px = coords / 224 * 256, 256.0, 224.0
    unit = MICROMETRES if tile_um else UNKNOWN
    footprint = None
    if tile_um and mpp is not None and len(coords):
        coords, unit, footprint = corners_of_um(coords, mpp[0]), LEVEL0, stamp_footprint(tile_um, mpp[0])
    attributes = foreign_attributes(
        encoder=str(of_file.get("extractor", UNKNOWN)),
        tile_um=tile_um or UNKNOWN,
        tile_px=int(tile_px) if tile_px else UNKNOWN,
    )
    return ExchangeBag(
        slide_id=source.slide_id, layout=STAMP, features=features, coords=NO_COORDS if source.is_header else coords,
        coords_unit=unit if len(coords) else UNKNOWN, n_tiles=n_tiles, attributes=attributes, footprint_level0=footprint,
        mpp=mpp, tile_um=tile_um, tile_px=int(tile_px) if tile_px else None,
    )  # fmt: skip


def _is_own(file: h5py.File) -> bool:
    return str(file.attrs.get("schema", "")).startswith("features/")


def _is_slide_vector(file: h5py.File) -> bool:
    import h5py

    array = file.get("features", file.get("feats"))
    if not isinstance(array, h5py.Dataset) or str(_plain(file.attrs.get("feat_type", "slide"))) not in (
        "slide",
        "tile",
    ):
        return False
    if array.ndim == 1:
        return array.shape != (0,)
    if array.ndim != 2 or array.shape[0] != 1:
        return False
    coords = file.get("coords")
    has_many_places = isinstance(coords, h5py.Dataset) and coords.ndim == 2 and coords.shape[0] > 1
    return has_many_places or str(_plain(file.attrs.get("feat_type", ""))) == "slide"


def _is_stamp(file: h5py.File) -> bool:
    return "feats" in file or "patch_embeddings" in file


def _is_trident(file: h5py.File) -> bool:
    return _is_clam(file) and "coords" in file and "patch_size_level0" in file["coords"].attrs


def _is_tile_names(file: h5py.File) -> bool:
    return _is_clam(file) and "coords" not in file and "metadata" in file


def _is_clam(file: h5py.File) -> bool:
    import h5py

    return isinstance(file.get("features"), h5py.Dataset)


@dataclass(frozen=True)
class Hdf5Format:
    """A layout: how a file of it is known, and how it is read."""

    layout: str
    fits: Callable[[h5py.File], bool]
    read: Callable[[Source, h5py.File], ExchangeBag]


FORMATS = (  # the first that fits is taken: the one that asks for least comes last
    Hdf5Format(OWN, _is_own, _own),
    Hdf5Format(SLIDE_VECTORS, _is_slide_vector, _slide_vector),
    Hdf5Format(STAMP, _is_stamp, _stamp),
    Hdf5Format(TRIDENT, _is_trident, _trident),
    Hdf5Format(TILE_NAMES, _is_tile_names, _tile_names),
    Hdf5Format(CLAM, _is_clam, _clam),
)


def _corners(source: Source, file: h5py.File) -> np.ndarray:
    return NO_COORDS if source.is_header else np.round(_two_columns(source.path, file["coords"][()])).astype(np.int64)


def _two_columns(path: Path, coords: np.ndarray) -> np.ndarray:
    coords = coords[0] if coords.ndim == 3 and len(coords) == 1 else coords
    if coords.shape == (0,):
        return NO_COORDS
    if coords.ndim != 2 or coords.shape[1] != 2:
        raise ValueError(f"{path}: coords of shape {coords.shape}; wanted x and y of every tile")
    return coords


def _plain(value: Any) -> Any:
    """Return an attribute's value; another kind than text and numbers, as a peer may write it, stays as it is."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value.item() if isinstance(value, np.generic) else value


def _size(source: Source, name: str, value: object) -> float:
    return stated_size(source.path, name, value)


def _stated(source: Source, attributes: Mapping[str, object], name: str) -> float | None:
    """Return a size of the file; None where it states none, or 0."""
    value = attributes.get(name)
    is_none = value is None or (isinstance(value, int | float | str) and not value)
    return None if is_none else _size(source, name, value)


def _number(value: object) -> float | None:
    """Return a size; None for "unknown" and for 0, which tile tables carry."""
    return float(value) if isinstance(value, int | float) and value > 0 else None
