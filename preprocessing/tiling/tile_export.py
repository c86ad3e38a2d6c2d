"""Normalised tiles as image files, a folder a patient and slide, with the tile table of the 2021 notebook beside them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from common.failures import SlideError, SlideStatus, StudyError
from common.files import settings_text, write_text
from common.slide_files import file_fingerprint
from common.table_cells import with_texts
from preprocessing.colour.colour_formula import StainMap
from preprocessing.colour.colour_map import apply_map, paying_table
from preprocessing.colour.stain import StainFit, stain_map
from preprocessing.colour.stain_store import reference_text
from preprocessing.reading.slide import Slide, open_slide, read_tile
from preprocessing.tiling.tile_store import TileSheet, read_tile_sheet

if TYPE_CHECKING:
    import pandas as pd

STEP = "export_tiles"
FORMATS = {"jpeg": ("jpg", {"quality": 95, "subsampling": 0}), "png": ("png", {"compress_level": 6})}
RECORD = "record.json"  # in each slide's folder: what its tiles were made of, and their checksum
OWN_TILE = re.compile(r".+_x-?\d+_y-?\d+\.(jpg|png)", re.DOTALL)
TABLE_SETS = {"train": ("TRAIN", False), "val": ("TRAIN", False), "test": ("VALID", True)}  # training_set, is_valid


@dataclass(frozen=True, kw_only=True)
class ExportJob:
    """One slide to export: where it is, where its tiles go, and how."""

    slide_id: str
    slide: Path
    tile_file: Path
    folder: Path
    format: str
    max_tiles: int | None
    reference: StainFit | None  # None: colours as scanned


def export_slide(job: ExportJob) -> SlideStatus:
    """Write a slide's tiles and return its status; a whole folder made of the same tiles and settings is kept.

    Raises:
        SlideError: the slide has no tile file, is another file than its tiles were made from, or cannot be read.
    """
    sheet = _sheet_of(job)
    try:
        colour = None if job.reference is None else stain_map(sheet.stain, job.reference)
    except ValueError as error:
        raise SlideError(str(error), "run preprocessing/tile_slides.py again, or give another reference") from error
    if sheet.stain.method == "none":
        colour = None
    made_of = {
        "slide_id": job.slide_id, "tile_fingerprint": sheet.content_sha256, "format": job.format,
        "n_wanted": len(chosen_tiles(len(sheet.coords), job.max_tiles)),
        "stain_reference": "none" if colour is None or job.reference is None else reference_text(job.reference),
    }  # fmt: skip
    record = _whole_record(job.folder, made_of)
    if record is None:
        record = _write_tiles(job, sheet, colour, made_of)
    names, n_unreadable = list(record["tiles"]), int(record["n_unreadable"])
    figures: dict[str, object] = {"n_tiles": len(names), "n_unreadable": n_unreadable, "stain": sheet.stain.method}
    return SlideStatus(slide_id=job.slide_id, step=STEP, state="done", figures=figures)


def chosen_tiles(n_tiles: int, max_tiles: int | None) -> list[int]:
    """Return the indices of at most `max_tiles` tiles, spread evenly over the slide."""
    if max_tiles is None or n_tiles <= max_tiles:
        return list(range(n_tiles))
    return [(2 * index + 1) * n_tiles // (2 * max_tiles) for index in range(max_tiles)]


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
    return folder.with_name(f".{folder.name}.{kind}.partial")


def _sheet_of(job: ExportJob) -> TileSheet:
    remedy = "run preprocessing/tile_slides.py (its status.csv says why, if the slide failed there)"
    if not job.tile_file.is_file():
        raise SlideError("it has no tile file", remedy)
    try:
        sheet = read_tile_sheet(job.tile_file)
    except ValueError as error:
        raise SlideError(str(error), remedy) from error
    if file_fingerprint(job.slide) != sheet.slide_fingerprint:
        raise SlideError(f"{job.slide.name} is not the file its tiles were made from", remedy)
    return sheet


def _whole_record(folder: Path, made_of: Mapping[str, object]) -> dict | None:
    """Return the record of a folder that is whole and was made of this, else None."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        is_same = record["made_of"] == made_of and record["sha256"] == _checksum(folder, record["tiles"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if is_same else None


def _checksum(folder: Path, names: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()


def _write_tiles(job: ExportJob, sheet: TileSheet, colour: StainMap | None, made_of: Mapping[str, object]) -> dict:
    """Write into a folder beside the target and rename it: it appears whole or not at all."""
    _check_own(job.folder)
    partial = _hidden(job.folder, "new")
    _clear(partial)
    partial.mkdir(parents=True)
    names: list[str] = []
    try:
        chosen = chosen_tiles(len(sheet.coords), job.max_tiles)
        table = None if colour is None else paying_table(colour, n_pixels=len(chosen) * sheet.tile_px**2)
        with open_slide(job.slide, mpp=(sheet.mpp_x, sheet.mpp_y), mpp_source=sheet.mpp_source) as slide:
            for x, y in sheet.coords[chosen].tolist():
                tile = _read_or_none(slide, x, y, sheet)
                if tile is None:
                    continue
                mapped = tile if colour is None else apply_map(tile, colour, table=table)
                names.append(_write_image(partial, f"{job.slide_id}_x{x}_y{y}", mapped, job.format))
        if not names:
            raise SlideError(
                f"none of its {len(chosen)} tiles can be read", "the file is damaged; copy or scan it again"
            )
        record = {
            "made_of": made_of, "n_unreadable": len(chosen) - len(names), "tiles": names,
            "sha256": _checksum(partial, names),
        }  # fmt: skip
        write_text(partial / RECORD, settings_text(record) + "\n")
        remove_export(job.folder)
        partial.rename(job.folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return record


def _read_or_none(slide: Slide, x: int, y: int, sheet: TileSheet) -> UInt8[np.ndarray, "px px 3"] | None:
    try:
        return read_tile(slide, x, y, tile_um=sheet.tile_um, tile_px=sheet.tile_px)
    except SlideError:
        slide.reopen()  # this tile is left out and counted
        return None


def _write_image(folder: Path, stem: str, tile: UInt8[np.ndarray, "px px 3"], kind: str) -> str:
    from PIL import Image

    ending, options = FORMATS[kind]
    name = f"{stem}.{ending}"
    Image.fromarray(tile).save(folder / name, format=kind.upper(), **options)
    return name


def sets_of_patients(patients: pd.DataFrame, splits: Path | None, *, repeat: int, fold: int) -> dict[str, str] | None:
    """Return each patient's set ("train", "val" or "test"), from a table of folds or the clinical table; else None.

    Raises:
        StudyError: the table of folds is missing, lacks a column, has no such fold, or names an unknown set.
    """
    import pandas as pd

    if splits is None:
        if "set" not in patients.columns:
            return None
        return {str(patient): str(value) for patient, value in patients["set"].items()}
    if not splits.is_file():
        raise StudyError(f"no table of folds at {splits}; make one with splits/make_splits.py")
    try:
        table = with_texts(pd.read_csv(splits, dtype=str, encoding="utf-8-sig"))
    except ValueError as error:
        raise StudyError(f"{splits}: not readable as a CSV table ({error})") from error
    missing = [name for name in ("repeat", "fold", "patient_id", "set") if name not in table.columns]
    if missing:
        raise StudyError(f"{splits}: no column {', '.join(missing)}; wanted repeat, fold, patient_id, set")
    rows = table[(table["repeat"] == str(repeat)) & (table["fold"] == str(fold))]
    if rows.empty:
        folds = ", ".join(sorted(set(table["repeat"] + "/" + table["fold"])))
        raise StudyError(f"{splits}: no fold {fold} of repeat {repeat}; it has (repeat/fold) {folds}")
    unknown = sorted(set(rows["set"]) - set(TABLE_SETS))
    if unknown:
        raise StudyError(f"{splits}: set {', '.join(unknown)} is not train, val or test")
    return dict(zip(rows["patient_id"], rows["set"], strict=True))
