"""The value of a tiled slide, with something in every field."""

import numpy as np

from preprocessing.tiling.slide_tiles import Exclusions, SlideTiles
from tests.helpers.painted_stains import some_fit

TILES = SlideTiles(
    slide_id="s1", coords=np.array([[0, 0], [512, 0], [0, 256]]), tissue_fraction=np.ones(3, np.float32), mpp_x=0.25, mpp_y=0.5,
    mpp_source="file", tile_um=128.0, tile_px=256, slide_width=4000, slide_height=3000, tissue_mm2=0.12345, stain=some_fit(0),
    slide_fingerprint="f", settings="{}", piece=np.ones(3, np.int32), n_pieces=2, stride_um=96.0, tissue_source="segmented",
    tissue_fingerprint="", flags=("pen 3%", "pale"),
    quality={"sharpness": np.array([1.0, 2.0, np.nan], np.float32)},
    exclusions=Exclusions(np.array([[9, 9], [8, 8], [7, 7]]), np.array([2, 2, 1], np.uint8), ("", "pen", "fold", "glass")),
)  # fmt: skip
