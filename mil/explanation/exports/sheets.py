"""The tiles that speak most for and against an output, side by side, as they look on the slide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from common.files import replacing, save_picture
from mil.explanation.exports.colours import coloured

TILE_PX, GAP_PX, EDGE_PX, LABEL_PX = 128, 8, 4, 14
COLUMNS = 8


@dataclass(frozen=True, kw_only=True)
class SheetTile:
    """A tile of a sheet: its pixels, None where they cannot be read, its contribution and where it is from."""

    pixels: UInt8[np.ndarray, "px px 3"] | None
    contribution: float
    slide_id: str


def write_sheet(path: Path, rows: Sequence[tuple[str, Sequence[SheetTile]]], scale: float) -> None:
    """Write a sheet as PNG, atomically; a title and its tiles below, a frame in the colour of the contribution.

    Args:
        path: the file.
        rows: title and tiles.
        scale: of the colours.
    """
    from PIL import Image, ImageDraw

    step_x, step_y = TILE_PX + 2 * EDGE_PX + GAP_PX, TILE_PX + 2 * EDGE_PX + LABEL_PX + GAP_PX
    heights = [22 + step_y * max(1, -(-len(tiles) // COLUMNS)) for _, tiles in rows]
    whole = Image.new("RGB", (GAP_PX + COLUMNS * step_x, sum(heights) + GAP_PX), (255, 255, 255))
    draw, top = ImageDraw.Draw(whole), 4
    for (title, tiles), height in zip(rows, heights, strict=True):
        draw.text((GAP_PX, top), _plain(title), fill=(20, 25, 32))
        for number, tile in enumerate(tiles):
            x, y = GAP_PX + number % COLUMNS * step_x, top + 18 + number // COLUMNS * step_y
            colour: Any = tuple(int(value) for value in coloured(np.array([tile.contribution]), scale)[0])
            draw.rectangle((x, y, x + TILE_PX + 2 * EDGE_PX - 1, y + TILE_PX + 2 * EDGE_PX - 1), fill=colour)
            if tile.pixels is None:
                draw.text((x + EDGE_PX, y + EDGE_PX), "not readable", fill=(20, 25, 32))
            else:
                whole.paste(Image.fromarray(tile.pixels), (x + EDGE_PX, y + EDGE_PX))
            label = f"{tile.contribution:+.3g} {_plain(tile.slide_id)}"
            draw.text((x, y + TILE_PX + 2 * EDGE_PX), label[: TILE_PX // 6], fill=(70, 76, 84))
        top += height
    with replacing(path) as partial:
        save_picture(whole, partial, format="PNG")


def _plain(text: str) -> str:
    """Return a text in signs that every font has."""
    return "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in text)
