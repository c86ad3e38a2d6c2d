"""All exports of a slide, where its tile file and its slide file are there; pixels of single tiles for the sheets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from common.failures import SlideError
from common.guards.own_files import own_folder
from common.remote.remote_slide import local_file
from common.study import Study
from mil.explanation.exports.dicom import source_of, write_parametric_map
from mil.explanation.exports.overlay import overlay_size, write_overlay
from mil.explanation.exports.pyramid import write_pyramid
from mil.explanation.exports.qupath import write_geojson
from mil.explanation.map_store import SlideMap
from mil.explanation.place import TilePlaces
from preprocessing.reading.slide import Slide, open_slide, read_tile
from preprocessing.tiling.slide_tiles import SlideTiles
from preprocessing.tiling.tile_store import tiles_of_slide
from preprocessing.tissue.outline import read_geojson

STEP = "explain"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written of a slide, by kind."""

    files: dict[str, Path]


def export_slide(
    own: SlideMap, *, study: Study, slide_file: Path | None, folder: Path, wanted: Sequence[str]
) -> Exported:
    """Write the maps of a slide.

    Args:
        own: the slide's contributions.
        study: whose tile files and outlines say where tiles and tissue are.
        slide_file: the slide; without it nothing can be put in its place.
        folder: where maps go.
        wanted: of png, ome, geojson, dicom.

    Raises:
        SlideError: slide or tile file is missing, damaged, or of another slide.
    """
    if slide_file is None:
        raise SlideError("there is no slide file of it", "give its folder with --slides")
    tiles = tiles_of_slide(study.tile_file(own.slide_id), slide_file)
    _check_corners(own, tiles)
    with local_file(slide_file) as file:
        return _exported(own, tiles, study, file, folder, wanted)


def _exported(
    own: SlideMap, tiles: SlideTiles, study: Study, slide_file: Path, folder: Path, wanted: Sequence[str]
) -> Exported:
    folder, files = own_folder(folder, below=folder.parent), {}
    values = {f"contribution {name}": own.contributions[:, at] for at, name in enumerate(own.outputs)}
    values["attention"] = own.attention
    with open_slide(slide_file, mpp=(tiles.mpp_x, tiles.mpp_y), mpp_source=tiles.mpp_source) as slide:
        places = places_of(own.coords, tiles, slide)
        if "png" in wanted:
            files["png"] = folder / f"{own.slide_id}.png"
            told = own.contributions[:, own.outputs.index(own.told)]
            write_overlay(files["png"], _thumbnail(slide, places), places, told, own.told)
    if "ome" in wanted:
        files["ome"] = folder / f"{own.slide_id}.ome.tif"
        write_pyramid(files["ome"], places, values, name=own.slide_id)
    if "dicom" in wanted and (source := source_of(slide_file)) is not None:
        files["dicom"] = folder / f"{own.slide_id}.dcm"
        write_parametric_map(files["dicom"], places, values, source, name=own.slide_id)
    if "geojson" in wanted:
        files["geojson"] = folder / f"{own.slide_id}.geojson"
        write_geojson(files["geojson"], places, values, _tissue(study, own.slide_id, places))
    return Exported(files=files)


def places_of(coords: Int64[np.ndarray, "n 2"], tiles: SlideTiles, slide: Slide) -> TilePlaces:
    """Return where the tiles lie on a slide and on what viewers show of it."""
    origin = slide.outline_origin
    shown = slide.bounds[2:] if origin == slide.bounds[:2] else (slide.width, slide.height)
    return TilePlaces(
        corners=coords.astype(np.int64), mpp=(tiles.mpp_x, tiles.mpp_y), tile_um=tiles.tile_um, stride_um=tiles.stride_um,
        origin=origin, shown=shown,
    )  # fmt: skip


def tile_pixels(
    slide_file: Path | None, tiles: SlideTiles | None, corners: Sequence[tuple[int, int]], side_px: int
) -> list[UInt8[np.ndarray, "px px 3"] | None]:
    """Return the pixels of some tiles of a slide; None for each that cannot be read."""
    if slide_file is None or tiles is None:
        return [None] * len(corners)
    found: list[np.ndarray | None] = []
    try:
        with open_slide(slide_file, mpp=(tiles.mpp_x, tiles.mpp_y), mpp_source=tiles.mpp_source) as slide:
            for x, y in corners:
                try:
                    found.append(read_tile(slide, x, y, tile_um=tiles.tile_um, tile_px=side_px))
                except SlideError:
                    slide.reopen()
                    found.append(None)
    except SlideError:
        return [None] * len(corners)
    return found


def _check_corners(own: SlideMap, tiles: SlideTiles) -> None:
    """Refuse corners that are not those of the tile file: then the features are of other tiles."""
    is_level0 = own.coords_unit == "level-0 px" and len(own.coords) == len(own.contributions)
    known = {(int(x), int(y)) for x, y in tiles.coords.tolist()}
    if not is_level0 or any((int(x), int(y)) not in known for x, y in own.coords.tolist()):
        raise SlideError("its tile file has other tiles than its features", "run extract_features.py again")


def _thumbnail(slide: Slide, places: TilePlaces) -> UInt8[np.ndarray, "h w 3"]:
    return slide.read_area(
        (float(places.origin[0]), float(places.origin[1])), (float(places.shown[0]), float(places.shown[1])),
        overlay_size(places),
    )  # fmt: skip


def _tissue(study: Study, slide_id: str, places: TilePlaces) -> tuple[object, ...]:
    """Return the pieces of the slide's outline; none where it is gone or no outline."""
    path = study.outline_file(slide_id)
    if not path.is_file():
        return ()
    try:
        return read_geojson(path.read_text(encoding="utf-8"), origin=places.origin).pieces
    except ValueError:
        return ()  # the map needs it not; tiling names what is wrong with an edited one
