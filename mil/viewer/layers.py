"""What is known of each tile of a slide, as layers over it: contributions and attention of a run, and what tiling measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Num

from common.study import Study
from mil.explanation.map_store import SlideMap, read_slide_map
from mil.viewer.catalogue import ListedSlide
from mil.viewer.open_slides import Geometry
from preprocessing.tiling.slide_tiles import SlideTiles
from preprocessing.tissue.outline import read_geojson

LIMIT_PERCENTILE = 99.0  # what lies beyond is drawn in the colour at the scale's end
MOST_CORNERS = 20_000  # of an outline, for a browser


@dataclass(frozen=True, kw_only=True)
class Places:
    """Some tiles of a slide: top left corners in µm from the slide's, the side of a tile and the step of the grid."""

    corners_um: Float32[np.ndarray, "n 2"]
    tile_um: float
    stride_um: float


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A value for each of some tiles; a signed one has its scale around 0."""

    name: str
    group: str
    of: str  # which places: a key of `SlideLayers.places`
    is_signed: bool
    values: Float32[np.ndarray, " n"]

    @property
    def limits(self) -> tuple[float, float]:
        """The values at both ends of the colour scale."""
        known = self.values[np.isfinite(self.values)]
        if not len(known):
            return 0.0, 1.0
        if self.is_signed:
            reach = float(np.percentile(np.abs(known), LIMIT_PERCENTILE)) or 1.0
            return -reach, reach
        low, high = (float(value) for value in np.percentile(known, (100 - LIMIT_PERCENTILE, LIMIT_PERCENTILE)))
        return (low, high) if high > low else (low, low + 1.0)


@dataclass(frozen=True, kw_only=True)
class SlideLayers:
    """All layers of a slide, its outline (rings in µm, parted into tissue and what a person cut away), and words on the maps."""

    places: dict[str, Places]
    layers: tuple[Layer, ...]
    tissue: tuple[Float32[np.ndarray, "_ 2"], ...]
    left_out: Float32[np.ndarray, "_ 2"]  # corners of tiles that tiling left out
    told: str  # the output that the model gives the patient
    notes: tuple[str, ...]


def slide_layers(study: Study, slide: ListedSlide, geometry: Geometry | None, tiles: SlideTiles | None) -> SlideLayers:
    """Return the layers of a slide.

    Args:
        study: whose outline is drawn.
        slide: which one.
        geometry: of its file; None where it cannot be opened.
        tiles: what tiling wrote; None where there is nothing.
    """
    places, layers, notes, told = dict[str, Places](), list[Layer](), list[str](), ""
    mpp = geometry.mpp if geometry is not None else (tiles.mpp_x, tiles.mpp_y) if tiles is not None else None
    own = _map(slide, notes)
    if own is not None:
        told = own.told
        if tiles is None or mpp is None or len(own.coords) != len(own.attention) or own.coords_unit != "level-0 px":
            notes.append(
                "The map of this slide has no places on it: its features came without them, or it was not tiled here."
            )
        else:
            places["map"] = _places(own.coords, mpp, tiles)
            layers += _of_map(own)
    if tiles is not None and mpp is not None:
        places["tiles"] = _places(tiles.coords, mpp, tiles)
        layers += [
            Layer(name=name, group="quality", of="tiles", is_signed=False, values=np.asarray(values, np.float32))
            for name, values in [("tissue_fraction", tiles.tissue_fraction), *sorted(tiles.quality.items())]
        ]
    elif not notes:
        notes.append("This slide was not tiled: run preprocessing/tile_slides.py.")
    left_out = np.empty((0, 2), np.float32) if tiles is None or mpp is None else _um(tiles.exclusions.coords, mpp)
    return SlideLayers(
        places=places, layers=tuple(layers), tissue=_tissue(study, slide, geometry, notes), left_out=left_out, told=told,
        notes=tuple(notes),
    )  # fmt: skip


def _map(slide: ListedSlide, notes: list[str]) -> SlideMap | None:
    if slide.map_file is None or not slide.map_file.is_file():
        return None
    try:
        return read_slide_map(slide.map_file)
    except (ValueError, KeyError, OSError) as error:
        notes.append(f"The map of this slide cannot be read: {error}")
        return None


def _of_map(own: SlideMap) -> list[Layer]:
    contributions = [
        Layer(
            name=output,
            group="contribution",
            of="map",
            is_signed=True,
            values=own.contributions[:, at].astype(np.float32),
        )
        for at, output in enumerate(own.outputs)
    ]
    return [
        *contributions,
        Layer(name="attention", group="attention", of="map", is_signed=False, values=own.attention.astype(np.float32)),
    ]


def _um(coords: Num[np.ndarray, "n 2"], mpp: tuple[float, float]) -> Float32[np.ndarray, "n 2"]:
    return (np.asarray(coords, np.float64).reshape(-1, 2) * np.array(mpp)).astype(np.float32)


def _places(coords: Num[np.ndarray, "n 2"], mpp: tuple[float, float], tiles: SlideTiles) -> Places:
    return Places(corners_um=_um(coords, mpp), tile_um=tiles.tile_um, stride_um=tiles.stride_um)


def _tissue(
    study: Study, slide: ListedSlide, geometry: Geometry | None, notes: list[str]
) -> tuple[Float32[np.ndarray, "_ 2"], ...]:
    path = study.outline_file(slide.slide_id)
    if geometry is None or not path.is_file():
        return ()
    try:
        outline = read_geojson(path.read_text(encoding="utf-8"), origin=geometry.origin_px)
    except (ValueError, OSError) as error:
        notes.append(f"The outline of this slide cannot be read: {error}")
        return ()
    rings = [ring for piece in outline.pieces for ring in (piece.exterior, *piece.interiors)]
    step = 1 + sum(len(ring.coords) for ring in rings) // MOST_CORNERS
    return tuple(_um(np.array(ring.coords)[::step, :2], geometry.mpp) for ring in rings)


def layers_json(slide: ListedSlide, geometry: Geometry | None, layers: SlideLayers, fault: str) -> dict[str, object]:
    """Return what the page is told of a slide; values and places are fetched by themselves, as bytes."""
    return {
        "number": slide.number, "id": slide.slide_id, "patient": slide.patient_id, "flags": slide.flags, "fault": fault,
        "told": layers.told, "notes": layers.notes,
        "geometry": None if geometry is None else {
            "size_um": geometry.size_um, "scanned_um": geometry.scanned_um, "finest_um": geometry.finest_um,
            "n_levels": geometry.n_levels, "mpp": geometry.mpp,
        },
        "places": {
            name: {"n": len(own.corners_um), "tile_um": own.tile_um, "stride_um": own.stride_um}
            for name, own in layers.places.items()
        },
        "layers": [
            {
                "name": own.name, "group": own.group, "of": own.of, "is_signed": own.is_signed,
                "limits": [round(limit, 9) for limit in own.limits],
            }
            for own in layers.layers
        ],
        "tissue": [np.round(ring, 1).tolist() for ring in layers.tissue],
        "left_out": np.round(layers.left_out, 1).tolist(),
    }  # fmt: skip
