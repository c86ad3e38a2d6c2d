"""The tile file: the tiles of a slide on disk, proven whole, and opened only for the slide they were made from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from common.arrays import ArrayFile, read_arrays, read_if_made_of, write_arrays
from common.failures import SlideError
from common.slide_files import file_fingerprint
from preprocessing.colour.stain_store import fit_arrays, fit_attributes, fit_of
from preprocessing.tiling.slide_tiles import Exclusions, SlideTiles, trident_attributes

SCHEMA = "tiles/3"
QUALITY_PREFIX = "quality_"  # of the arrays that hold quality columns


class OtherSlideError(SlideError):
    """The slide is another file than the one its tiles were made from: what was made of them is of no use."""


def check_not_replaced(slide_path: Path, fingerprint: str) -> None:
    """Look whether a slide is still the file that was opened, before what was read of it is kept.

    Raises:
        OtherSlideError: another file lies in its place now, or part of one: what was read may be of both.
    """
    if file_fingerprint(slide_path) != fingerprint:
        raise OtherSlideError(
            f"{slide_path.name} was replaced or changed while it was read",
            "run the same command again when it is whole",
        )


def write_slide_tiles(path: Path, tiles: SlideTiles) -> None:
    """Write a tile file; `coords` carries the attributes TRIDENT's readers expect."""
    arrays = {
        "coords": tiles.coords,
        "tissue_fraction": tiles.tissue_fraction,
        "piece": tiles.piece,
        **{f"{QUALITY_PREFIX}{name}": values for name, values in sorted(tiles.quality.items())},
        "excluded_coords": tiles.exclusions.coords,
        "excluded_reason": tiles.exclusions.reason,
        **fit_arrays(tiles.stain),
    }
    attributes: dict[str, str | int | float | bool] = {
        "schema": SCHEMA,
        "slide_id": tiles.slide_id,
        "slide_fingerprint": tiles.slide_fingerprint,
        "mpp_x": tiles.mpp_x,
        "mpp_y": tiles.mpp_y,
        "mpp_source": tiles.mpp_source,
        "tile_um": tiles.tile_um,
        "tile_px": tiles.tile_px,
        "stride_um": tiles.stride_um,
        "slide_width": tiles.slide_width,
        "slide_height": tiles.slide_height,
        "tissue_mm2": tiles.tissue_mm2,
        "tissue_source": tiles.tissue_source,
        "tissue_fingerprint": tiles.tissue_fingerprint,
        "n_pieces": tiles.n_pieces,
        "exclusion_reasons": json.dumps(tiles.exclusions.names),
        "flags": json.dumps(tiles.flags),
        **fit_attributes(tiles.stain),
        "settings": tiles.settings,
    }
    write_arrays(path, arrays, attributes, array_attributes={"coords": trident_attributes(tiles)})


def read_slide_tiles(path: Path) -> SlideTiles:
    """Read a tile file.

    Raises:
        ValueError: the file is truncated, damaged or of another kind.
    """
    file = read_arrays(path)
    if file.attributes.get("schema") != SCHEMA:
        raise ValueError(
            f"{path}: format {file.attributes.get('schema')}, not {SCHEMA}; rerun preprocessing/tile_slides.py"
        )
    return _tiles_of(path, file)


def tiles_if_whole(path: Path) -> SlideTiles | None:
    """Return the tiles of a file, None where there is none or it is damaged: for who goes on without. Tiling names the damage."""
    try:
        return read_slide_tiles(path) if path.is_file() else None
    except ValueError:
        return None


def _tiles_of(path: Path, file: ArrayFile) -> SlideTiles:
    try:
        return _slide_tiles(file)
    except (KeyError, TypeError, ValueError) as error:  # of an earlier version, whose checksum left attributes out
        raise ValueError(f"{path}: damaged ({error!r}); rerun preprocessing/tile_slides.py") from error


def _slide_tiles(file: ArrayFile) -> SlideTiles:
    attributes = file.attributes
    names = (
        "slide_id", "mpp_x", "mpp_y", "mpp_source", "tile_um", "tile_px", "stride_um", "slide_width", "slide_height",
        "tissue_mm2", "tissue_source", "tissue_fingerprint", "n_pieces", "slide_fingerprint", "settings",
    )  # fmt: skip
    tiles = SlideTiles(
        coords=file.arrays["coords"],
        tissue_fraction=file.arrays["tissue_fraction"],
        piece=file.arrays["piece"],
        quality={
            name.removeprefix(QUALITY_PREFIX): values
            for name, values in file.arrays.items()
            if name.startswith(QUALITY_PREFIX)
        },
        exclusions=Exclusions(
            file.arrays["excluded_coords"],
            file.arrays["excluded_reason"],
            tuple(json.loads(attributes["exclusion_reasons"])),
        ),
        flags=tuple(json.loads(attributes["flags"])),
        stain=fit_of(file.arrays, attributes),
        **{name: attributes[name] for name in names},
    )
    return replace(tiles, content_sha256=attributes["content_sha256"])


def read_if_current(
    path: Path, made_of: Mapping[str, object], *, beside: Sequence[Path]
) -> tuple[SlideTiles | None, str]:
    """Return the tiles of a file that is whole and was made of this; else None, and the reason to make it again.

    Args:
        path: the tile file.
        made_of: attributes it must have.
        beside: outline and preview, which must be there too.
    """
    if not all(file.is_file() for file in beside):
        return None, "outline or preview missing"
    file, reason = read_if_made_of(path, made_of)
    if file is None:
        return None, reason
    try:
        return _tiles_of(path, file), ""
    except ValueError as error:
        return None, str(error)


def tiles_of_slide(path: Path, slide_path: Path) -> SlideTiles:
    """Read the tile file of a slide, for a step that goes on with both.

    Raises:
        SlideError: there is none, it is not whole, or it was made from another slide file.
    """
    remedy = "run preprocessing/tile_slides.py (its status.csv says why, if the slide failed there)"
    if not path.is_file():
        raise SlideError("it has no tile file", remedy)
    try:
        tiles = read_slide_tiles(path)
    except ValueError as error:
        raise SlideError(str(error), remedy) from error
    if file_fingerprint(slide_path) != tiles.slide_fingerprint:
        raise OtherSlideError(f"{slide_path.name} is not the file its tiles were made from", remedy)
    return tiles
