"""A picture of the slide with the map of one output on it, a legend and a scale bar; made at the size it is shown in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Num, UInt8

from common.files import replacing, save_picture
from mil.explanation.exports.colours import coloured, scale_of, signed_colours
from mil.explanation.place import TilePlaces

if TYPE_CHECKING:
    from PIL.Image import Image

LONG_SIDE_PX = 1600
OPACITY = 0.55
FOOT_PX = 64
COMPRESSION = 2  # of zlib, without a loss: a quarter of the time of its default 6, 8 % more bytes


def overlay_size(places: TilePlaces) -> tuple[int, int]:
    """Return width and height of the picture; its pixels are square on the glass, whatever those of the slide are."""
    um = [n * mpp for n, mpp in zip(places.shown, places.mpp, strict=True)]
    return max(1, round(LONG_SIDE_PX * um[0] / max(um))), max(1, round(LONG_SIDE_PX * um[1] / max(um)))


def map_layer(
    places: TilePlaces, values: Num[np.ndarray, " n"], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean value over each pixel of the picture, and whether a tile lies there.

    A tile has the pixels whose centres lie in it.
    """
    scale = np.array(size) / np.array(places.shown)
    start = np.ceil(places.on_shown * scale - 0.5).astype(np.int64)
    stop = np.ceil((places.on_shown + np.array(places.side)) * scale - 0.5).astype(np.int64)
    sums, counts = np.zeros(size[::-1], np.float32), np.zeros(size[::-1], np.int32)
    for (left, top), (right, bottom), value in zip(start.tolist(), stop.tolist(), values.tolist(), strict=True):
        box = slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0))
        sums[box] += value
        counts[box] += 1
    return sums / np.maximum(counts, 1), counts > 0


def write_overlay(
    path: Path, thumbnail: UInt8[np.ndarray, "h w 3"], places: TilePlaces, values: Num[np.ndarray, " n"], name: str
) -> None:
    """Write the overlay of one output as PNG, atomically.

    Args:
        path: the file.
        thumbnail: the shown area at `overlay_size`.
        places: of the tiles.
        values: a tile each.
        name: of the output, for the legend.
    """
    size = (thumbnail.shape[1], thumbnail.shape[0])
    scale = scale_of(values)
    layer, is_tile = map_layer(places, values, size)
    picture = thumbnail.copy()
    colours = coloured(layer[is_tile], scale)
    picture[is_tile] = np.round((1 - OPACITY) * picture[is_tile] + OPACITY * colours).astype(np.uint8)
    um_a_px = places.shown[0] * places.mpp[0] / size[0]
    with replacing(path) as partial:
        save_picture(with_foot(picture, scale, name, um_a_px), partial, format="PNG", compress_level=COMPRESSION)


def with_foot(picture: UInt8[np.ndarray, "h w 3"], scale: float, name: str, um_a_px: float) -> Image:
    """Return a picture with legend and scale bar below it."""
    from PIL import Image, ImageDraw

    width = max(picture.shape[1], 520)
    whole = Image.new("RGB", (width, picture.shape[0] + FOOT_PX), (255, 255, 255))
    whole.paste(Image.fromarray(picture), (0, 0))
    draw, top = ImageDraw.Draw(whole), picture.shape[0] + 10
    whole.paste(Image.fromarray(np.repeat(signed_colours()[None], 14, axis=0)), (10, top))
    shown = "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in name)[:40]
    draw.text((10, top + 18), f"-{scale:.2g}", fill=(40, 45, 52))
    draw.text((130, top + 18), "0", fill=(40, 45, 52))
    draw.text((235, top + 18), f"+{scale:.2g}", fill=(40, 45, 52))
    draw.text((10, top + 34), f"contribution to {shown}", fill=(40, 45, 52))
    bar_um = _round_length(150 * um_a_px)
    length = bar_um / um_a_px
    draw.rectangle((320, top + 6, 320 + length, top + 10), fill=(40, 45, 52))
    label = f"{bar_um / 1000:g} mm" if bar_um >= 1000 else f"{bar_um:g} um"
    draw.text((320, top + 18), label, fill=(40, 45, 52))
    return whole


def _round_length(um: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten that is no longer."""
    power = 10 ** np.floor(np.log10(max(um, 1e-6)))
    return float(max(step * power for step in (1, 2, 5) if step * power <= um * (1 + 1e-9)))
