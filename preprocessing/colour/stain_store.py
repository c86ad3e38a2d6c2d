"""How a stain fit is kept: arrays and attributes of a tile file, the text that names a reference, and reference files.

A reference is what slides are mapped to: the built-in one, a fit on an image, or a JSON file that
preprocessing/make_stain_reference.py made of the fits of chosen slides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.failures import StudyError
from common.files import settings_text, write_json
from preprocessing.colour.stain import MIN_P99, REFERENCE, StainFit, fit_stain
from preprocessing.colour.stain_matrix import unit_rows

SCHEMA = "stain_reference/2"
IMAGE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})
IMAGE_PATCH_PX = 256


def fit_arrays(fit: StainFit) -> dict[str, np.ndarray]:
    """Return the arrays a tile file keeps of a fit."""
    arrays = {
        "stain_matrix": fit.matrix, "stain_pink": fit.basis[1], "stain_p99": fit.p99, "glass": np.array(fit.glass),
    }  # fmt: skip
    return arrays if fit.lab is None else {**arrays, "stain_lab": fit.lab}


def fit_attributes(fit: StainFit) -> dict[str, str | int | float | bool]:
    """Return the attributes a tile file keeps of a fit."""
    return {"stain_method": fit.method, "stain_fallback": fit.fallback, "stain_strength": fit.strength}


def fit_of(arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> StainFit:
    """Return the fit that a tile file keeps."""
    red, green, blue = (float(value) for value in arrays["glass"])
    return StainFit(
        method=attributes["stain_method"], matrix=arrays["stain_matrix"], p99=arrays["stain_p99"],
        glass=(red, green, blue), fallback=attributes["stain_fallback"], lab=arrays.get("stain_lab"),
        pink=arrays["stain_pink"], strength=float(attributes["stain_strength"]),
    )  # fmt: skip


def reference_text(reference: StainFit) -> str:
    """Return what decides the colours of a reference as canonical text; features made with another text do not mix."""
    parts = {
        "matrix": reference.matrix.round(4).tolist(), "pink": reference.basis[1].round(4).tolist(),
        "p99": reference.p99.round(4).tolist(),
    }  # fmt: skip
    if reference.lab is not None:
        parts["lab"] = reference.lab.round(3).tolist()
    return settings_text(parts)


def aggregate(fits: Sequence[StainFit]) -> StainFit:
    """Return the reference of many slides: the median of their vectors, the mean of their percentiles and CIELAB.

    Fits in which the built-in vectors were taken say nothing of the slides' stains, nor do slides without a fit.

    Raises:
        ValueError: no fit is left.
    """
    used = [fit for fit in fits if fit.method not in ("reference", "none")]
    if not used:
        raise ValueError("none of the slides has a stain fit of its own")
    spreads = [fit.lab for fit in used if fit.lab is not None]
    return StainFit(
        method="reference",
        matrix=unit_rows(np.median([fit.matrix for fit in used], axis=0)),
        pink=unit_rows(np.median([fit.basis[1:] for fit in used], axis=0))[0],
        p99=np.mean([fit.p99 for fit in used], axis=0),
        lab=np.mean(spreads, axis=0) if len(spreads) == len(used) else None,
    )


def write_reference(path: Path, reference: StainFit, *, name: str, made_of: Mapping[str, object]) -> None:
    """Write a reference as JSON, atomically; `made_of` records slides and methods."""
    value = {
        "schema": SCHEMA, "name": name, "matrix": reference.matrix.tolist(), "pink": reference.basis[1].tolist(),
        "p99": reference.p99.tolist(), "lab": None if reference.lab is None else reference.lab.tolist(), **made_of,
    }  # fmt: skip
    write_json(path, value)


def read_reference(path: Path | None) -> StainFit:
    """Return the reference of a JSON file or of an image (fitted on it, Vahadane); without a path, the built-in one.

    Raises:
        StudyError: the file is missing, unreadable, of another kind, or its colours are no H&E.
    """
    if path is None:
        return REFERENCE
    if not path.is_file():
        raise StudyError(f"no stain reference at {path}; give an image, or a JSON of make_stain_reference.py")
    if path.suffix.lower() in IMAGE_ENDINGS:
        return _of_image(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["schema"] != SCHEMA:
            raise ValueError(f"format {value['schema']}, not {SCHEMA}")
        matrix, p99 = np.array(value["matrix"], dtype=np.float64), np.array(value["p99"], dtype=np.float64)
        pink = np.array(value["pink"], dtype=np.float64)
        spread = None if value["lab"] is None else np.array(value["lab"], dtype=np.float64)
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{path} is no stain reference ({error}); wanted an image ({', '.join(sorted(IMAGE_ENDINGS))}) or a JSON "
            f"of preprocessing/make_stain_reference.py"
        ) from error
    is_shaped = matrix.shape == (2, 3) and pink.shape == (3,) and p99.shape == (2,)
    if (
        not is_shaped
        or (spread is not None and spread.shape != (2, 3))
        or not _can_stain(np.vstack([matrix, pink]), p99)
    ):
        raise StudyError(f"{path}: matrix, pink, p99 or lab has another shape or impossible values; make the file anew")
    return StainFit(method="reference", matrix=unit_rows(matrix), p99=p99, lab=spread, pink=unit_rows(pink[None])[0])


def _can_stain(vectors: np.ndarray, p99: np.ndarray) -> bool:
    """Say whether vectors (rows) and amounts can be those of stains."""
    return bool((vectors >= 0).all() and (np.linalg.norm(vectors, axis=1) >= 1e-6).all() and (p99 >= MIN_P99).all())


def _of_image(path: Path) -> StainFit:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            image = np.asarray(file.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise StudyError(f"{path} cannot be read as an image ({error})") from error
    side = min(IMAGE_PATCH_PX, *image.shape[:2])
    patches = [
        image[y : y + side, x : x + side]
        for y in range(0, image.shape[0] - side + 1, side)
        for x in range(0, image.shape[1] - side + 1, side)
    ]
    fit = fit_stain(patches, method="vahadane")
    if fit.method == "reference":
        raise StudyError(f"{path} cannot be a stain reference: {fit.fallback}; choose a well-stained H&E field")
    return StainFit(method="reference", matrix=fit.matrix, p99=fit.p99, lab=fit.lab, pink=fit.pink)
