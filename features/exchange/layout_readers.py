"""Feature files of other tools, told apart by their datasets and attributes, one slide a file.

| layout | told by | coordinates |
|---|---|---|
| sarcoma-mil | file attribute schema "features/..." | level-0 corners |
| trident | `features`, and `patch_size_level0` on `coords` | level-0 corners; sides and magnifications on `coords` |
| clam | `features` and bare `coords`, or a .pt tensor | level-0 corners; the side stands in CLAM's patches/ |
| stamp | `feats` (or `patch_embeddings`) | micrometres; level 0 once the slide's mpp is known |
| slideflow | .pt tensor with .index.npz or bags_config.json beside it | level-0 centres; corners once the mpp is known |
| tile-names | `features` and `metadata` (names of tile images) | none |

A .pt file is loaded as tensors only, so nothing in it can run.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.hdf5_files import reading_hdf5
from features.exchange.bag import (
    CLAM,
    DAMAGED,
    LEVEL0,
    MICROMETRES,
    NO_COORDS,
    OWN,
    STAMP,
    TILE_NAMES,
    TRIDENT,
    UNKNOWN,
    ExchangeBag,
    coordinate_stride,
    corners_of_um,
    embedding_rows,
    foreign_attributes,
    stamp_footprint,
)
from features.exchange.record import check_unchanged, find_record, with_record
from features.exchange.tensor_readers import read_tensor
from features.store.feature_store import SCHEMA, read_feature_bag

if TYPE_CHECKING:
    import h5py

OF_THE_FILE = ("schema", "slide_id", "content_sha256")  # written anew with every file


def read_exchange_bag(
    path: Path,
    slide_id: str,
    *,
    mpp: tuple[float, float] | None = None,
    coordinate_file: Path | None = None,
    is_header: bool = False,
) -> ExchangeBag:
    """Read a feature file of any layout.

    Args:
        path: the file.
        slide_id: the slide it belongs to.
        mpp: µm a level-0 pixel on x and y, if known; what a conversion wrote down beside the file wins.
        coordinate_file: CLAM's coordinate file of the slide, which alone has the side of a tile.
        is_header: read the facts and no rows.

    Raises:
        ValueError: the file is truncated, damaged, of no layout known here, or holds no tile features.
    """
    found = find_record(path)
    record = None if found is None else found[1]
    if found is not None and not is_header:
        check_unchanged(path, *found)
    if record is not None and record["mpp"]:
        mpp = (float(record["mpp"][0]), float(record["mpp"][1]))
    if path.suffix == ".pt":
        bag = read_tensor(path, slide_id, mpp, is_header=is_header)
    else:
        bag = _read_hdf5(path, slide_id, mpp, is_header=is_header)
    if record is not None:
        bag = with_record(bag, record)
    elif bag.layout == CLAM and coordinate_file is not None:
        bag = _with_clam_sides(bag, coordinate_file)
    if not is_header and bag.layout != OWN:
        _check_values(path, bag)
    return bag


def _read_hdf5(path: Path, slide_id: str, mpp: tuple[float, float] | None, *, is_header: bool) -> ExchangeBag:
    import h5py

    try:
        with reading_hdf5(path) as file:
            schema = str(file.attrs.get("schema", ""))
            if schema.startswith("features/"):
                return _own(path, slide_id, file, mpp, is_header=is_header)
            if "feats" in file or "patch_embeddings" in file:
                return _stamp(path, slide_id, file, mpp, is_header=is_header)
            if isinstance(file.get("features"), h5py.Dataset):
                return _clam_or_trident(path, slide_id, file, mpp, is_header=is_header)
            names = ", ".join(f"{name} {getattr(file[name], 'shape', '(group)')}" for name in file) or "nothing"
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path}: not a complete HDF5 file ({error}); {DAMAGED}") from error
    if "coords" in names:
        raise ValueError(f"{path}: it holds coordinates and no embeddings; give the folder of feature files")
    raise ValueError(
        f"{path}: no layout known here: it holds {names}; wanted features of CLAM, TRIDENT, STAMP, slideflow or sarcoma-mil"
    )


def _own(
    path: Path, slide_id: str, file: h5py.File, mpp: tuple[float, float] | None, *, is_header: bool
) -> ExchangeBag:
    coords_attributes = {key: _plain(value) for key, value in file["coords"].attrs.items()}
    n_tiles = len(file["features"])
    if is_header:
        attributes = {key: _plain(value) for key, value in file.attrs.items()}
        if attributes["schema"] != SCHEMA:
            raise ValueError(f"{path}: format {attributes['schema']}, not {SCHEMA}; rerun features/extract_features.py")
        arrays: dict[str, Any] = {"features": file["features"][:0], "coords": NO_COORDS}
    else:
        own = read_feature_bag(path)
        attributes = dict(own.attributes)
        arrays = {"features": own.features, "coords": own.coords}
        arrays |= {"unreadable": own.unreadable, "image_index": own.image_index}
    if "mpp_x" in attributes:
        mpp = (float(attributes["mpp_x"]), float(attributes["mpp_y"]))
    tile_um, tile_px = _number(attributes.get("tile_um")), _number(attributes.get("tile_px"))
    footprint = coords_attributes.get("patch_size_level0")
    if footprint is None and "images" in attributes:  # a tile table: corners are pixels of the images themselves
        footprint = tile_px
        tile_um = tile_px * mpp[0] if mpp and tile_px else None
    elif footprint is None and tile_um and mpp:
        footprint = round(tile_um / mpp[0])
    return ExchangeBag(
        slide_id=slide_id, layout=OWN, coords_unit=LEVEL0, n_tiles=n_tiles, mpp=mpp, tile_um=tile_um,
        footprint_level0=int(footprint) if footprint else None, tile_px=int(tile_px) if tile_px else None,
        coords_attributes=coords_attributes,
        attributes={key: value for key, value in attributes.items() if key not in OF_THE_FILE}, **arrays,
    )  # fmt: skip


def _clam_or_trident(
    path: Path, slide_id: str, file: h5py.File, mpp: tuple[float, float] | None, *, is_header: bool
) -> ExchangeBag:
    features, n_tiles = embedding_rows(path, file["features"], is_header=is_header)
    if "coords" not in file:
        attributes = foreign_attributes()
        layout = TILE_NAMES if "metadata" in file else CLAM
        return ExchangeBag(
            slide_id=slide_id, layout=layout, features=features, coords=NO_COORDS, coords_unit=UNKNOWN, n_tiles=n_tiles,
            attributes=attributes, mpp=mpp,
        )  # fmt: skip
    beside = {key: _plain(value) for key, value in file["coords"].attrs.items()}
    coords = NO_COORDS if is_header else np.round(_two_columns(path, file["coords"][()])).astype(np.int64)
    if "patch_size_level0" not in beside:
        return ExchangeBag(
            slide_id=slide_id, layout=CLAM, features=features, coords=coords, coords_unit=LEVEL0, n_tiles=n_tiles,
            attributes=foreign_attributes(), mpp=mpp,
        )  # fmt: skip
    footprint, tile_px = int(beside["patch_size_level0"]), int(beside["patch_size"])
    told = {name: beside.get(name, UNKNOWN) for name in ("target_magnification", "overlap")}
    encoder = str(_plain(file["features"].attrs.get("encoder", UNKNOWN)))
    return ExchangeBag(
        slide_id=slide_id, layout=TRIDENT, features=features, coords=coords, coords_unit=LEVEL0, n_tiles=n_tiles,
        attributes=foreign_attributes(encoder=encoder, tile_px=tile_px) | told, footprint_level0=footprint, mpp=mpp,
        tile_um=footprint * mpp[0] if mpp else None, tile_px=tile_px, coords_attributes=beside,
    )  # fmt: skip


def _stamp(
    path: Path, slide_id: str, file: h5py.File, mpp: tuple[float, float] | None, *, is_header: bool
) -> ExchangeBag:
    kind = str(_plain(file.attrs.get("feat_type", "tile")))
    if kind != "tile":
        raise ValueError(f"{path}: it holds one vector of the whole {kind}; wanted STAMP's features of tiles")
    features, n_tiles = embedding_rows(
        path, file["feats" if "feats" in file else "patch_embeddings"], is_header=is_header
    )
    coords = _two_columns(path, file["coords"][()]) if "coords" in file else NO_COORDS
    told = {key: _plain(value) for key, value in file.attrs.items()}
    tile_um, tile_px = told.get("tile_size_um"), told.get("tile_size_px")
    if told.get("unit") == "um" and told.get("tile_size"):  # STAMP 2.0
        tile_um = told["tile_size"]
    stride = told.get("tile_size", coordinate_stride(coords))
    if not tile_um and stride is not None and round(float(stride)) == 224:  # its first releases: 256 µm as 224 px
        coords, tile_um, tile_px = coords / 224 * 256, 256.0, 224
    unit = MICROMETRES if tile_um else UNKNOWN
    footprint = None
    if tile_um and mpp is not None and len(coords):
        coords, unit, footprint = corners_of_um(coords, mpp[0]), LEVEL0, stamp_footprint(float(tile_um), mpp[0])
    attributes = foreign_attributes(
        encoder=str(told.get("extractor", UNKNOWN)),
        tile_um=float(tile_um) if tile_um else UNKNOWN,
        tile_px=int(tile_px) if tile_px else UNKNOWN,
    )
    return ExchangeBag(
        slide_id=slide_id, layout=STAMP, features=features, coords=NO_COORDS if is_header else coords,
        coords_unit=unit if len(coords) else UNKNOWN, n_tiles=n_tiles, attributes=attributes, footprint_level0=footprint,
        mpp=mpp, tile_um=float(tile_um) if tile_um else None, tile_px=int(tile_px) if tile_px else None,
    )  # fmt: skip


def _with_clam_sides(bag: ExchangeBag, coordinate_file: Path) -> ExchangeBag:
    """Add the side of a tile out of CLAM's coordinate file, whose patch_size counts pixels of patch_level."""
    if not coordinate_file.is_file():
        return bag
    try:
        with reading_hdf5(coordinate_file) as file:
            told = dict(file["coords"].attrs)
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(f"{coordinate_file}: not a complete HDF5 file of coordinates ({error}); {DAMAGED}") from error
    if "patch_level" not in told:
        raise ValueError(f"{coordinate_file}: no patch_level on coords, so it is not one of CLAM's coordinate files")
    tile_px = int(told["patch_size"])
    footprint = round(tile_px * float(np.atleast_1d(told.get("downsample", 1.0))[0]))
    tile_um = footprint * bag.mpp[0] if bag.mpp else None
    attributes = {**bag.attributes, "tile_px": tile_px}
    return replace(bag, footprint_level0=footprint, tile_px=tile_px, tile_um=tile_um, attributes=attributes)


def _two_columns(path: Path, coords: np.ndarray) -> np.ndarray:
    coords = coords[0] if coords.ndim == 3 and len(coords) == 1 else coords
    if coords.shape == (0,):
        return NO_COORDS
    if coords.ndim != 2 or coords.shape[1] != 2:
        raise ValueError(f"{path}: coords of shape {coords.shape}; wanted x and y of every tile")
    return coords


def _check_values(path: Path, bag: ExchangeBag) -> None:
    if len(bag.coords) and len(bag.coords) != len(bag.features):
        raise ValueError(f"{path}: {len(bag.features)} embeddings and {len(bag.coords)} coordinates; {DAMAGED}")
    if not np.isfinite(bag.features).all():
        n_bad = int((~np.isfinite(bag.features)).any(axis=1).sum())
        raise ValueError(f"{path}: {n_bad} of {len(bag.features)} embeddings are not finite; make the features again")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value.item() if isinstance(value, np.generic) else value


def _number(value: Any) -> float | None:
    """Return a size; None for "unknown" and for 0, which tile tables carry."""
    return float(value) if isinstance(value, int | float) and value > 0 else None
