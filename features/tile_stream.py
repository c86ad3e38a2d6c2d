"""Tiles read ahead by worker processes: decoded, colour-normalised, handed over in order, slide after slide.

The parent embeds while workers decode. A worker that crashes or hangs costs its slide only; at most `ahead` blocks are
in memory, whatever the size of a slide. This module and what workers import stay free of torch.
"""

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from common.failures import SlideError
from common.parallel import Outcome, outcome_of
from preprocessing.slide import open_slide, read_tile
from preprocessing.stain import StainMap, apply_map

BLOCK_TILES = 64


@dataclass(frozen=True, kw_only=True)
class TileRequest:
    """The tiles of one bag: squares of slides (`tile_um` set) or fields of an image (`tile_um` is None)."""

    name: str
    path: Path
    mpp: tuple[float, float] | None
    coords: Int64[np.ndarray, "n 2"]
    tile_um: float | None
    tile_px: int
    colour: StainMap | None


@dataclass(frozen=True)
class TileBlock:
    """Pixels of consecutive tiles of a request; tiles that could not be read are left out and listed."""

    tiles: UInt8[np.ndarray, "n px px 3"]
    unreadable: Int64[np.ndarray, " m"]  # indices into the request's coords


def stream_blocks(
    requests: Iterable[TileRequest], *, workers: int, ahead: int, timeout_s: float
) -> Iterator[tuple[TileRequest, Outcome[TileBlock], bool]]:
    """Yield (request, block or error, is last block) in order; after an error a request's other blocks are dropped.

    Args:
        requests: what to read.
        workers: number of reading processes.
        ahead: blocks in flight or waiting at any time.
        timeout_s: time limit of a block, seconds.
    """
    from pebble import ProcessPool

    pool = ProcessPool(max_workers=workers, context=multiprocessing.get_context("spawn"))
    try:
        waiting: deque[tuple[TileRequest, Any, bool]] = deque()
        work = _blocks(requests)
        failed_name: str | None = None
        while True:
            while len(waiting) < max(ahead, 1) and (block := next(work, None)) is not None:
                request, start, is_last = block
                stop = start + BLOCK_TILES
                waiting.append(
                    (request, pool.schedule(read_block, args=(request, start, stop), timeout=timeout_s), is_last)
                )
            if not waiting:
                break
            request, future, is_last = waiting.popleft()
            if request.name == failed_name:
                future.cancel()
                continue
            outcome = outcome_of(request.name, future.result, timeout_s)
            failed_name = request.name if outcome.error is not None else None
            yield request, outcome, is_last or outcome.error is not None
        pool.close()
    except BaseException:
        pool.stop()
        raise
    finally:
        pool.join()


def _blocks(requests: Iterable[TileRequest]) -> Iterator[tuple[TileRequest, int, bool]]:
    for request in requests:
        for start in range(0, len(request.coords), BLOCK_TILES):
            yield request, start, start + BLOCK_TILES >= len(request.coords)


def read_block(request: TileRequest, start: int, stop: int) -> TileBlock:
    """Read tiles `start` to `stop` of a request; runs in a worker process.

    Raises:
        SlideError: the file cannot be opened. A tile that cannot be read is left out and listed instead.
    """
    if request.tile_um is None:
        tiles = _image_fields(request, start, stop)
        return TileBlock(tiles, np.empty(0, np.int64))
    tiles_read, unreadable = [], []
    with open_slide(request.path, mpp=request.mpp) as slide:
        for index, (x, y) in enumerate(request.coords[start:stop].tolist(), start=start):
            try:
                tiles_read.append(read_tile(slide, x, y, tile_um=request.tile_um, tile_px=request.tile_px))
            except SlideError:
                unreadable.append(index)
                slide.reopen()
    shape = (0, request.tile_px, request.tile_px, 3)
    tiles = np.stack(tiles_read) if tiles_read else np.empty(shape, np.uint8)
    if request.colour is not None:
        tiles = apply_map(tiles, request.colour)
    return TileBlock(tiles, np.array(unreadable, dtype=np.int64))


def _image_fields(request: TileRequest, start: int, stop: int) -> UInt8[np.ndarray, "n px px 3"]:
    """Cut fields out of a plain tile image."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(request.path) as file:
            image = np.asarray(file.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise SlideError(f"{request.path.name} cannot be read as an image ({error})", "replace the file") from error
    px = request.tile_px
    return np.stack([image[y : y + px, x : x + px] for x, y in request.coords[start:stop].tolist()])
