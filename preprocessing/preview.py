"""A picture a person checks in a second: the slide with its tissue outline, the tiles kept, and what was taken for ink."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from common.artifacts import replacing

MAX_SIDE_PX = 1600
OUTLINE, TILE, INK = (0, 150, 60), (30, 90, 220), (235, 130, 0)


def draw_preview(
    overview: UInt8[np.ndarray, "h w 3"],
    is_ink: Bool[np.ndarray, "h w"],
    pieces: list[Any],
    coords: Int64[np.ndarray, "n 2"],
    *,
    slide_px: tuple[int, int],
    tile_level0: tuple[float, float],
) -> UInt8[np.ndarray, "H W 3"]:
    """Draw outlines (green), kept tiles (blue) and ink (orange) over a slide.

    Args:
        overview: the slide.
        is_ink: pixels of the overview left out as pen.
        pieces: tissue polygons in level-0 pixels.
        coords: top left corners of the tiles, level-0 pixels.
        slide_px: width and height of level 0.
        tile_level0: width and height of a tile in level-0 pixels.
    """
    from PIL import Image, ImageDraw

    shown = overview.copy()
    shown[is_ink] = (0.45 * shown[is_ink] + 0.55 * np.array(INK)).astype(np.uint8)
    scale = min(MAX_SIDE_PX / max(shown.shape[:2]), 4.0)
    size = (max(1, round(shown.shape[1] * scale)), max(1, round(shown.shape[0] * scale)))
    image = Image.fromarray(shown).resize(size, Image.Resampling.LANCZOS)
    layer = Image.new("RGBA", size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    fx, fy = size[0] / slide_px[0], size[1] / slide_px[1]
    for x, y in coords:
        box = (x * fx, y * fy, (x + tile_level0[0]) * fx - 1, (y + tile_level0[1]) * fy - 1)
        draw.rectangle(box, outline=(*TILE, 200), fill=(*TILE, 22))
    for piece in pieces:
        for polygon in getattr(piece, "geoms", [piece]):
            for ring in (polygon.exterior, *polygon.interiors):
                draw.line([(x * fx, y * fy) for x, y in ring.coords], fill=(*OUTLINE, 255), width=3)
    return np.asarray(Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB"))


def write_preview(path: Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write a JPEG, atomically."""
    from PIL import Image

    with replacing(path) as partial:
        Image.fromarray(image).save(partial, format="JPEG", quality=88)
