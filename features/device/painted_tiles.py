"""A fixed set of painted tiles: five tumours, stroma, fat, necrosis and glass in the stains of three sites.

On it the precisions of a GPU are compared, so the choice depends on encoder and GPU alone, never on a study's slides.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from preprocessing.synthetic.layout import Layout, SlideRecipe
from preprocessing.synthetic.looks import SUBTYPES
from preprocessing.synthetic.painter import PAINT_MPP
from preprocessing.synthetic.scanner import render
from preprocessing.synthetic.synthetic_cohort import SITES

TILE_PX = 256
FIELD_PX = 2 * TILE_PX  # a field is cut into four tiles
LAYOUT_PX = 16  # of a value of a layout: 8 µm


def painted_tiles() -> UInt8[np.ndarray, "n 256 256 3"]:
    """Return four tiles a subtype at 0.5 µm a pixel, the same bytes at every call; subtypes differ in stains and density."""
    tiles = []
    for number, subtype in enumerate(SUBTYPES):
        site, side_mm = SITES[number % len(SITES)], FIELD_PX * PAINT_MPP / 1000
        recipe = SlideRecipe(
            slide_id=subtype, subtype=subtype, seed=(20210607, number), mpp=PAINT_MPP, width_mm=side_mm,
            height_mm=side_mm, n_pieces=1, tumour_share=0.6, necrosis_share=0.1, fat_share=0.2,
            mitotic_density=number / (len(SUBTYPES) - 1), haematoxylin=site.haematoxylin, eosin=site.eosin,
            intensities=site.intensities, glass=site.glass,
        )  # fmt: skip
        field = render(recipe, _layout(), np.random.default_rng(recipe.seed))
        tiles += [half for row in np.split(field, 2, axis=0) for half in np.split(row, 2, axis=1)]
    return np.stack(tiles)


def _layout() -> Layout:
    """Return tumour above, stroma, fat and necrosis below, and glass in two corners."""
    y, x = (np.mgrid[:FIELD_PX:LAYOUT_PX, :FIELD_PX:LAYOUT_PX] + (LAYOUT_PX - 1) / 2).astype(np.float32)
    return Layout(
        {
            "tissue": np.minimum(x + y - 180, 1.6 * FIELD_PX - x - y),
            "tumour": 300 - y,
            "necrosis": np.minimum(y - 320, 150 - x),
            "fat": np.minimum(y - 330, x - 260),
        }
    )
