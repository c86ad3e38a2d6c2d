"""Tissue outlines as polygons with holes, in the GeoJSON that QuPath opens and edits, and back.

A file of ours carries a checksum of its geometry, which an edit in QuPath breaks or drops: so an edited outline is known as
such, and is used instead of the segmentation. Annotations of the classes in EXCLUSION_CLASSES cut tissue away.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Int32, UInt8

from preprocessing.tissue.ring_numbers import has_numbers

TISSUE_COLOUR = (0, 160, 80)
SIMPLIFY_PX = 0.6  # of the mask
EXCLUSION_CLASSES = frozenset(
    {"ignore", "exclude", "excluded", "exclusion", "artefact", "artifact", "background", "glass", "whitespace"}
)
ANNOTATION, ANNOTATION_ID = "annotation", "PathAnnotationObject"  # of QuPath: its object type, and its id in old files
AREAS = ("Polygon", "MultiPolygon", "GeometryCollection")  # of GeoJSON: what can hold an area
MARK = "sarcoma_mil_geometry_sha256"
GEOMETRIES = (*AREAS, "Point", "MultiPoint", "LineString", "MultiLineString")
MAX_CORNERS = 20_000  # of a polygon that is drawn as it is
SHIFT = 4  # fractional bits of a polygon's corners when it is filled


@dataclass(frozen=True)
class Outline:
    """Pieces of tissue and areas cut away (shapely polygons in level-0 pixels), and whether a person edited them.

    `classes` are those of the annotations taken for tissue.
    """

    pieces: tuple[Any, ...]
    exclusions: tuple[Any, ...]
    is_edited: bool
    classes: tuple[str, ...] = ()


def outlines(
    is_tissue: Bool[np.ndarray, "h w"], *, slide_px: tuple[int, int], min_area_level0: float = 0.0
) -> list[Any]:
    """Return the pieces of a mask as shapely polygons in level-0 pixels, from top to bottom.

    Args:
        is_tissue: mask of the whole slide at any scale.
        slide_px: width and height of level 0.
        min_area_level0: pieces below this area, level-0 pixels squared, are left out.
    """
    from shapely import Polygon
    from shapely.affinity import affine_transform

    contours, hierarchy = cv2.findContours(is_tissue.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    factor_x, factor_y = slide_px[0] / is_tissue.shape[1], slide_px[1] / is_tissue.shape[0]
    holes: dict[int, list[Any]] = {}
    links = hierarchy[0] if hierarchy is not None else np.empty((0, 4), np.int32)
    for contour, (_, _, _, parent) in zip(contours, links, strict=True):
        if parent >= 0 and len(contour) >= 3:
            holes.setdefault(int(parent), []).append(contour[:, 0, :])
    pieces = []
    for index, (contour, (_, _, _, parent)) in enumerate(zip(contours, links, strict=True)):
        if parent >= 0 or len(contour) < 3:
            continue
        # contours run through pixel centres: half a pixel more on every side is the pixels' own edge
        piece: Any = Polygon(contour[:, 0, :], holes.get(index)).buffer(0.5, join_style="mitre", mitre_limit=1.5)
        piece = piece.simplify(SIMPLIFY_PX)
        piece = piece if piece.is_valid else piece.buffer(0)
        scaled = affine_transform(piece, [factor_x, 0, 0, factor_y, factor_x / 2, factor_y / 2])
        if not scaled.is_empty and scaled.area >= min_area_level0:
            pieces.append(scaled)
    return in_order(pieces)


def in_order(pieces: Sequence[Any]) -> list[Any]:
    """Return polygons by their topmost, then leftmost point: the order pieces are numbered in."""
    return sorted(pieces, key=lambda piece: (piece.bounds[1], piece.bounds[0], piece.bounds[3], piece.bounds[2]))


def filled(
    polygons: Sequence[Any], shape: tuple[int, int], *, slide_px: tuple[int, int], numbered: bool = False
) -> Int32[np.ndarray, "h w"] | UInt8[np.ndarray, "h w"]:
    """Draw polygons with their holes into a mask of the whole slide.

    Args:
        polygons: in level-0 pixels.
        shape: rows and columns of the mask.
        slide_px: width and height of level 0.
        numbered: give each polygon its number from 1 (int32) instead of 1 (uint8).
    """
    from shapely.affinity import affine_transform

    mask = np.zeros(shape, np.int32 if numbered else np.uint8)
    scale_x, scale_y = shape[1] / slide_px[0], shape[0] / slide_px[1]
    for number, polygon in enumerate(polygons, start=1):
        # a filled polygon takes the pixels its edge runs through: half a pixel less, and the edge runs through the last inside
        inner = affine_transform(polygon, [scale_x, 0, 0, scale_y, -0.5, -0.5]).buffer(-0.5, join_style="mitre")
        for part in getattr(inner, "geoms", [inner]):
            if part.is_empty:
                continue
            rings = [np.array(ring.coords)[:, :2] for ring in (part.exterior, *part.interiors)]
            corners = [np.round(ring * 2**SHIFT).astype(np.int32) for ring in rings]
            cv2.fillPoly(mask, corners, number if numbered else 1, shift=SHIFT)
    return mask


def geojson(pieces: Sequence[Any], exclusions: Sequence[Any] = (), *, origin: tuple[int, int] = (0, 0)) -> str:
    """Return pieces as a QuPath FeatureCollection of annotations, numbered in order.

    Args:
        pieces: tissue, level-0 pixels.
        exclusions: areas cut away.
        origin: level-0 pixel that QuPath shows as its (0, 0): the corner of the scanned bounds.
    """
    features = [_feature(piece, f"tissue {number}", "Tissue", origin) for number, piece in enumerate(pieces, start=1)]
    features += [
        _feature(piece, f"excluded {number}", "Exclude", origin) for number, piece in enumerate(exclusions, start=1)
    ]
    return json.dumps({"type": "FeatureCollection", MARK: _sha256(features), "features": features}) + "\n"


def read_geojson(text: str, *, origin: tuple[int, int] = (0, 0)) -> Outline:
    """Read an outline: ours, or one that a person edited or drew.

    Raises:
        ValueError: it is not GeoJSON with polygons.
    """
    try:
        content = json.loads(text)
        features = _features_of(content)
    except (ValueError, RecursionError) as error:  # the latter of lists in lists without end
        raise ValueError(f"not readable as JSON ({error})") from error
    if features is None:
        raise ValueError("no list of features; wanted a GeoJSON FeatureCollection, as QuPath exports it")
    pieces: dict[bytes, list[Any]] = {}  # by their shape: what was exported twice counts once
    exclusions: dict[bytes, list[Any]] = {}
    classes = set()
    for feature in features:
        if not isinstance(feature, dict) or not _is_annotation(feature):
            continue
        geometry = feature.get("geometry")
        if not isinstance(geometry, dict) or geometry.get("type") not in AREAS:
            continue  # points and lines are notes
        area = _area_of(geometry, origin)
        is_exclusion = _class_of(feature) in EXCLUSION_CLASSES
        (exclusions if is_exclusion else pieces)[area.normalize().wkb] = _polygons(area)
        if not is_exclusion:
            classes.add(_class_name(feature) or "no class")
    is_edited = not (isinstance(content, dict) and content.get(MARK) == _sha256(features))
    return Outline(
        tuple(in_order([polygon for polygons in pieces.values() for polygon in polygons])),
        tuple(in_order([polygon for polygons in exclusions.values() for polygon in polygons])),
        is_edited,
        tuple(sorted(classes, key=str.casefold)),
    )


def _features_of(content: Any) -> list[Any] | None:
    """Return the features of any form QuPath writes: a collection, an array, one feature or geometry; None for others."""
    if isinstance(content, list):
        return [feature for part in content for feature in (_features_of(part) or [part])]
    if not isinstance(content, dict):
        return None
    if isinstance(content.get("features"), list):
        return _features_of(content["features"])
    if content.get("type") == "Feature":
        return [content]
    return [{"type": "Feature", "geometry": content}] if content.get("type") in GEOMETRIES else None


def _is_annotation(feature: dict[str, Any]) -> bool:
    """Say whether a feature is no cell, detection or tile, which QuPath exports beside the annotations they lie in."""
    kind = _properties(feature).get("objectType", _properties(feature).get("object_type"))
    if isinstance(kind, str):
        return kind.strip().lower() == ANNOTATION
    old_kind = str(feature.get("id", ""))
    return not (old_kind.startswith("Path") and old_kind.endswith("Object")) or old_kind == ANNOTATION_ID


def _area_of(geometry: dict[str, Any], origin: tuple[int, int]) -> Any:
    """Return a geometry as a valid shape in level-0 pixels, flat."""
    from shapely import force_2d, make_valid
    from shapely.affinity import translate
    from shapely.errors import ShapelyError
    from shapely.geometry import shape

    # shapely ends the whole process on some texts in the place of numbers
    if not has_numbers(geometry):
        raise ValueError(f"a {geometry['type']} in it is none (its coordinates are no lists of numbers)")
    try:
        return make_valid(translate(force_2d(shape(geometry)), *origin))
    except (ShapelyError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"a {geometry['type']} in it is none ({error})") from error


def clipped(polygons: Sequence[Any], slide_px: tuple[int, int], *, tolerance: float) -> list[Any]:
    """Return the parts of polygons that lie on the slide; what lies on it whole stays as it is.

    Args:
        polygons: in level-0 pixels.
        slide_px: width and height of level 0.
        tolerance: polygons of very many corners are made simpler by this, level-0 pixels.
    """
    from shapely import box

    slide = box(0, 0, *slide_px)
    parts: list[Any] = []
    for polygon in polygons:
        few = polygon.simplify(tolerance) if _n_corners(polygon) > MAX_CORNERS else polygon
        left, top, right, bottom = few.bounds
        is_on_slide = left >= 0 and top >= 0 and right <= slide_px[0] and bottom <= slide_px[1]
        parts += [few] if is_on_slide else _polygons(few.intersection(slide))
    return parts


def _n_corners(polygon: Any) -> int:
    from shapely import get_num_coordinates

    return int(get_num_coordinates(polygon))


def _polygons(geometry: Any) -> list[Any]:
    """Return the polygons of a geometry, out of collections too."""
    if geometry.geom_type == "Polygon":
        return [geometry] if geometry.area > 0 else []
    return [polygon for part in getattr(geometry, "geoms", ()) for polygon in _polygons(part)]


def _class_of(feature: dict[str, Any]) -> str:
    """Return the class an annotation has in QuPath, lower case; of one derived from it ("Ignore: fold") the first part."""
    return _class_name(feature).split(":")[0].strip().rstrip("*").lower()


def _class_name(feature: dict[str, Any]) -> str:
    """Return the class of an annotation as it is written; "" where it has none."""
    kind = _properties(feature).get("classification") or ""
    if isinstance(kind, dict):
        names = kind.get("names")
        kind = kind.get("name") or (names[0] if isinstance(names, list) and names else "")
    return str(kind)


def _properties(feature: dict[str, Any]) -> dict[str, Any]:
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}


def _feature(piece: Any, name: str, class_name: str, origin: tuple[int, int]) -> dict[str, Any]:
    from shapely.affinity import translate
    from shapely.geometry import mapping

    moved = translate(piece, -origin[0], -origin[1]) if origin != (0, 0) else piece
    colour = list(TISSUE_COLOUR) if class_name == "Tissue" else [120, 120, 120]
    return {
        "type": "Feature",
        "geometry": _rounded(mapping(moved)),
        "properties": {
            "objectType": "annotation",
            "name": name,
            "classification": {"name": class_name, "color": colour},
        },
    }


def _sha256(features: list[Any]) -> str:
    """Return a checksum of geometries and classes, not of names or of how the text is laid out."""
    known = [
        [feature.get("geometry"), _class_of(feature)] if isinstance(feature, dict) else None for feature in features
    ]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _rounded(geometry: Any) -> Any:
    if isinstance(geometry, dict):
        return {key: _rounded(value) if key == "coordinates" else value for key, value in geometry.items()}
    return round(geometry, 1) if isinstance(geometry, float) else [_rounded(part) for part in geometry]
