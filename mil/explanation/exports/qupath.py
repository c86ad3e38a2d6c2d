"""Tiles with measurements, and tissue, as GeoJSON that QuPath reads: drag the file onto the open slide.

Names are those of QuPath's own reader (`qupath.lib.io.QuPathTypeAdapters`, 0.4 and later): `objectType` detection and annotation,
`measurements` an object of name to number, `classification` with name and colour, in `properties`. Coordinates are pixels of
the finest level from the corner of the scanned area, which QuPath shows as (0, 0). Written tile by tile.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num

from common.files import replacing
from mil.explanation.place import TilePlaces

TISSUE_COLOUR = [0, 160, 80]
DIGITS = 3  # of a corner: a thousandth of a pixel
VALUE_DIGITS = 9  # significant ones of a measurement


def write_geojson(
    path: Path, places: TilePlaces, measurements: Mapping[str, Num[np.ndarray, " n"]], tissue: Sequence[Any] = ()
) -> None:
    """Write tiles as detections and tissue as annotations, atomically.

    Args:
        path: the file.
        places: of the tiles.
        measurements: by the name QuPath shows, a tile each; finite.
        tissue: shapely polygons, level-0 pixels.

    Raises:
        ValueError: a measurement is not finite.
    """
    for name, values in measurements.items():
        if not np.isfinite(values).all():
            raise ValueError(f"the measurement {name!r} of a tile is not finite")
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        separator = "\n"
        for feature in _annotations(tissue, places):
            file.write(f"{separator}{json.dumps(feature)}")
            separator = ",\n"
        for text in _detections(places, measurements):
            file.write(f"{separator}{text}")
            separator = ",\n"
        file.write("\n]}\n")


def _detections(places: TilePlaces, measurements: Mapping[str, Num[np.ndarray, " n"]]) -> Iterator[str]:
    width, height = places.side
    names = [json.dumps(name) for name in measurements]
    columns = [np.asarray(values, np.float64).tolist() for values in measurements.values()]
    for number, (x, y) in enumerate(places.on_shown.tolist()):
        right, bottom = round(x + width, DIGITS), round(y + height, DIGITS)
        ring = f"[[{x}, {y}], [{right}, {y}], [{right}, {bottom}], [{x}, {bottom}], [{x}, {y}]]"
        values = ", ".join(
            f"{name}: {column[number]:.{VALUE_DIGITS}g}" for name, column in zip(names, columns, strict=True)
        )
        yield (
            f'{{"type": "Feature", "geometry": {{"type": "Polygon", "coordinates": [{ring}]}}, "properties": '
            f'{{"objectType": "detection", "name": "tile {number}", "measurements": {{{values}}}}}}}'
        )


def _annotations(tissue: Sequence[Any], places: TilePlaces) -> Iterator[dict[str, Any]]:
    from shapely.affinity import translate
    from shapely.geometry import mapping
    from shapely.geometry.polygon import orient

    for number, piece in enumerate(tissue, start=1):
        shape = mapping(orient(translate(piece, -places.origin[0], -places.origin[1]), sign=1.0))
        rings = [[[round(float(v), DIGITS) for v in corner[:2]] for corner in ring] for ring in shape["coordinates"]]
        yield {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": rings},
            "properties": {
                "objectType": "annotation", "name": f"tissue {number}", "isLocked": True,
                "classification": {"name": "Tissue", "color": TISSUE_COLOUR},
            },
        }  # fmt: skip
