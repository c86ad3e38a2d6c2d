"""The tiles of one slide as images, their colours mapped to a reference; they are read and mapped as they are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from common.failures import SlideError, SlideStatus
from preprocessing.colour.colour_formula import StainMap
from preprocessing.colour.colour_map import apply_map, paying_table
from preprocessing.colour.stain import StainFit, stain_map
from preprocessing.colour.stain_store import reference_text
from preprocessing.reading.slide import open_slide, read_tile
from preprocessing.tiling.export_folder import read_export, write_export
from preprocessing.tiling.slide_tiles import SlideTiles
from preprocessing.tiling.tile_store import check_not_replaced, tiles_of_slide

STEP = "export_tiles"


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
    tiles = tiles_of_slide(job.tile_file, job.slide)
    try:
        colour = None if job.reference is None else stain_map(tiles.stain, job.reference)
    except ValueError as error:
        raise SlideError(str(error), "run preprocessing/tile_slides.py again, or give another reference") from error
    if tiles.stain.method == "none":
        colour = None
    chosen = chosen_tiles(len(tiles.coords), job.max_tiles)
    made_of = {
        "slide_id": job.slide_id, "tile_fingerprint": tiles.content_sha256, "format": job.format,
        "n_wanted": len(chosen),
        "stain_reference": "none" if colour is None or job.reference is None else reference_text(job.reference),
    }  # fmt: skip
    record = read_export(job.folder, made_of)
    if record is None:
        images = _mapped_tiles(job, tiles, chosen, colour)
        record = write_export(job.folder, images, made_of, n_wanted=len(chosen), kind=job.format)
    figures: dict[str, object] = {
        "n_tiles": len(record.tiles), "n_unreadable": record.n_unreadable, "stain": tiles.stain.method,
    }  # fmt: skip
    return SlideStatus(slide_id=job.slide_id, step=STEP, state="done", figures=figures)


def chosen_tiles(n_tiles: int, max_tiles: int | None) -> list[int]:
    """Return the indices of at most `max_tiles` tiles, spread evenly over the slide."""
    if max_tiles is None or n_tiles <= max_tiles:
        return list(range(n_tiles))
    return [(2 * index + 1) * n_tiles // (2 * max_tiles) for index in range(max_tiles)]


def _mapped_tiles(
    job: ExportJob, tiles: SlideTiles, chosen: list[int], colour: StainMap | None
) -> Iterator[tuple[str, UInt8[np.ndarray, "px px 3"]]]:
    """Yield name and mapped pixels of every tile that can be read.

    Raises:
        SlideError: none can.
    """
    n_read = 0
    table = None if colour is None else paying_table(colour, n_pixels=len(chosen) * tiles.tile_px**2)
    with open_slide(job.slide, mpp=(tiles.mpp_x, tiles.mpp_y), mpp_source=tiles.mpp_source) as slide:
        for x, y in tiles.coords[chosen].tolist():
            try:
                tile = read_tile(slide, x, y, tile_um=tiles.tile_um, tile_px=tiles.tile_px)
            except SlideError:
                slide.reopen()  # this tile is left out and counted
                continue
            n_read += 1
            yield f"{job.slide_id}_x{x}_y{y}", tile if colour is None else apply_map(tile, colour, table=table)
    check_not_replaced(job.slide, tiles.slide_fingerprint)
    if not n_read:
        raise SlideError(f"none of its {len(chosen)} tiles can be read", "the file is damaged; copy or scan it again")
