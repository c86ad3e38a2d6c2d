"""Whether the coordinates of a geometry are numbers: shapely ends the process on some texts in their place."""

from typing import Any

LISTS_OF = {
    "MultiPoint": 1,
    "LineString": 1,
    "MultiLineString": 2,
    "Polygon": 2,
    "MultiPolygon": 3,
}  # around a position


def has_numbers(geometry: Any) -> bool:
    """Say whether a geometry of GeoJSON has lists of numbers where its type wants them."""
    if not isinstance(geometry, dict) or not isinstance(geometry.get("type"), str):
        return False
    if geometry["type"] == "GeometryCollection":
        members = geometry.get("geometries")
        return isinstance(members, list) and all(map(has_numbers, members))
    return _has_positions(geometry.get("coordinates"), LISTS_OF.get(geometry["type"], 0))


def _has_positions(coordinates: Any, n_lists: int) -> bool:
    """Say whether coordinates are numbers in as many lists as their geometry has; none of these may be empty inside."""
    if not isinstance(coordinates, list):
        return False
    if n_lists:
        return all(part and _has_positions(part, n_lists - 1) for part in coordinates)
    return len(coordinates) >= 2 and all(type(number) in (int, float) for number in coordinates)
