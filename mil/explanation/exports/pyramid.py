"""The numbers of a map as a pyramidal OME-TIFF: a channel an output, one for attention, one that counts the tiles over a pixel.

The image is of the area that viewers show; its pixels are squares of the glass, in µm, a tile is a block of whole pixels.
Where no tile lies the count is 0, and so are all values.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Num

from common.files import replacing
from mil.explanation.place import MapGrid, TilePlaces, map_grid

BLOCK_PX = 256
TILES = "tiles over the pixel"


def write_pyramid(path: Path, places: TilePlaces, values: Mapping[str, Num[np.ndarray, " n"]], *, name: str) -> MapGrid:
    """Write a map, atomically, and return its grid.

    Args:
        path: the file, ending in .ome.tif.
        places: of the tiles.
        values: by the name of the channel, a tile each.
        name: of the image.
    """
    import tifffile

    grid = map_grid(places)
    painted, counts = grid.painted(np.stack(list(values.values()), axis=1))
    image = np.concatenate([painted, counts[None].astype(np.float32)])
    levels = [image]
    while max(levels[-1].shape[1:]) > BLOCK_PX:
        levels.append(_halved(levels[-1]))
    metadata = {
        "axes": "CYX", "Name": name, "Channel": {"Name": [*values, TILES]},
        "PhysicalSizeX": grid.pixel_um, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": grid.pixel_um, "PhysicalSizeYUnit": "µm",
        "UUID": _uuid(image),
    }  # fmt: skip
    options = {"tile": (BLOCK_PX, BLOCK_PX), "compression": "zlib", "photometric": "minisblack"}
    resolution = (1e4 / grid.pixel_um, 1e4 / grid.pixel_um)
    with replacing(path) as partial, tifffile.TiffWriter(partial, ome=True, bigtiff=image.nbytes > 2 << 30) as file:
        file.write(
            image, subifds=len(levels) - 1, metadata=metadata, resolution=resolution, resolutionunit="CENTIMETER",
            software="sarcoma-mil", **options,
        )  # fmt: skip
        for step, level in enumerate(levels[1:], start=1):
            own = (resolution[0] / 2**step, resolution[1] / 2**step)
            file.write(level, subfiletype=1, resolution=own, resolutionunit="CENTIMETER", metadata=None, **options)
    return grid


def _uuid(image: np.ndarray) -> str:
    """Return an id made of the content: the same map is the same bytes."""
    import hashlib
    import uuid

    return str(uuid.UUID(bytes=hashlib.sha256(image.tobytes()).digest()[:16], version=4))


def _halved(image: np.ndarray) -> np.ndarray:
    """Return the means of squares of two by two tile pixels; those without a tile count nothing, and counts stay counts."""
    channels, height, width = image.shape
    padded = np.zeros((channels, height + height % 2, width + width % 2), np.float32)
    padded[:, :height, :width] = image
    squares = padded.reshape(channels, padded.shape[1] // 2, 2, padded.shape[2] // 2, 2)
    is_tile = squares[-1:] > 0
    n = np.maximum(is_tile.sum(axis=(2, 4)), 1)
    return np.concatenate([(squares[:-1] * is_tile).sum(axis=(2, 4)) / n, squares[-1:].max(axis=(2, 4))]).astype(
        np.float32
    )
