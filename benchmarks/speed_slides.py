"""Slides that the speed of reading and embedding is measured on, made of another slide's pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from features.stream.tile_reader import TileRequest
from preprocessing.reading.slide import open_slide

TILE_UM, TILE_PX = 128.0, 256
SIDE_PX = 8192  # of the square taken from the source: 1,024 tiles at 20x
APERIO = "Aperio Image Library v12\n{w}x{h} (240x240) JPEG/RGB Q=80|AppMap = {mag}|AppMag = {mag}|MPP = {mpp}"
KINDS = (  # name, µm a pixel, side of the file's tiles, copies of the square (down, across)
    ("SVS 40x to 20x", 0.25, 240, (1, 3)),
    ("SVS 20x", 0.5, 240, (1, 1)),
    ("SVS 20x RGB inside", 0.5, 240, (1, 1)),
    ("generic TIFF 20x", 0.5, 256, (1, 1)),
)


def make_slides(
    source: Path, folder: Path, *, kinds: Sequence[str] = tuple(kind[0] for kind in KINDS), down: int = 1
) -> dict[str, tuple[Path, float]]:
    """Write slides from a square of the source's middle; returns name to (path, µm a pixel).

    Args:
        source: any slide.
        folder: where they go.
        kinds: their names.
        down: times as many copies of the square below each other.
    """
    import tifffile

    with open_slide(source, mpp=(0.5, 0.5)) as slide:
        side = min(SIDE_PX, slide.width, slide.height) // 1024 * 1024
        corner = ((slide.width - side) // 2, (slide.height - side) // 2)
        square = slide.read_area(corner, (side, side), (side, side))
    slides = {}
    for name, mpp, tile, copies in KINDS:
        if name not in kinds:
            continue
        is_aperio, is_rgb = name.startswith("SVS"), name.endswith("RGB inside")
        path = folder / (name.replace(" ", "_") + (".svs" if is_aperio else ".tif"))
        image = np.tile(square, (copies[0] * down, copies[1], 1))
        text = APERIO.format(w=image.shape[1], h=image.shape[0], mag=round(10 / mpp), mpp=mpp) if is_aperio else None
        with tifffile.TiffWriter(path) as file:
            for step in (1, 4):
                file.write(
                    image[::step, ::step], tile=(tile, tile), photometric="rgb", compression="jpeg", metadata=None,
                    compressionargs={"level": 80, **({"outcolorspace": "RGB"} if is_rgb else {})},
                    description=text if step == 1 else None, resolution=(1e4 / mpp / step,) * 2,
                    resolutionunit="CENTIMETER", subfiletype=0 if is_aperio or step == 1 else 1,
                )  # fmt: skip
        slides[name] = (path, mpp)
    return slides


def request_of(path: Path, mpp: float, n_tiles: int) -> TileRequest:
    """Ask for whole tiles row by row."""
    with open_slide(path, mpp=(mpp, mpp)) as slide:
        step = TILE_UM / mpp
        columns, rows = int(slide.width // step), int(slide.height // step)
    coords = np.array([(round(x * step), round(y * step)) for y in range(rows) for x in range(columns)], np.int64)
    return TileRequest(
        name=path.stem,
        path=path,
        mpp=(mpp, mpp),
        coords=coords[:n_tiles],
        tile_um=TILE_UM,
        tile_px=TILE_PX,
        colour=None,
    )
