"""Paints the further kinds: what they add to the two stain densities, and what absorbs light by a colour of its own.

Red cells take up eosin and add haemoglobin, which absorbs most at 415 nm: measured on a real slide whose eosin has a blue
density of 0.52 of its green, clots have 0.40, 1.25, 1.04 (natural logarithm, RGB) and single cells 0.28 to 0.39, 0.90 to
1.05, 0.57 to 0.71. Here the haemoglobin is the rest over the eosin, so that on a scanner that sees eosin in other colours
red cells are still no paler in blue than the eosin beside them.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64

from preprocessing.synthetic.further_layout import FurtherKinds
from preprocessing.synthetic.looks import CRUSHED_LOOK, HYALINE_LOOK, LOOK_ALIKES, MYXOID_LOOK, Look
from preprocessing.synthetic.painter import (
    COARSE_UM,
    PAINT_MPP,
    Canvas,
    clear_vacuoles,
    enlarge,
    grain_texture,
    paint_ground,
    places,
    smooth_noise,
    stamp_nuclei,
)

CLOT = ((0.15, 0.25, 0.52), 1.0)  # optical density of haemoglobin (RGB), and of green of the eosin in it
RED_CELL = ((0.13, 0.20, 0.23), 0.8)
CELL_UM = 7.0
SECOND_HAEMATOXYLIN = (0.9, 1.0, 0.73)  # optical density of crushed nuclei and mucin, over that of green
SECOND_OD = 1.15  # of green, of a density of 1: about a site's haematoxylin
STRAY_OD = (0.06, 0.09)  # in a lumen beside dense tissue
STRAY = (0.92, 1.0, 0.94)
# of a pale piece: mean eosin, share of what is blue and its largest mean, a grey density, and unevenness over PALE_UM; a whole
# strip of a real slide has densities of 0.06, 0.09, 0.07 (RGB), 0.016 off those within 56 µm in the mean
PALE_EOSIN, PALE_NUCLEI, PALE_HAEMATOXYLIN, PALE_GREY = 0.038, 0.34, 0.035, 0.022
PALE_UNEVEN, PALE_UM = 0.45, 12.0  # standard deviation, and of the Gaussian that makes it
FAT_CELL_UM, WALL_UM, GAP_SHARE = (80.0, 120.0), (3.0, 4.0), 0.12
FAT_STEP = 2  # walls are sought at 1 µm a pixel

# what takes light beside the two stains: optical density of a density of 1 (natural logarithm, RGB), and the densities
Layer = tuple[Float64[np.ndarray, " 3"], Float32[np.ndarray, "H W"]]


def paint_further(
    canvas: Canvas,
    fields: dict[str, Float32[np.ndarray, "h w"]],
    kinds: FurtherKinds,
    eosin: Float64[np.ndarray, " 3"],
    rng: np.random.Generator,
) -> list[Layer]:
    """Paint the kinds a slide has into its stain densities and return what absorbs by a colour of its own.

    Args:
        canvas: densities of the slide, painted already; changed in place.
        fields: of `lay_out_further`, coarse.
        kinds: the slide's.
        eosin: its eosin vector.
        rng: the generator of the further kinds.
    """
    shape = canvas.eosin.shape
    is_in = {name: enlarge(field, shape) > 0 for name, field in fields.items()}
    layers = list[Layer]()
    for name, look in (("hyaline", HYALINE_LOOK), ("myxoid", MYXOID_LOOK)):
        if name in is_in:
            _paint_tissue(canvas, is_in[name], _varied(look, rng), rng)
    if "second_haematoxylin" in is_in:
        layers.append(_crushed(canvas, is_in["second_haematoxylin"], rng))
    for name, look in LOOK_ALIKES.items():
        if name in is_in:
            _paint_tissue(canvas, is_in[name], _varied(look, rng), rng, vacuoles=name == "septal_fat")
    if "open_fat" in is_in:
        _paint_open_fat(canvas, is_in["open_fat"], rng)
    for name, paint_cells, (haemoglobin, of_eosin) in (("clot", _clot, CLOT), ("red_cells", _red_cells, RED_CELL)):
        if name in is_in:
            cover = paint_cells(is_in[name], rng)
            _displace(canvas, cover, layers)
            layers.append((np.array(haemoglobin) + of_eosin * eosin / eosin[1], cover))
    if "pale_piece" in is_in:
        layers.append(_paled(canvas, is_in["pale_piece"], layers, rng))
    if "lumen" in is_in:
        layers.append((np.array(STRAY), _stray(is_in["lumen"], rng)))
    if "shadow" in is_in:
        depth = enlarge(fields["shadow"], shape)
        layers.append((np.ones(3), (kinds.shadow * np.clip(depth / 12, 0, 1)).astype(np.float32)))
    return layers


def _varied(look: Look, rng: np.random.Generator) -> Look:
    return replace(
        look, eosin=look.eosin * rng.uniform(0.8, 1.2), haematoxylin=look.haematoxylin * rng.uniform(0.6, 1.4)
    )


def _paint_tissue(
    canvas: Canvas, is_here: Bool[np.ndarray, "h w"], look: Look, rng: np.random.Generator, *, vacuoles: bool = False
) -> None:
    canvas.haematoxylin[is_here] = 0
    paint_ground(canvas, is_here, look, rng)
    if vacuoles:
        clear_vacuoles(canvas, is_here, radius_um=(9, 32), spacing_um=66, rng=rng)
    for kind, number in look.nuclei:
        stamp_nuclei(canvas, is_here, kind, number, 1.0, rng)


def _crushed(canvas: Canvas, is_here: Bool[np.ndarray, "h w"], rng: np.random.Generator) -> Layer:
    """Paint smeared nuclei on a purple ground, of one colour, into a layer of its own."""
    purple = Canvas(np.zeros_like(canvas.eosin), np.zeros_like(canvas.eosin), np.zeros_like(canvas.orientation))
    paint_ground(purple, is_here, CRUSHED_LOOK, rng)
    for kind, number in CRUSHED_LOOK.nuclei:
        stamp_nuclei(purple, is_here, kind, number, 1.0, rng)
    canvas.eosin[is_here] *= 0.08
    canvas.haematoxylin[is_here] *= 0.2
    density = np.maximum(purple.eosin, purple.haematoxylin)
    return SECOND_OD * np.array(SECOND_HAEMATOXYLIN), density


def _paint_open_fat(canvas: Canvas, is_here: Bool[np.ndarray, "h w"], rng: np.random.Generator) -> None:
    """Draw polygonal cells with thin walls, broken here and there, a capsule around the lobule, a nucleus now and then."""
    from scipy.spatial import cKDTree

    small = is_here[::FAT_STEP, ::FAT_STEP]
    step_um = PAINT_MPP * FAT_STEP
    cell_um, wall_um = rng.uniform(*FAT_CELL_UM), rng.uniform(*WALL_UM)
    reach = np.ones((2 * int(cell_um / step_um) + 1,) * 2, np.uint8)
    rows, columns = places(cv2.dilate(small.view(np.uint8), reach).view(bool), cell_um / step_um, rng)
    at = np.argwhere(small)
    if len(rows) < 2:
        return
    near, _ = cKDTree(np.column_stack([rows, columns])).query(at.astype(np.float32), k=2)
    away = np.full(small.shape, np.float32(1e3))
    away[small] = (near[:, 1] - near[:, 0]) / 2  # from the wall between two cells
    capsule = cv2.distanceTransform(small.view(np.uint8), cv2.DIST_L2, 5)
    gaps = enlarge(smooth_noise(tuple(-(-side // 8) for side in small.shape), 1.5, rng), small.shape)
    away[gaps > np.quantile(gaps, 1 - GAP_SHARE)] += 1e3
    away = np.minimum(away, capsule) * np.float32(step_um)
    wall = np.exp(-((away / (wall_um / 2)) ** 4)).astype(np.float32)
    wall = enlarge(wall, is_here.shape)
    canvas.eosin[is_here] = 0.45 * wall[is_here]
    canvas.haematoxylin[is_here] = 0.10 * wall[is_here]
    stamp_nuclei(canvas, is_here & (wall > 0.6), "fibroblast", 700.0, 1.0, rng)


def _clot(is_here: Bool[np.ndarray, "h w"], rng: np.random.Generator) -> Float32[np.ndarray, "h w"]:
    """Return the densities of a clot: full of red cells, a little uneven, with fissures."""
    height, width = is_here.shape
    grain = np.tile(grain_texture(), (-(-height // 1024), -(-width // 1024)))[:height, :width]
    coarse = (-(-height // 16), -(-width // 16))
    fissure = np.abs(enlarge(smooth_noise(coarse, 9, rng), is_here.shape)) < 0.035
    density = rng.uniform(0.9, 1.1) * (1 + np.float32(0.07) * grain)
    return np.where(is_here & ~fissure, density, 0).astype(np.float32)


def _red_cells(is_here: Bool[np.ndarray, "h w"], rng: np.random.Generator) -> Float32[np.ndarray, "h w"]:
    """Return the densities of single red cells of 7 µm that lie nearly side by side, paler in their middle."""
    density = np.zeros(is_here.shape, np.float32)
    rows, columns = places(is_here, 1.12 * CELL_UM / PAINT_MPP, rng)
    reach = int(CELL_UM / PAINT_MPP / 2) + 2
    radius = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) * PAINT_MPP / (CELL_UM / 2)
    cell = (1 / (1 + np.exp((radius - 1) * 14)) * (1 - 0.14 * np.exp(-((radius / 0.4) ** 2)))).astype(np.float32)
    strength = rng.uniform(0.9, 1.05, len(rows)).astype(np.float32)
    height, width = is_here.shape
    for y, x, strong in zip(rows.tolist(), columns.tolist(), strength, strict=True):
        if reach <= y < height - reach and reach <= x < width - reach:
            view = density[y - reach : y + reach + 1, x - reach : x + reach + 1]
            np.maximum(view, cell * strong, out=view)
    return density


def _displace(canvas: Canvas, cover: Float32[np.ndarray, "h w"], layers: list[Layer]) -> None:
    """Take away what lay where red cells lie now."""
    left = 1 - np.minimum(cover / 0.6, 1)  # the paler middle of a cell and an uneven clot show no ground
    for density in (canvas.eosin, canvas.haematoxylin, *(density for _, density in layers)):
        np.multiply(density, left, out=density)


def _paled(canvas: Canvas, is_here: Bool[np.ndarray, "h w"], layers: list[Layer], rng: np.random.Generator) -> Layer:
    """Take nearly all stain out of a piece, more out of its ground than out of its nuclei, and leave its grey."""
    coarse = tuple(-(-side // 8) for side in is_here.shape)
    uneven = enlarge(smooth_noise(coarse, PALE_UM / PAINT_MPP / 8, rng), is_here.shape)[is_here]
    factor = (rng.uniform(0.85, 1.2) * np.maximum(1 + PALE_UNEVEN * uneven, 0)).astype(np.float32)
    canvas.eosin[is_here] *= np.float32(PALE_EOSIN / max(float(canvas.eosin[is_here].mean()), PALE_EOSIN)) * factor
    for density in (canvas.haematoxylin, *(density for _, density in layers)):
        left = min(PALE_NUCLEI, PALE_HAEMATOXYLIN / max(float(density[is_here].mean()), PALE_HAEMATOXYLIN))
        density[is_here] *= np.float32(left) * factor
    grey = np.zeros(is_here.shape, np.float32)
    grey[is_here] = np.float32(PALE_GREY) * factor
    return np.ones(3), grey


def _stray(is_here: Bool[np.ndarray, "h w"], rng: np.random.Generator) -> Float32[np.ndarray, "h w"]:
    coarse = tuple(-(-side // 16) for side in is_here.shape)
    slow = enlarge(smooth_noise(coarse, 300 / COARSE_UM, rng), is_here.shape)
    low, high = STRAY_OD
    return np.where(is_here, np.clip((low + high) / 2 + (high - low) / 4 * slow, low, high), 0).astype(np.float32)
