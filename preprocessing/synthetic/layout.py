"""Where tissue, classes, pen and folds lie on a synthetic slide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from preprocessing.synthetic.further_layout import STREAM, FurtherKinds, lay_out_further
from preprocessing.synthetic.painter import COARSE_UM, smooth_noise


@dataclass(frozen=True, kw_only=True)
class SlideRecipe(FurtherKinds):
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


def lay_out(recipe: SlideRecipe, rng: np.random.Generator) -> Layout:
    """Place tissue, tumour, necrosis, fat, pen, blur and fold as smooth fields, and the further kinds a slide has."""
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
    further = lay_out_further(
        recipe, recipe.n_pieces, tissue, necrosis, tumour, np.random.default_rng([*recipe.seed, STREAM])
    )
    if "lumen" in further:  # what is clear is no tissue; the lumen itself ends with the tissue
        fields["tissue"] = np.minimum(tissue, -further["lumen"])
        further["lumen"] = np.minimum(further["lumen"], tissue)
    return Layout(fields | further)


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
