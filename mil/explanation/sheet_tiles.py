"""Which tiles stand on the sheets: a few of each slide that speak most for and against each output, of all slides together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.guards.own_files import own_folder, remove_own_files
from common.study import Study
from mil.explanation.exports.sheets import TILE_PX, SheetTile, write_sheet
from mil.explanation.exports.written import tile_pixels
from mil.explanation.map_store import SlideMap
from preprocessing.tiling.tile_store import tiles_if_whole

A_SLIDE = 3  # tiles of one slide at most: one slide does not fill the sheet
OWN_SHEET = re.compile(r"output\d+\.png")


@dataclass(frozen=True, order=True)
class Candidate:
    """A tile that may stand on a sheet; sorted by how far it goes."""

    rank: float
    slide_id: str
    corner: tuple[int, int]
    contribution: float


# the tiles that go furthest for (True) and against (False) an output
Furthest = Mapping[tuple[str, bool], Sequence[Candidate]]


def furthest_of(own: SlideMap) -> Furthest:
    """Return the furthest tiles of a slide, by output; none where it is not known where tiles lie."""
    found: dict[tuple[str, bool], list[Candidate]] = {}
    if len(own.coords) != len(own.contributions):
        return found
    for at, output in enumerate(own.outputs):
        values = own.contributions[:, at]
        for is_for in (True, False):
            order = np.argsort(-values if is_for else values, kind="stable")[:A_SLIDE]
            found[output, is_for] = [
                Candidate(
                    rank=float(-values[row] if is_for else values[row]), slide_id=own.slide_id,
                    corner=(int(own.coords[row, 0]), int(own.coords[row, 1])), contribution=float(values[row]),
                )
                for row in order
            ]  # fmt: skip
    return found


def merged(one: Furthest, other: Furthest, n: int) -> Furthest:
    """Return the n furthest of two lots, by output; none where n is 0."""
    keys = sorted({*one, *other}) if n else []
    return {key: sorted([*one.get(key, ()), *other.get(key, ())])[:n] for key in keys}


def write_sheets(
    out: Path, furthest: Furthest, outputs: Sequence[str], *, study: Study, files: Mapping[str, Path]
) -> dict[str, Path]:
    """Write a sheet for each output, and return them; none where there are no slide files.

    Args:
        out: the folder; sheets lie in sheets/.
        furthest: the tiles.
        outputs: in the model's order.
        study: whose tile files tell how large tiles are.
        files: slide id to slide file.
    """
    names = {slide for kept in furthest.values() for each in kept if (slide := each.slide_id) in files}
    folder, sheets = out / "sheets", {}
    if names:
        own_folder(folder, below=out)
        pixels = _pixels(furthest, study, files)
        scale = max((abs(each.contribution) for kept in furthest.values() for each in kept), default=1.0) or 1.0
        for number, output in enumerate(outputs):
            rows = [
                (title, [_tile(each, pixels) for each in furthest.get((output, is_for), ())])
                for is_for, title in ((True, f"most for {output}"), (False, f"most against {output}"))
            ]
            sheets[output] = folder / f"output{number}.png"
            write_sheet(sheets[output], rows, scale)
    remove_own_files(folder, OWN_SHEET, kept={path.name for path in sheets.values()})
    return sheets


Place = tuple[str, tuple[int, int]]


def _pixels(furthest: Furthest, study: Study, files: Mapping[str, Path]) -> dict[Place, np.ndarray | None]:
    """Return the pixels of all tiles of all sheets; every slide is opened once."""
    wanted: dict[str, set[tuple[int, int]]] = {}
    for kept in furthest.values():
        for each in kept:
            wanted.setdefault(each.slide_id, set()).add(each.corner)
    found: dict[Place, np.ndarray | None] = {}
    for slide, corners in sorted(wanted.items()):
        ordered: Sequence[tuple[int, int]] = sorted(corners)
        read = tile_pixels(files.get(slide), tiles_if_whole(study.tile_file(slide)), ordered, TILE_PX)
        found |= {(slide, corner): own for corner, own in zip(ordered, read, strict=True)}
    return found


def _tile(each: Candidate, pixels: Mapping[Place, np.ndarray | None]) -> SheetTile:
    return SheetTile(
        pixels=pixels.get((each.slide_id, each.corner)), contribution=each.contribution, slide_id=each.slide_id
    )
