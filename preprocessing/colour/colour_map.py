"""The colour map of a slide, applied pixel by pixel or by a table of all 256^3 colours; both give the same bytes."""

import functools
import sys

import numpy as np
from jaxtyping import UInt8, UInt32

from preprocessing.colour.colour_formula import Factors, Formula, StainMap
from preprocessing.colour.optical_density import Glass

BLOCK_PX = 65_536  # pixels that stay in the cache with what is computed of them
TABLE_PAYS_PX = 130 * 256 * 256  # from so many pixels of one slide on, a table saves more than its making costs


def apply_map(
    tiles: UInt8[np.ndarray, "*n 3"], to_target: StainMap, *, table: UInt32[np.ndarray, " colours"] | None = None
) -> UInt8[np.ndarray, "*n 3"]:
    """Map tiles to the target's colours; glass becomes white and takes no tinge.

    Optical densities below OD_BACKGROUND fade from unmixed (half of it) to fully mapped, so noise on glass is not coloured.

    Args:
        tiles: pixels, RGB.
        to_target: the slide's map.
        table: its `colour_table`; the result is the same to the byte, many times sooner.
    """
    flat = np.ascontiguousarray(tiles).reshape(-1, 3)
    if table is not None:
        return _looked_up(flat, table).reshape(tiles.shape)
    formula = _formula_of(to_target)
    mapped = np.empty_like(flat)
    for start in range(0, len(flat), BLOCK_PX):
        mapped[start : start + BLOCK_PX] = formula.mapped(flat[start : start + BLOCK_PX])
    return mapped.reshape(tiles.shape)


def colour_table(to_target: StainMap) -> UInt32[np.ndarray, " colours"]:
    """Return the map of all 256^3 colours: entry r + 256 g + 65,536 b is R + 256 G + 65,536 B (64 MiB).

    On a device: gather by that index; the bytes of an entry are R, G, B and 0 in this order on every machine in use.
    `colour_cube` has the same as bytes.
    """
    formula = _formula_of(to_target)
    table = np.empty((256, 65_536), np.uint32)
    for blue, mapped in enumerate(formula.slabs()):
        np.left_shift(mapped[2], 16, out=table[blue], dtype=np.uint32)
        table[blue] |= np.left_shift(mapped[1], 8, dtype=np.uint32)
        table[blue] |= mapped[0]
    return table.reshape(-1)


def colour_factors(to_target: StainMap) -> Factors | None:
    """Return the factors of `colour_table`, for a device that multiplies them out by itself; None for Reinhard's map."""
    return _formula_of(to_target).factors()


def colour_cube(table: UInt32[np.ndarray, " colours"]) -> UInt8[np.ndarray, "256 256 256 3"]:
    """Return a table as bytes, indexed by red, green and blue (48 MiB)."""
    channels = [(table >> shift & 255).astype(np.uint8).reshape(256, 256, 256).T for shift in (0, 8, 16)]
    return np.stack(channels, axis=-1)


@functools.lru_cache(maxsize=1)
def _kept_table(matrix: bytes, shift: bytes, glass: Glass, space: str) -> UInt32[np.ndarray, " colours"]:
    return colour_table(StainMap(np.frombuffer(matrix).reshape(3, 3), glass, space, np.frombuffer(shift)))


def paying_table(to_target: StainMap, *, n_pixels: int) -> UInt32[np.ndarray, " colours"] | None:
    """Return the table of a map if it pays for that many pixels, else None; the last one made is kept in the process.

    Args:
        to_target: the slide's map.
        n_pixels: what this process will map with it, all calls together.
    """
    if n_pixels < TABLE_PAYS_PX:
        return None
    return _kept_table(to_target.matrix.tobytes(), to_target.shift.tobytes(), to_target.glass, to_target.space)


def _looked_up(flat: UInt8[np.ndarray, "n 3"], table: UInt32[np.ndarray, " colours"]) -> UInt8[np.ndarray, "n 3"]:
    """Take every pixel's entry; three bytes are read and written as four, which costs a third of picking bytes apart."""
    if not _writes_in_order():
        index = flat[:, 0] + (flat[:, 1].astype(np.uint32) << 8) + (flat[:, 2].astype(np.uint32) << 16)
        entries = table[index]
        return np.stack([(entries >> shift & 255).astype(np.uint8) for shift in (0, 8, 16)], axis=1)
    mapped = np.empty_like(flat)
    source, target = flat.reshape(-1), mapped.reshape(-1)
    size = min(BLOCK_PX, len(flat))
    index, entries = np.empty(size, np.intp), np.empty(size, np.uint32)
    bytes_in, words_in = _words(size)
    bytes_out, words_out = _words(size)
    for start in range(0, len(flat), BLOCK_PX):
        n = min(BLOCK_PX, len(flat) - start)
        bytes_in[: 3 * n] = source[3 * start : 3 * (start + n)]
        np.bitwise_and(words_in[:n], 0xFFFFFF, out=index[:n], casting="unsafe")
        np.take(table, index[:n], out=entries[:n], mode="wrap")  # an index cannot be out of range
        words_out[:n] = entries[:n]
        target[3 * start : 3 * (start + n)] = bytes_out[: 3 * n]
    return mapped


def _words(n_pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a buffer of pixels' bytes, and a view of it as one word a pixel; each word ends in the next one's byte."""
    buffer = np.zeros(3 * n_pixels + 1, np.uint8)
    return buffer, np.ndarray((n_pixels,), np.uint32, buffer.data, 0, (3,))


@functools.cache
def _writes_in_order() -> bool:
    """Say whether this machine is little-endian and NumPy writes overlapping words from first to last."""
    wanted = np.arange(3000, dtype=np.uint32) * 5_431
    buffer, words = _words(len(wanted))
    words[:] = wanted
    is_written = buffer[:-1].tobytes() == wanted.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return sys.byteorder == "little" and is_written


def _formula_of(to_target: StainMap) -> Formula:
    return _formula(to_target.matrix.tobytes(), to_target.shift.tobytes(), to_target.glass, to_target.space)


@functools.lru_cache(maxsize=4)
def _formula(matrix: bytes, shift: bytes, glass: Glass, space: str) -> Formula:
    return Formula(StainMap(np.frombuffer(matrix).reshape(3, 3), glass, space, np.frombuffer(shift)))
