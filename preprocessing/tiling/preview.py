"""A picture a person checks in a second: tissue outline, tiles kept and left out, ink, unreadable areas, and a title."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Int64, UInt8

from common.files import replacing, save_picture

MAX_SIDE_PX = 1600
MAX_STRIP_PX = 400
MIN_WIDTH_PX = 760  # room for title and legend under a tiny slide
OUTLINE, TILE, EXCLUDED, INK = (0, 150, 60), (30, 90, 220), (215, 20, 30), (235, 130, 0)
UNREADABLE, EXCLUSION, DROPPED = (230, 0, 200), (110, 110, 110), (120, 60, 0)
LEGEND = (
    ("tissue", OUTLINE), ("kept", TILE), ("left out", EXCLUDED), ("ink", INK), ("unreadable", UNREADABLE),
    ("excluded by hand", EXCLUSION), ("not taken for tissue", DROPPED),
)  # fmt: skip
MARGIN_PX, TEXT_PX = 8, 18
MIN_CROSS_PX = 5  # a smaller tile has no room for a cross


@dataclass(frozen=True, kw_only=True)
class PreviewMarks:
    """What a preview shows beside outlines and kept tiles; boxes and polygons in level-0 pixels."""

    excluded: Int64[np.ndarray, "m 2"] | None = None  # top left corners of tiles left out for their quality
    dropped: Bool[np.ndarray, "h w"] | None = None  # of the overview: stained, and not taken for tissue
    unreadable: tuple[tuple[float, float, float, float], ...] = ()  # left, top, width, height
    exclusions: tuple[Any, ...] = ()  # polygons drawn by a person: not this
    title: str = ""
    strip: UInt8[np.ndarray, "h2 w2 3"] | None = None  # a picture to stand below, such as colours before and after


def title_line(slide_id: str, mpp: float, tissue_mm2: float, n_tiles: tuple[int, int], flags: list[str]) -> str:
    """Return a preview's title.

    Args:
        slide_id: the slide.
        mpp: µm a pixel of level 0.
        tissue_mm2: tissue area.
        n_tiles: kept and left out.
        flags: of quality.slide_flags.
    """
    # Pillow's built-in font has no micro sign and no superscripts
    words = f"{slide_id}  ·  {mpp:.3g} um/px  ·  {tissue_mm2:.1f} mm2 tissue  ·  {n_tiles[0]} tiles"
    words += f", {n_tiles[1]} left out" if n_tiles[1] else ""
    return words + (f"  ·  {', '.join(flags)}" if flags else "")


def draw_preview(
    overview: UInt8[np.ndarray, "h w 3"],
    is_ink: Bool[np.ndarray, "h w"],
    pieces: list[Any],
    coords: Int64[np.ndarray, "n 2"],
    *,
    slide_px: tuple[int, int],
    tile_level0: tuple[float, float],
    marks: PreviewMarks | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """Draw outlines (green), kept tiles (blue), tiles left out (red, crossed), ink (orange) and more over a slide.

    Args:
        overview: the slide.
        is_ink: pixels of the overview left out as pen.
        pieces: tissue polygons in level-0 pixels.
        coords: top left corners of the kept tiles, level-0 pixels.
        slide_px: width and height of level 0.
        tile_level0: width and height of a tile in level-0 pixels.
        marks: what else to show; with it come a title line and a legend.

    Returns:
        A picture of at most MAX_SIDE_PX a side, plus title, legend and at most MAX_STRIP_PX of strip.
    """
    from PIL import Image, ImageDraw

    shown = overview.copy()
    if is_ink.any():
        shown[is_ink] = (0.45 * shown[is_ink] + 0.55 * np.array(INK)).astype(np.uint8)
    if marks is not None and marks.dropped is not None:
        rims = cv2.findContours(marks.dropped.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]
        cv2.drawContours(shown, rims, -1, DROPPED, max(1, max(shown.shape[:2]) // 500))
    scale = min(MAX_SIDE_PX / max(shown.shape[:2]), 4.0)
    size = (max(1, round(shown.shape[1] * scale)), max(1, round(shown.shape[0] * scale)))
    resampling = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    image = Image.fromarray(cv2.resize(shown, size, interpolation=resampling))
    layer = Image.new("RGBA", size, (0, 0, 0, 0))
    pen = _Pen(ImageDraw.Draw(layer), size[0] / slide_px[0], size[1] / slide_px[1])
    for x, y in coords.tolist():
        pen.box((x, y, *tile_level0), TILE)
    if marks is not None:
        for x, y in [] if marks.excluded is None else marks.excluded.tolist():
            pen.box((x, y, *tile_level0), EXCLUDED, is_crossed=True)
        for box in marks.unreadable:
            pen.box(box, UNREADABLE, fill=110)
        for polygon in marks.exclusions:
            pen.outline(polygon, EXCLUSION)
    for piece in pieces:
        pen.outline(piece, OUTLINE)
    picture = Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")
    return np.asarray(picture if marks is None else _framed(picture, marks))


@dataclass(frozen=True)
class _Pen:
    """Draws on a layer in level-0 pixels."""

    draw: Any
    fx: float
    fy: float

    def box(
        self,
        box: tuple[float, float, float, float],
        colour: tuple[int, int, int],
        *,
        fill: int = 22,
        is_crossed: bool = False,
    ) -> None:
        left, top = box[0] * self.fx, box[1] * self.fy
        right = max(left, (box[0] + box[2]) * self.fx - 1)
        bottom = max(top, (box[1] + box[3]) * self.fy - 1)
        self.draw.rectangle(
            (left, top, right, bottom), outline=(*colour, 200), fill=(*colour, 60 if is_crossed else fill)
        )
        if is_crossed and right - left >= MIN_CROSS_PX:
            self.draw.line((left, top, right, bottom), fill=(*colour, 220), width=1)
            self.draw.line((left, bottom, right, top), fill=(*colour, 220), width=1)

    def outline(self, shape: Any, colour: tuple[int, int, int]) -> None:
        for polygon in getattr(shape, "geoms", [shape]):
            for ring in (polygon.exterior, *polygon.interiors):
                points = [(x * self.fx, y * self.fy) for x, y in ring.coords]
                self.draw.line(points, fill=(*colour, 255), width=3)


def _framed(picture: Any, marks: PreviewMarks) -> Any:
    """Put title and legend above a picture and the strip below."""
    from PIL import Image, ImageDraw, ImageFont

    width = max(picture.width, MIN_WIDTH_PX)
    font = ImageFont.load_default(size=TEXT_PX)
    lines = _wrapped(marks.title, font, width - 2 * MARGIN_PX)
    line_px = TEXT_PX + 6
    head_px = line_px * (len(lines) + 1) + 2 * MARGIN_PX
    strip = None if marks.strip is None else _bounded(Image.fromarray(marks.strip), width, MAX_STRIP_PX)
    foot_px = 0 if strip is None else strip.height + MARGIN_PX
    page = Image.new("RGB", (width, head_px + picture.height + foot_px), "white")
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        draw.text((MARGIN_PX, MARGIN_PX + number * line_px), line, font=font, fill=(20, 20, 20))
    x, y = MARGIN_PX, MARGIN_PX + len(lines) * line_px
    for name, colour in LEGEND:
        draw.rectangle((x, y + 4, x + 14, y + 18), fill=colour)
        draw.text((x + 20, y), name, font=font, fill=(60, 60, 60))
        x += 20 + round(draw.textlength(name, font=font)) + 22
    page.paste(picture, (0, head_px))
    if strip is not None:
        page.paste(strip, (0, head_px + picture.height + MARGIN_PX))
    return page


def _wrapped(text: str, font: Any, width_px: float) -> list[str]:
    """Break a text into lines at spaces; a longer word is cut."""
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(joined) <= width_px:
            lines[-1] = joined
            continue
        rest = word
        while rest:
            n_fit = max(1, next((n for n in range(len(rest), 0, -1) if font.getlength(rest[:n]) <= width_px), 1))
            lines.append(rest[:n_fit])
            rest = rest[n_fit:]
    return lines


def _bounded(image: Any, width_px: int, height_px: int) -> Any:
    """Shrink an image into a box; never enlarge it."""
    from PIL import Image

    scale = min(width_px / image.width, height_px / image.height, 1.0)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image if scale == 1.0 else image.resize(size, Image.Resampling.LANCZOS)


def write_preview(path: Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write a JPEG, atomically."""
    from PIL import Image

    with replacing(path) as partial:
        save_picture(Image.fromarray(image), partial, format="JPEG", quality=88)
