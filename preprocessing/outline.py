"""Tissue outlines as polygons with holes, in the GeoJSON that QuPath opens and edits."""

import json
from typing import Any

import numpy as np
from jaxtyping import Bool

TISSUE_COLOUR = (0, 160, 80)
SIMPLIFY_PX = 0.6  # of the mask


def outlines(is_tissue: Bool[np.ndarray, "h w"], *, slide_px: tuple[int, int]) -> list[Any]:
    """Return the pieces of a mask as shapely polygons in level-0 pixels, from top to bottom.

    Args:
        is_tissue: mask of the whole slide at any scale.
        slide_px: width and height of level 0.
    """
    from shapely import Polygon
    from shapely.affinity import scale
    from skimage.measure import find_contours

    rings = [
        ring[:, ::-1] - 0.5 for ring in find_contours(np.pad(is_tissue, 1).astype(np.float32), 0.5) if len(ring) >= 4
    ]
    solids = [Polygon(ring) for ring in rings if _signed_area(ring) > 0]
    holes = [Polygon(ring) for ring in rings if _signed_area(ring) <= 0]
    pieces = []
    for solid in solids:
        own = [hole for hole in holes if solid.contains(hole.representative_point()) and hole.area < solid.area]
        piece = Polygon(solid.exterior, [hole.exterior for hole in own]).simplify(SIMPLIFY_PX)
        pieces.append(piece if piece.is_valid else piece.buffer(0))
    factor = (slide_px[0] / is_tissue.shape[1], slide_px[1] / is_tissue.shape[0])
    scaled = [scale(piece, *factor, origin=(0, 0)) for piece in pieces if not piece.is_empty]
    return sorted(scaled, key=lambda piece: (piece.bounds[1], piece.bounds[0]))


def geojson(pieces: list[Any]) -> str:
    """Return pieces as a QuPath FeatureCollection of annotations, numbered in order."""
    from shapely.geometry import mapping

    features = [
        {
            "type": "Feature",
            "geometry": _rounded(mapping(piece)),
            "properties": {
                "objectType": "annotation",
                "name": f"tissue {number}",
                "classification": {"name": "Tissue", "color": list(TISSUE_COLOUR)},
            },
        }
        for number, piece in enumerate(pieces, start=1)
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}) + "\n"


def _signed_area(ring: np.ndarray) -> float:
    x, y = ring[:, 0], ring[:, 1]
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)


def _rounded(geometry: Any) -> Any:
    if isinstance(geometry, dict):
        return {key: _rounded(value) if key == "coordinates" else value for key, value in geometry.items()}
    return round(geometry, 1) if isinstance(geometry, float) else [_rounded(part) for part in geometry]
