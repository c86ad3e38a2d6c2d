"""Stain fits of a tile table's bags, each made on fields spread over all images of the bag."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from common.failures import SlideError
from common.machine import default_workers
from common.parallel import over_slides
from features.embedding.extraction_settings import ExtractionConfig
from features.embedding.tile_fields import field_corners, field_side
from features.embedding.tile_images import TileImages
from features.stream.tile_reader import image_pixels
from preprocessing.colour.stain import StainFit, fit_stain

N_PATCHES = 32
PATCH_PX = 256

FieldOfImage = tuple[Path, int, int, int]  # x, y, side


def fit_image_stains(
    images_of: Mapping[str, TileImages], config: ExtractionConfig, field_px: int
) -> dict[str, StainFit | SlideError]:
    """Fit every bag's stains in worker processes; a bag whose fit fails keeps its error."""
    jobs = [
        (bag, (_spread_fields(images, field_px), config.stain)) for bag, images in images_of.items() if images.usable
    ]
    workers = default_workers() if config.workers is None else config.workers
    outcomes = over_slides(fit_fields, jobs, workers=workers, timeout_s=config.timeout_s, title="stain fits")
    fits: dict[str, StainFit | SlideError] = {}
    for outcome in outcomes:
        found = outcome.error if outcome.value is None else outcome.value
        assert found is not None, "an outcome has a value or an error"
        fits[outcome.name] = found
    return fits


def _spread_fields(images: TileImages, field_px: int) -> list[FieldOfImage]:
    """Choose fields spread evenly over all images."""
    fields: list[FieldOfImage] = []
    for path, width, height in images.usable:
        side = field_side(width, height, field_px)
        fields += [(path, x, y, side) for x, y in field_corners(width, height, side).tolist()]
    chosen = np.linspace(0, len(fields) - 1, min(N_PATCHES, len(fields))).round().astype(int)
    return [fields[index] for index in chosen]


def fit_fields(fields: Sequence[FieldOfImage], method: str) -> StainFit:
    """Fit the stains on the middles of fields; images that cannot be decoded are passed over."""
    return fit_stain(list(_patches(fields)), method=method)


def _patches(fields: Sequence[FieldOfImage]) -> Iterator[UInt8[np.ndarray, "_ _ 3"]]:
    read: tuple[Path, np.ndarray | None] | None = None
    for path, x, y, side in fields:
        if read is None or read[0] != path:
            try:
                read = path, image_pixels(path)
            except SlideError:
                read = path, None
        if read[1] is None:
            continue
        shift = max(0, side - PATCH_PX) // 2
        patch = read[1][y + shift : y + side - shift, x + shift : x + side - shift]
        yield patch[:PATCH_PX, :PATCH_PX]
