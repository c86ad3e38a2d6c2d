"""A fixed set of painted tiles: five tumours, stroma, fat, necrosis and glass in the stains of three sites.

On it the precisions of a GPU are compared, so the choice depends on encoder and GPU alone, never on a study's slides.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from preprocessing.synthetic_cohort import SITES, Site
from preprocessing.synthetic_tissue import FAT, GLASS, NECROSIS, STROMA, SUBTYPES, TUMOUR, Canvas, paint

TILE_PX = 256
FIELD_PX = 2 * TILE_PX  # a field is cut into four tiles
SENSOR_NOISE = 1.6  # standard deviation, grey levels


def painted_tiles() -> UInt8[np.ndarray, "n 256 256 3"]:
    """Return four tiles a subtype at 0.5 µm a pixel, the same bytes at every call; subtypes differ in stains and density."""
    tiles = []
    for number, subtype in enumerate(SUBTYPES):
        rng = np.random.default_rng([20210607, number])
        canvas = paint(_regions(), subtype, mitotic_density=number / (len(SUBTYPES) - 1), rng=rng)
        field = _developed(canvas, SITES[number % len(SITES)], rng)
        tiles += [half for row in np.split(field, 2, axis=0) for half in np.split(row, 2, axis=1)]
    return np.stack(tiles)


def _regions() -> UInt8[np.ndarray, "h w"]:
    """Return tumour above, stroma, fat and necrosis below, and glass in two corners."""
    y, x = np.mgrid[:FIELD_PX, :FIELD_PX]
    regions = np.full((FIELD_PX, FIELD_PX), TUMOUR, np.uint8)
    regions[y > 300] = STROMA
    regions[(y > 330) & (x > 260)] = FAT
    regions[(y > 320) & (x < 150)] = NECROSIS
    regions[(x + y < 180) | (x + y > 1.6 * FIELD_PX)] = GLASS
    return regions


def _developed(canvas: Canvas, site: Site, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Turn densities into light by Beer and Lambert."""
    eosin = canvas.eosin * (1 - 0.8 * np.clip(canvas.haematoxylin / 0.6, 0, 1))  # a nucleus takes cytoplasm's place
    stains = np.array([site.haematoxylin, site.eosin]) * np.array(site.intensities)[:, None]
    light = np.array(site.glass) * 10 ** -(np.stack([canvas.haematoxylin, eosin], axis=-1) @ stains)
    return np.clip(light + rng.normal(0, SENSOR_NOISE, light.shape) + 0.5, 0, 255).astype(np.uint8)
