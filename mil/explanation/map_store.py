"""The file of a slide's map: the contribution of each tile to each output, with all that says what they are of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Num

from common.arrays import read_arrays, write_arrays

SCHEMA = "map/1"


@dataclass(frozen=True, kw_only=True)
class SlideMap:
    """A slide's contributions; row i is the tile at row i of `coords`, in the plane of the feature file."""

    slide_id: str
    patient_id: str
    outputs: tuple[str, ...]
    told: str
    contributions: Float64[np.ndarray, "n out"]
    attention: Float64[np.ndarray, " n"]  # of the patient's whole bag: a slide's part of 1
    coords: Num[np.ndarray, "n_or_0 2"]
    coords_unit: str
    known: Mapping[str, Any]  # of the patient: base, values, residual by output; level, heads, methods, task, model


def write_slide_map(path: Path, own: SlideMap) -> None:
    """Write a map, atomically."""
    attributes: dict[str, str | int | float | bool] = {
        "schema": SCHEMA, "slide_id": own.slide_id, "patient_id": own.patient_id, "outputs": json.dumps(own.outputs),
        "told": own.told, "coords_unit": own.coords_unit,
        **{name: value if isinstance(value, str) else json.dumps(value) for name, value in own.known.items()},
    }  # fmt: skip
    arrays = {"coords": own.coords, "contributions": own.contributions, "attention": own.attention}
    write_arrays(path, arrays, attributes)


def read_slide_map(path: Path) -> SlideMap:
    """Read a map.

    Raises:
        ValueError: the file is damaged or of another kind.
    """
    file = read_arrays(path)
    known = {str(name): value for name, value in file.attributes.items()}
    if known.pop("schema", None) != SCHEMA:
        raise ValueError(f"{path}: not of format {SCHEMA}; rerun mil/explain.py")
    try:
        own = {name: known.pop(name) for name in ("slide_id", "patient_id", "told", "coords_unit")}
        return SlideMap(
            **own, outputs=tuple(json.loads(known.pop("outputs"))), coords=file.arrays["coords"],
            contributions=file.arrays["contributions"], attention=file.arrays["attention"],
            known={name: value for name, value in known.items() if not name.endswith("sha256") or name == "model_sha256"},
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:  # what is missing, no text, or no list of names
        raise ValueError(f"{path}: damaged ({error}); rerun mil/explain.py") from error
