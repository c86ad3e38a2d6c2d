"""The feature file: embeddings and coordinates of a slide's readable tiles, with all that says how they were made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from common.artifacts import read_arrays, write_arrays

SCHEMA = "features/1"
# attributes that must agree between the bags of one training run
MADE_ALIKE = ("encoder", "weights_sha256", "transform", "stain", "stain_reference", "tile_um", "tile_px", "precision")


@dataclass(frozen=True, kw_only=True)
class FeatureBag:
    """The embeddings of one slide; row i of `features` is the tile at row i of `coords` (level-0 px, top left)."""

    slide_id: str
    features: Float[np.ndarray, "n dim"]  # float16; features of other tools keep their float32
    coords: Int64[np.ndarray, "n 2"]
    unreadable: Int64[np.ndarray, " m"]  # rows of the tile file that could not be read
    attributes: Mapping[str, Any]
    image_index: Int64[np.ndarray, " n_or_0"] = field(default_factory=lambda: np.empty(0, np.int64))  # tile tables only


def write_feature_bag(
    path: Path, bag: FeatureBag, *, coords_attributes: Mapping[str, str | int | float] | None = None
) -> None:
    """Write a feature file, atomically. `coords_attributes` are for other tools' readers."""
    arrays = {"features": bag.features, "coords": bag.coords, "unreadable": bag.unreadable}
    if len(bag.image_index):
        arrays["image_index"] = bag.image_index
    attributes = {"schema": SCHEMA, "slide_id": bag.slide_id, **bag.attributes}
    write_arrays(path, arrays, attributes, array_attributes={"coords": coords_attributes or {}})


def read_feature_bag(path: Path) -> FeatureBag:
    """Read a feature file whole.

    Raises:
        ValueError: the file is truncated, damaged or of another kind.
    """
    file = read_arrays(path)
    if file.attributes.get("schema") != SCHEMA:
        found = file.attributes.get("schema")
        raise ValueError(f"{path}: format {found}, not {SCHEMA}; rerun features/extract_features.py")
    return FeatureBag(
        slide_id=file.attributes["slide_id"],
        features=file.arrays["features"],
        coords=file.arrays["coords"],
        unreadable=file.arrays["unreadable"],
        image_index=file.arrays.get("image_index", np.empty(0, np.int64)),
        attributes=file.attributes,
    )
