"""The side file of a converted slide: what other tools' layouts have no place for, so that the way back is exact.

provenance/<slide_id>.json beside the converted files: encoder, licence, scale, footprint, and the sha256 of each file
written, by which a finished conversion is known and a file changed since is found out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from common.files import write_json
from features.exchange.bag import ExchangeBag

SCHEMA, FOLDER = "exchange/1", "provenance"
DEPTH = 3  # folders between a feature file and the folder of its conversion, at most


def record_file(root: Path, slide_id: str) -> Path:
    """Return the side file of a slide in a folder of converted files."""
    return root / FOLDER / f"{slide_id}.json"


def write_record(root: Path, bag: ExchangeBag, *, settings: Mapping[str, Any], files: Sequence[Path]) -> None:
    """Write a slide's side file, after its files are whole."""
    known = {
        "schema": SCHEMA, "slide_id": bag.slide_id, "settings": dict(settings),
        "files": {path.relative_to(root).as_posix(): sha256_of(path) for path in files},
        "dtype": bag.features.dtype.name, "n_tiles": bag.n_tiles,
        "footprint_level0": bag.footprint_level0, "mpp": list(bag.mpp) if bag.mpp else None, "tile_um": bag.tile_um,
        "tile_px": bag.tile_px, "attributes": dict(bag.attributes), "coords_attributes": dict(bag.coords_attributes),
        "unreadable": bag.unreadable.tolist(), "image_index": bag.image_index.tolist(),
    }  # fmt: skip
    write_json(record_file(root, bag.slide_id), known)


def find_record(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the folder of the conversion a feature file belongs to and its side file's content, if it has one."""
    for root in list(path.parents)[:DEPTH]:
        side_file = record_file(root, path.name.removesuffix(path.suffix))
        if not side_file.is_file():
            continue
        record = read_record(side_file)
        if record is not None and path.relative_to(root).as_posix() in record["files"]:
            return root, record
    return None


def read_record(side_file: Path) -> dict[str, Any] | None:
    """Return a side file's content; None when there is none, or it is no such file."""
    try:
        record = json.loads(side_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        return None
    names = [PurePosixPath(name) for name in record["files"]]
    is_inside = not any(name.is_absolute() or ".." in name.parts for name in names)
    return record if is_inside else None  # a side file from elsewhere must not reach out of its folder


def is_finished(root: Path, slide_id: str, settings: Mapping[str, Any]) -> bool:
    """Say whether a slide was converted with these settings and all its files are as they were written."""
    record = read_record(record_file(root, slide_id))
    if record is None or record["settings"] != dict(settings):
        return False
    return all((root / name).is_file() and sha256_of(root / name) == own for name, own in record["files"].items())


def check_unchanged(path: Path, root: Path, record: Mapping[str, Any]) -> None:
    """Refuse a file that is not the one its side file tells of.

    Raises:
        ValueError: names the side file.
    """
    if sha256_of(path) != record["files"][path.relative_to(root).as_posix()]:
        raise ValueError(
            f"{path}: it was changed after its conversion; convert it again, or delete {record_file(root, record['slide_id'])} "
            "to read it as a file of its tool"
        )


def with_record(bag: ExchangeBag, record: Mapping[str, Any]) -> ExchangeBag:
    """Return a bag with what its side file knows: number type, scale, footprint, encoder."""
    mpp = record["mpp"]
    return replace(
        bag,
        features=bag.features.astype(record["dtype"]),
        footprint_level0=record["footprint_level0"],
        mpp=None if mpp is None else (float(mpp[0]), float(mpp[1])),
        tile_um=record["tile_um"],
        tile_px=record["tile_px"],
        attributes=record["attributes"],
        coords_attributes=record["coords_attributes"],
        unreadable=np.array(record["unreadable"], dtype=np.int64),
        image_index=np.array(record["image_index"], dtype=np.int64),
    )


def sha256_of(path: Path) -> str:
    """Return the sha256 of a whole file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
