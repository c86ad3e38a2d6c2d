"""Large slides for benchmarks, cheaply: one painted square of tissue and one of glass, repeated by their JPEG bytes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

TILE_PX = 256
CELL_PX = 4096  # side of a square at level 0


def painted_cell(seed: int = 5) -> UInt8[np.ndarray, "4096 4096 3"]:
    """A square of 2 mm with tissue in its middle, at 0.5 µm a pixel, painted like the demo's slides."""
    from dataclasses import replace

    from preprocessing.synthetic.layout import lay_out
    from preprocessing.synthetic.scanner import render
    from preprocessing.synthetic.synthetic_cohort import make_cohort

    recipe = next(
        slide for patient in make_cohort(30, seed) for slide in patient.slides if slide.mpp == 0.5 and not slide.pen
    )
    side_mm = CELL_PX * 0.5 / 1000
    recipe = replace(recipe, width_mm=side_mm, height_mm=side_mm, n_pieces=1, is_blurred=False, has_fold=False)
    rng = np.random.default_rng(recipe.seed)
    return render(recipe, lay_out(recipe, rng), rng)


def write_mosaic(
    path: Path, cell: UInt8[np.ndarray, "n n 3"], has_tissue: Bool[np.ndarray, "rows columns"], *, mpp: float, step: int = 4,
    n_levels: int = 3, description: str | None = None,
) -> None:  # fmt: skip
    """Write a tiled JPEG TIFF (BigTIFF) whose squares show the cell or bare glass.

    Args:
        path: the file.
        cell: the painted square; its corner pixels are glass.
        has_tissue: which squares show it.
        mpp: µm a pixel of level 0.
        step: ratio between levels.
        n_levels: number of levels.
        description: image description, such as Aperio's.
    """
    import tifffile
    from imagecodecs import jpeg_encode

    glass = np.broadcast_to(np.median(cell[:64, :64].reshape(-1, 3), axis=0).astype(np.uint8), (TILE_PX, TILE_PX, 3))
    glass_bytes = jpeg_encode(np.ascontiguousarray(glass), level=85)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level in range(n_levels):
            tiles = _encoded(cell)
            n = len(tiles)
            shape = (has_tissue.shape[0] * n * TILE_PX, has_tissue.shape[1] * n * TILE_PX, 3)

            def segments(tiles: list[list[bytes]] = tiles, n: int = n) -> Iterator[bytes]:
                for row in range(has_tissue.shape[0] * n):
                    for column in range(has_tissue.shape[1] * n):
                        is_tissue = has_tissue[row // n, column // n]
                        yield tiles[row % n][column % n] if is_tissue else glass_bytes

            per_cm = 1e4 / (mpp * step**level)
            file.write(
                segments(), shape=shape, dtype=np.uint8, tile=(TILE_PX, TILE_PX), photometric="ycbcr", compression="jpeg",
                subsampling=(2, 2), resolution=(per_cm, per_cm), resolutionunit="CENTIMETER", subfiletype=1 if level else 0,
                metadata=None, description=description if level == 0 else None,
            )  # fmt: skip
            cell = _shrunk(cell, step)


def _encoded(cell: UInt8[np.ndarray, "n n 3"]) -> list[list[bytes]]:
    from imagecodecs import jpeg_encode

    side = range(0, len(cell), TILE_PX)
    return [
        [jpeg_encode(np.ascontiguousarray(cell[y : y + TILE_PX, x : x + TILE_PX]), level=85) for x in side]
        for y in side
    ]


def _shrunk(cell: UInt8[np.ndarray, "n n 3"], step: int) -> UInt8[np.ndarray, "m m 3"]:
    n = len(cell) // step
    return cell.reshape(n, step, n, step, 3).mean(axis=(1, 3)).round().astype(np.uint8)
