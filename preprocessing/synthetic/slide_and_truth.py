"""A synthetic slide with known truth: layout of the tissue, optics of a scanner, and a pyramidal TIFF OpenSlide opens.

Densities become light by Beer and Lambert: I = glass * 10^-(H * h + E * e), with stain vectors of the site and slide.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from common.files import replacing, settings_text
from preprocessing.synthetic.painter import (
    FAT,
    GLASS,
    NECROSIS,
    PAINT_MPP,
    STROMA,
    TUMOUR,
    enlarge,
    paint,
    smooth_noise,
)

COARSE_UM = 8.0  # the layout's pixel
TIFF_TILE_PX = 256
JPEG_QUALITY = 85
PEN_COLOURS = {"blue": (40, 60, 190), "green": (30, 140, 80), "black": (28, 28, 34)}


@dataclass(frozen=True, kw_only=True)
class SlideRecipe:
    """All that decides a synthetic slide's pixels."""

    slide_id: str
    subtype: str
    seed: tuple[int, ...]
    mpp: float
    width_mm: float
    height_mm: float
    n_pieces: int
    tumour_share: float  # of the tissue
    necrosis_share: float
    fat_share: float
    mitotic_density: float  # 0 to 1
    haematoxylin: tuple[float, float, float]  # unit optical density vectors, RGB
    eosin: tuple[float, float, float]
    intensities: tuple[float, float]  # optical density of a density of 1, per stain
    glass: tuple[float, float, float]  # RGB, 0 to 255
    pen: str = ""  # a key of PEN_COLOURS
    is_blurred: bool = False
    is_pale: bool = False
    has_fold: bool = False
    is_single_level: bool = False


@dataclass(frozen=True)
class Layout:
    """Where things lie: coarse fields (one value 8 µm) that are positive inside, by name."""

    fields: dict[str, Float32[np.ndarray, "h w"]]


def make_slide(recipe: SlideRecipe, slide_path: Path, truth_path: Path) -> str:
    """Paint a slide and write it with its truth; a finished pair made from the same recipe is kept.

    Returns "made" or "kept".
    """
    recipe_text = settings_text({**asdict(recipe), "painter": 4})
    if truth_path.is_file() and slide_path.is_file() and _made_from(truth_path) == recipe_text:
        return "kept"
    rng = np.random.default_rng(recipe.seed)
    layout = lay_out(recipe, rng)
    image = render(recipe, layout, rng)
    write_pyramid(slide_path, image, recipe.mpp, is_single_level=recipe.is_single_level)
    write_truth(truth_path, recipe, layout, recipe_text)  # last: its presence says that the slide is whole
    return "made"


def _made_from(truth_path: Path) -> str:
    try:
        return str(json.loads(truth_path.read_text(encoding="utf-8"))["recipe"])
    except (ValueError, KeyError):
        return ""


def lay_out(recipe: SlideRecipe, rng: np.random.Generator) -> Layout:
    """Place tissue, tumour, necrosis, fat, pen, blur and fold as smooth fields."""
    shape = (round(recipe.height_mm * 1000 / COARSE_UM), round(recipe.width_mm * 1000 / COARSE_UM))
    tissue = _tissue_field(shape, recipe.n_pieces, rng)
    is_tissue = tissue > 0
    tumour_noise = smooth_noise(shape, 34, rng)
    tumour = _share_field(tumour_noise, is_tissue, recipe.tumour_share + recipe.necrosis_share)
    necrosis = _share_field(0.5 * tumour_noise + smooth_noise(shape, 16, rng), is_tissue, recipe.necrosis_share)
    fat = np.minimum(_share_field(smooth_noise(shape, 22, rng), is_tissue & (tumour < 0), recipe.fat_share), -tumour)
    fields = {"tissue": tissue, "tumour": tumour, "necrosis": necrosis, "fat": fat}
    if recipe.pen:
        fields["pen"] = _pen_field(tissue, rng)
    if recipe.is_blurred:
        y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        centre = rng.uniform(0.3, 0.7, 2) * shape
        fields["blur"] = (0.22 * max(shape) - np.hypot(y - centre[0], x - centre[1])).astype(np.float32)
    if recipe.has_fold:
        fields["fold"] = _fold_field(shape, rng)
    return Layout(fields)


def _tissue_field(shape: tuple[int, int], n_pieces: int, rng: np.random.Generator) -> Float32[np.ndarray, "h w"]:
    """Return a field that is positive inside one to three irregular pieces side by side."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    edge = 0.10 * smooth_noise(shape, 22, rng) + 0.05 * smooth_noise(shape, 7, rng)
    field = np.full(shape, -np.inf, dtype=np.float32)
    for piece in range(n_pieces):
        centre_y = height * rng.uniform(0.46, 0.54)
        centre_x = width * ((piece + 0.5) / n_pieces + rng.uniform(-0.02, 0.02))
        radius_y, radius_x = height * rng.uniform(0.38, 0.44), width * rng.uniform(0.40, 0.45) / n_pieces
        distance = (np.abs((y - centre_y) / radius_y) ** 2.6 + np.abs((x - centre_x) / radius_x) ** 2.6) ** (1 / 2.6)
        field = np.maximum(field, (1 - distance) + edge)
    margin = np.minimum(np.minimum(y, height - 1 - y), np.minimum(x, width - 1 - x)) / 6 - 1
    return np.minimum(field, margin).astype(np.float32)


def _share_field(
    field: Float32[np.ndarray, "h w"], where: Bool[np.ndarray, "h w"], share: float
) -> Float32[np.ndarray, "h w"]:
    """Shift a field so that it is positive on the given share of a region."""
    if share <= 0 or not where.any():
        return np.full(field.shape, -1.0, dtype=np.float32)
    return (field - np.quantile(field[where], 1 - min(share, 1.0))).astype(np.float32)


def _pen_field(tissue: Float32[np.ndarray, "h w"], rng: np.random.Generator) -> Float32[np.ndarray, "h w"]:
    """Return strokes as a pathologist draws them: an arc beside and across the tissue's edge."""
    from scipy.ndimage import distance_transform_edt

    height, width = tissue.shape
    angle = np.linspace(0, rng.uniform(1.2, 2.4), 400) + rng.uniform(0, 2 * np.pi)
    y = height * (0.5 + 0.43 * np.sin(angle)) + 6 * np.sin(3 * angle)
    x = width * (0.5 + 0.43 * np.cos(angle))
    line = np.ones(tissue.shape, dtype=bool)
    line[np.clip(y.astype(int), 0, height - 1), np.clip(x.astype(int), 0, width - 1)] = False
    return (rng.uniform(7, 12) - distance_transform_edt(line)).astype(np.float32)


def _fold_field(shape: tuple[int, int], rng: np.random.Generator) -> Float32[np.ndarray, "h w"]:
    """Return a band, bent a little, a few cells wide."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    along = (x - shape[1] / 2) * np.cos(angle) + (y - shape[0] / 2) * np.sin(angle)
    across = -(x - shape[1] / 2) * np.sin(angle) + (y - shape[0] / 2) * np.cos(angle)
    band = rng.uniform(4, 7) - np.abs(across + 8 * np.sin(along / 30) - rng.uniform(-0.15, 0.15) * shape[0])
    return np.minimum(band, 0.3 * min(shape) - np.abs(along)).astype(np.float32)


def render(recipe: SlideRecipe, layout: Layout, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Return the slide as the scanner of its site would give it, at the recipe's mpp."""
    shape = (round(recipe.height_mm * 1000 / PAINT_MPP), round(recipe.width_mm * 1000 / PAINT_MPP))
    fine = {name: enlarge(field, shape) for name, field in layout.fields.items()}
    regions = np.zeros(shape, np.uint8)
    regions[fine["tissue"] > 0] = STROMA
    regions[(fine["tissue"] > 0) & (fine["fat"] > 0)] = FAT
    regions[(fine["tissue"] > 0) & (fine["tumour"] > 0)] = TUMOUR
    regions[(fine["tissue"] > 0) & (fine["necrosis"] > 0)] = NECROSIS
    assert GLASS == 0
    canvas = paint(regions, recipe.subtype, mitotic_density=recipe.mitotic_density, rng=rng)
    haematoxylin, eosin = canvas.haematoxylin, canvas.eosin
    eosin *= 1 - 0.8 * np.clip(haematoxylin / 0.6, 0, 1)  # a nucleus takes the place of cytoplasm
    for density in (haematoxylin, eosin):
        _soften(density, fine.get("blur"))
        if "fold" in fine:
            np.multiply(density, 1 + 0.9 * np.clip(fine["fold"] / 2, 0, 1), out=density)
    image = _develop(recipe, haematoxylin, eosin, fine.get("pen"))
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


def write_truth(path: Path, recipe: SlideRecipe, layout: Layout, recipe_text: str) -> None:
    """Write polygons (level-0 px), stain vectors and flags of a slide as JSON."""
    scale = COARSE_UM / recipe.mpp
    tissue = layout.fields["tissue"]
    regions = {"tissue": tissue, "blur": layout.fields.get("blur"), "pen": layout.fields.get("pen")}
    tumour = np.minimum(layout.fields["tumour"], -layout.fields["necrosis"])
    regions |= {
        name: np.minimum(field, tissue) for name, field in (("tumour", tumour), ("necrosis", layout.fields["necrosis"]))
    }
    regions["fat"] = np.minimum(np.minimum(layout.fields["fat"], -layout.fields["necrosis"]), tissue)
    truth = {
        "slide_id": recipe.slide_id,
        "mpp": recipe.mpp,
        "size": [round(recipe.width_mm * 1000 / recipe.mpp), round(recipe.height_mm * 1000 / recipe.mpp)],
        "stain_matrix": stain_matrix(recipe).tolist(),
        "intensities": list(recipe.intensities),
        "polygons": {name: _polygons(field, scale) for name, field in regions.items() if field is not None},
        "recipe": recipe_text,
    }
    from common.files import write_json

    write_json(path, truth)


def _polygons(field: Float32[np.ndarray, "h w"], scale: float) -> list[list[list[float]]]:
    """Return the rings where a field is zero, in level-0 px; rings inside rings are holes (even-odd rule)."""
    from skimage.measure import find_contours

    padded = np.pad(field, 1, constant_values=-1.0)
    # a coarse value stands at its pixel's centre, as in the bilinear enlargement
    rings = [(ring - 1 + 0.5) * scale for ring in find_contours(padded, 0.0) if len(ring) >= 4]
    return [[[round(float(x), 1), round(float(y), 1)] for y, x in ring] for ring in rings]


def read_truth_mask(path: Path, kind: str, mpp: float) -> Bool[np.ndarray, "h w"]:
    """Rasterise one kind of region of a truth file at `mpp` (even-odd rule)."""
    from PIL import Image, ImageChops, ImageDraw

    truth = json.loads(path.read_text(encoding="utf-8"))
    scale = truth["mpp"] / mpp
    size = (round(truth["size"][0] * scale), round(truth["size"][1] * scale))
    mask = Image.new("1", size)
    for ring in truth["polygons"].get(kind, []):
        part = Image.new("1", size)
        ImageDraw.Draw(part).polygon([(x * scale - 0.5, y * scale - 0.5) for x, y in ring], fill=1)
        mask = ImageChops.logical_xor(mask, part)
    return np.asarray(mask)
