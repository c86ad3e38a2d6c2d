"""The folder of a slide's exported tiles: image files with a record of what they were made of; it appears whole or not."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from common.failures import SlideError
from common.files import left_behind, partial_path, save_picture, settings_text, write_text, writing

FORMATS = {"jpeg": ("jpg", {"quality": 95, "subsampling": 0}), "png": ("png", {"compress_level": 6})}
RECORD = "record.json"  # in each slide's folder: what its tiles were made of, and their checksum
OWN_TILE = re.compile(r".+_x-?\d+_y-?\d+\.(jpg|png)", re.DOTALL)


@dataclass(frozen=True)
class ExportRecord:
    """What a folder holds: the names of its images in the order of the tile file, and how many could not be read."""

    tiles: tuple[str, ...]
    n_unreadable: int


def read_export(folder: Path, made_of: Mapping[str, object]) -> ExportRecord | None:
    """Return the record of a folder that is whole and was made of this, else None."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        is_same = record["made_of"] == made_of and record["sha256"] == _checksum(folder, record["tiles"])
        return ExportRecord(tuple(record["tiles"]), int(record["n_unreadable"])) if is_same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_export(
    folder: Path, images: Iterable[tuple[str, UInt8[np.ndarray, "px px 3"]]], made_of: Mapping[str, object],
    *, n_wanted: int, kind: str,
) -> ExportRecord:  # fmt: skip
    """Write images (name without ending, pixels) into a folder beside the target and rename it.

    Raises:
        SlideError: the folder is there and was not exported, or holds more than that.
    """
    _check_own(folder)
    partial = _hidden(folder, "new")
    _clear(partial)
    with writing(folder):
        partial.mkdir(parents=True)
    try:
        names = tuple(_write_image(partial, stem, pixels, kind) for stem, pixels in images)
        record = ExportRecord(names, n_wanted - len(names))
        content = {
            "made_of": made_of, "n_unreadable": record.n_unreadable, "tiles": record.tiles,
            "sha256": _checksum(partial, record.tiles),
        }  # fmt: skip
        write_text(partial / RECORD, settings_text(content) + "\n")
        remove_export(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return record


def tile_names(folder: Path) -> list[str]:
    """Return the file names of a slide's exported tiles, in the order of the tile file."""
    return list(json.loads((folder / RECORD).read_text(encoding="utf-8"))["tiles"])


def remove_export(folder: Path) -> None:
    """Remove a slide's exported folder, at one stroke; one that was not written here, or holds more than that, is left."""
    old = _hidden(folder, "old")
    _clear(old)
    if (folder / RECORD).is_file() and not folder.is_symlink() and not _foreign(folder):
        folder.rename(old)
        shutil.rmtree(old)


def _clear(hidden: Path) -> None:
    """Remove a folder that a killed process left; of a link, the link alone."""
    if hidden.is_symlink():
        hidden.unlink()
    shutil.rmtree(hidden, ignore_errors=True)


def _foreign(folder: Path) -> list[str]:
    """Return the names in an exported folder that no export writes."""
    return sorted(path.name for path in folder.iterdir() if path.name != RECORD and not OWN_TILE.fullmatch(path.name))


def _check_own(folder: Path) -> None:
    """Refuse to replace a folder that is not an export, or holds more than that.

    Raises:
        SlideError: it is a link, or files of somebody else lie in it.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    remedy = "move it away, or give another folder with --out"
    if folder.is_symlink() or not (folder / RECORD).is_file():
        raise SlideError(f"{folder} is there and was not exported", remedy)
    if foreign := _foreign(folder):
        raise SlideError(f"{folder} holds what was not exported: {', '.join(foreign[:5])}", remedy)


def _hidden(folder: Path, kind: str) -> Path:
    """Return a place beside the folder that is this process's alone; what killed processes left there goes."""
    place = folder.with_name(f"{folder.name}.{kind}")
    for left in left_behind(place):
        _clear(left)
    return partial_path(place)


def _checksum(folder: Path, names: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()


def _write_image(folder: Path, stem: str, tile: UInt8[np.ndarray, "px px 3"], kind: str) -> str:
    from PIL import Image

    ending, options = FORMATS[kind]
    name = f"{stem}.{ending}"
    with writing(folder / name):
        save_picture(Image.fromarray(tile), folder / name, format=kind.upper(), **options)
    return name
