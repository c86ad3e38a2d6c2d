"""The scanner of synthetic slides: staining, optics, pyramid."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from common.files import replacing
from preprocessing.synthetic.further_layout import FURTHER, STREAM
from preprocessing.synthetic.further_painter import Layer, paint_further
from preprocessing.synthetic.layout import Layout, SlideRecipe
from preprocessing.synthetic.painter import (
    FAT,
    GLASS,
    NECROSIS,
    PAINT_MPP,
    SECOND_TUMOUR,
    STROMA,
    TUMOUR,
    enlarge,
    paint,
)

TIFF_TILE_PX = 256
JPEG_QUALITY = 85
PEN_COLOURS = {"blue": (40, 60, 190), "green": (30, 140, 80), "black": (28, 28, 34)}


def render(recipe: SlideRecipe, layout: Layout, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Return the slide as the scanner of its site would give it, at the recipe's mpp."""
    shape = (round(recipe.height_mm * 1000 / PAINT_MPP), round(recipe.width_mm * 1000 / PAINT_MPP))
    further = {name: field for name, field in layout.fields.items() if name in FURTHER}
    fine = {name: enlarge(field, shape) for name, field in layout.fields.items() if name not in FURTHER}
    regions = np.zeros(shape, np.uint8)
    regions[fine["tissue"] > 0] = STROMA
    regions[(fine["tissue"] > 0) & (fine["fat"] > 0)] = FAT
    regions[(fine["tissue"] > 0) & (fine["tumour"] > 0)] = TUMOUR
    regions[(fine["tissue"] > 0) & (fine["necrosis"] > 0)] = NECROSIS
    if "second_tumour" in further:
        regions[enlarge(further["second_tumour"], shape) > 0] = SECOND_TUMOUR
    assert GLASS == 0
    canvas = paint(
        regions, recipe.subtype, mitotic_density=recipe.mitotic_density, rng=rng, second_subtype=recipe.second_subtype
    )
    layers = paint_further(
        canvas, further, recipe, stain_matrix(recipe)[1], np.random.default_rng([*recipe.seed, STREAM, 1])
    )
    haematoxylin, eosin = canvas.haematoxylin, canvas.eosin
    eosin *= 1 - 0.8 * np.clip(haematoxylin / 0.6, 0, 1)  # a nucleus takes the place of cytoplasm
    for density in (haematoxylin, eosin, *(density for _, density in layers)):
        _soften(density, fine.get("blur"))
        if "fold" in fine:
            np.multiply(density, 1 + 0.9 * np.clip(fine["fold"] / 2, 0, 1), out=density)
    image = _develop(recipe, haematoxylin, eosin, layers, fine.get("pen"))
    return _scan(image, recipe, rng)


def _soften(density: Float32[np.ndarray, "h w"], blur: Float32[np.ndarray, "h w"] | None) -> None:
    """Put a region out of focus, in place."""
    if blur is None:
        return
    from scipy.ndimage import gaussian_filter

    rows, columns = np.any(blur > 0, axis=1).nonzero()[0], np.any(blur > 0, axis=0).nonzero()[0]
    if len(rows) == 0:
        return
    place = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    weight = np.clip(blur[place] / 4, 0, 1)
    density[place] += weight * (gaussian_filter(density[place], 6.0) - density[place])


def _develop(
    recipe: SlideRecipe,
    haematoxylin: Float32[np.ndarray, "h w"],
    eosin: Float32[np.ndarray, "h w"],
    layers: list[Layer],
    pen: Float32[np.ndarray, "h w"] | None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Turn densities into light (Beer and Lambert), strip by strip, then draw the pen on the cover slip."""
    image = np.empty((*haematoxylin.shape, 3), np.uint8)
    absorbed = -np.log(10.0) * stain_matrix(recipe).T * np.asarray(recipe.intensities)  # (3, 2)
    for top in range(0, len(image), 1024):
        strip = slice(top, top + 1024)
        for channel in range(3):
            light = absorbed[channel, 0].astype(np.float32) * haematoxylin[strip]
            light += absorbed[channel, 1].astype(np.float32) * eosin[strip]
            for colour, density in layers:
                light -= colour[channel].astype(np.float32) * density[strip]
            np.exp(light, out=light)
            light *= recipe.glass[channel]
            if pen is not None:
                ink = 0.92 * np.clip(pen[strip] / 1.5, 0, 1)
                light += ink * (PEN_COLOURS[recipe.pen][channel] - light * 0.9)
            image[strip, :, channel] = np.clip(light + 0.5, 0, 255)
    return image


def stain_matrix(recipe: SlideRecipe) -> Float64[np.ndarray, "2 3"]:
    """Return the unit optical density vectors, haematoxylin first."""
    matrix = np.array([recipe.haematoxylin, recipe.eosin], dtype=np.float64)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def _scan(
    image: UInt8[np.ndarray, "h w 3"], recipe: SlideRecipe, rng: np.random.Generator
) -> UInt8[np.ndarray, "H W 3"]:
    """Sample at the scanner's mpp and add sensor noise (a periodic field: independent pixels cost more than they show)."""
    from PIL import Image

    size = (round(recipe.width_mm * 1000 / recipe.mpp), round(recipe.height_mm * 1000 / recipe.mpp))
    if size != (image.shape[1], image.shape[0]):
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)).copy()
    noise = np.round(rng.normal(0, 1.6, (1021, 1031, 3))).astype(np.int16)  # prime sides: no visible period
    for top in range(0, image.shape[0], 1021):
        for left in range(0, image.shape[1], 1031):
            block = image[top : top + 1021, left : left + 1031]
            np.clip(block + noise[: block.shape[0], : block.shape[1]], 0, 255, out=block, casting="unsafe")
    return image


def write_pyramid(path: Path, image: UInt8[np.ndarray, "h w 3"], mpp: float, *, is_single_level: bool = False) -> None:
    """Write a tiled JPEG TIFF with halved levels and its resolution in the header, atomically."""
    import tifffile

    with replacing(path) as partial, tifffile.TiffWriter(partial, bigtiff=False) as file:
        level = 0
        while True:
            per_cm = 1e4 / (mpp * 2**level)
            file.write(
                image, tile=(TIFF_TILE_PX, TIFF_TILE_PX), photometric="rgb", compression="jpeg",
                compressionargs={"level": JPEG_QUALITY}, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER",
                subfiletype=1 if level else 0, metadata=None, software=False, datetime=None,
            )  # fmt: skip
            if is_single_level or max(image.shape[:2]) <= 1024:
                break
            image, level = _halved(image), level + 1


def _halved(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    height, width = image.shape[0] // 2, image.shape[1] // 2
    return cv2.resize(image[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
