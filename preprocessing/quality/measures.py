"""Per tile: sharpness, and the shares of pen, fold, blood, bare glass and ground without nuclei; which to leave out, and why.

All is measured at one scale, so that a number means the same on every slide. Sharpness is the energy of the finest detail
over that of the detail of nuclei, so neither pale nor fatty nor dense tissue is taken for blurred. Colours are judged in
optical density against the slide's own glass. Folds, blood and necrosis-like ground are hints for the eye and leave nothing
out unless asked: tumours bleed and die, and on real slides crypts look like folds, and hyaline or myxoid ground like necrosis.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from common.settings import option
from preprocessing.colour.ink import is_ink_colour
from preprocessing.quality.artefacts import COARSE, QUALITY_MPP, coarse_mean, find_folds, is_blood, is_necrosis_like

MARGIN_UM = 160.0  # what a block should show beyond its tiles: folds are judged against their surroundings
GLASS_OD = 0.10  # mean optical density of glass beside dense tissue, which scatters light, at most
BARE_OD = 0.05  # mean optical density below which a pixel is glass, lumen or the inside of a fat cell
FINE_UM, NUCLEAR_UM = 2.0, 8.0  # band against which the finest detail is set
COLUMNS = ("sharpness", "pen", "fold", "blood", "necrosis_like", "glass", "od")
HINTS = ("fold", "blood", "necrosis_like")  # not left out by default, so their shares are of the area
# any pen counts; a little blood is everywhere, and folds are told apart badly
OWN_FLAG_FROM = {"pen": 0.01, "fold": 0.1, "blood": 0.2, "necrosis_like": 0.2}
FLAG_NAMES = {"fold": "fold-like", "necrosis_like": "few nuclei"}
REASONS = ("kept", "pen", "fold", "glass", "blurred", "blood", "necrosis_like")  # what the index of rate_tiles means


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """From which values on a tile is left out, and a slide gets a flag."""

    min_sharpness: float = option(
        0.5, help="least sharpness of a kept tile, as a share of the slide's median; 0 keeps all", group="quality"
    )
    max_pen: float = option(0.1, help="largest share of pen in a kept tile; 1 keeps all", group="quality")
    max_fold: float = option(
        1.0,
        help="largest share of what looks like a fold (crypts do, too) in a kept tile; 1 keeps all",
        group="quality",
    )
    max_glass: float = option(0.97, help="largest share of bare glass in a kept tile; 1 keeps all", group="quality")
    max_blood: float = option(1.0, help="largest share of blood in a kept tile; 1 keeps all", group="quality")
    max_necrosis: float = option(
        1.0,
        help="largest share of eosinophilic ground without nuclei (necrosis, hyaline or myxoid) in a kept tile; "
        "1 keeps all",
        group="quality",
    )
    min_focus: float = option(
        2.0, help="median sharpness under which a whole slide is flagged as out of focus; sharp slides have 3 to 4",
        group="quality",
    )  # fmt: skip
    min_od: float = option(0.175, help="median optical density under which a slide is flagged as pale", group="quality")
    min_tiles: int = option(10, help="number of kept tiles under which a slide is flagged", group="quality")
    flag_from: float = option(0.05, help="share of a slide's tiles from which on a fault is a flag", group="quality")

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("min_sharpness", "max_pen", "max_fold", "max_glass", "max_blood", "max_necrosis", "flag_from"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"--{name} is a share from 0 to 1, got {value}")
        for name in ("min_focus", "min_od", "min_tiles"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"--{name} is a number from 0, got {getattr(self, name)}")


def measure_tiles(
    block: UInt8[np.ndarray, "h w 3"],
    corners_px: Float[np.ndarray, "n 2"],
    side_px: float,
    *,
    glass: tuple[float, float, float],
    is_tissue: Bool[np.ndarray, "h w"],
) -> dict[str, Float32[np.ndarray, " n"]]:
    """Measure the tiles that lie in a block of a slide.

    Args:
        block: part of a slide at QUALITY_MPP, RGB, if possible with MARGIN_UM around its tiles.
        corners_px: top left corners (x, y) of the tiles in pixels of the block; they may be fractions.
        side_px: side of a tile in pixels of the block.
        glass: colour of the bare glass, RGB, 0 to 255.
        is_tissue: the tissue in the block.

    Returns:
        COLUMNS by name. `sharpness` is about 3 to 4 in focus, 1.5 with a blur of 1.5 µm, and NaN in a tile without
        stained tissue; `pen`, `fold`, `blood` (red cells), `necrosis_like` and `glass` are shares of the tile, 0 to 1;
        `od` is the mean optical density (natural logarithm) of its stained tissue, NaN where there is none.

    Raises:
        ValueError: a tile reaches out of the block.
    """
    height, width = is_tissue.shape
    if len(corners_px) and ((corners_px < -0.5).any() or (corners_px + side_px > (width + 0.5, height + 0.5)).any()):
        raise ValueError(f"a tile of {side_px:g} px reaches out of its block of {width} x {height} px")
    light = np.log(np.arange(256, dtype=np.float32) + 1)
    zero = np.log(np.asarray(glass, np.float32) + 1)
    od = np.maximum(zero - light[block], 0)
    fine = (od[..., 0] + od[..., 1] + od[..., 2]) / np.float32(3)
    is_stained = is_tissue & (fine > BARE_OD)
    columns = _sharpness(fine, is_stained, corners_px, side_px)
    coarse_od = np.maximum(zero - np.log(coarse_mean(block.astype(np.float32)) + 1), 0)
    coarse_tissue = coarse_mean(is_tissue.astype(np.float32)) >= 0.5
    masks = {
        "pen": is_ink_colour(coarse_od),
        "fold": find_folds(coarse_od, coarse_tissue),
        "blood": coarse_tissue & is_blood(coarse_od, coarse_tissue),
        "necrosis_like": coarse_tissue & is_necrosis_like(od[..., 0], fine, coarse_od),
    }
    masks["fold"] &= ~(masks["pen"] | masks["blood"])
    columns["glass"] = _box_sums((fine <= GLASS_OD).astype(np.float32), corners_px, side_px) / side_px**2
    for name, mask in masks.items():
        sums = _box_sums(mask.astype(np.float32), corners_px / COARSE, side_px / COARSE)
        columns[name] = np.clip(sums * (COARSE / side_px) ** 2, 0, 1)
    return {name: columns[name].astype(np.float32) for name in COLUMNS}


def _sharpness(
    fine: Float32[np.ndarray, "h w"],
    is_stained: Bool[np.ndarray, "h w"],
    corners: Float[np.ndarray, "n 2"],
    side: float,
) -> dict[str, np.ndarray]:
    """Return the root of Laplacian energy over band energy on stained pixels, and their mean optical density."""
    from scipy import ndimage

    band = ndimage.gaussian_filter(fine, FINE_UM / QUALITY_MPP)
    band -= ndimage.gaussian_filter(fine, NUCLEAR_UM / QUALITY_MPP)
    detail = ndimage.laplace(fine)
    n_stained = _box_sums(is_stained.astype(np.float32), corners, side)
    energies = [_box_sums(np.where(is_stained, part * part, 0), corners, side) for part in (detail, band)]
    total = _box_sums(np.where(is_stained, fine, 0), corners, side)
    enough = n_stained >= 16
    n_stained = np.maximum(n_stained, 1)
    # 1e-4: a band of 0.01, about the sensor's noise; ground without any texture is not called blurred for its noise alone
    ratio = np.sqrt(energies[0] / (energies[1] + 1e-4 * n_stained))
    return {"sharpness": np.where(enough, ratio, np.nan), "od": np.where(enough, total / n_stained, np.nan)}


def _box_sums(
    field: Float32[np.ndarray, "h w"], corners: Float[np.ndarray, "n 2"], side: float
) -> Float[np.ndarray, " n"]:
    """Return the exact sums over squares with fractional edges (the integral is linear inside a pixel)."""
    from scipy import ndimage

    integral = np.zeros((field.shape[0] + 1, field.shape[1] + 1))
    np.cumsum(np.cumsum(field, axis=0, dtype=np.float64), axis=1, out=integral[1:, 1:])
    left, top = corners[:, 0], corners[:, 1]
    ys, xs = [top, top, top + side, top + side], [left, left + side, left, left + side]
    at = ndimage.map_coordinates(integral, [np.concatenate(ys), np.concatenate(xs)], order=1, mode="nearest")
    upper_left, upper_right, lower_left, lower_right = at.reshape(4, -1)
    return np.maximum(lower_right - lower_left - upper_right + upper_left, 0)


def rate_tiles(
    columns: Mapping[str, Float32[np.ndarray, " n"]], config: QualityConfig
) -> tuple[Bool[np.ndarray, " n"], UInt8[np.ndarray, " n"]]:
    """Say which tiles of one slide are kept, and why the others are not.

    Args:
        columns: of measure_tiles, for all tiles of the slide.
        config: the limits.

    Returns:
        Whether each tile is kept, and the index into REASONS (0: kept). A tile with several faults has the first.
        Sharpness is compared with the median of the tiles without pen, fold and bare glass. What could not be measured is kept.
    """
    reason = np.zeros(len(columns["pen"]), np.uint8)
    is_over = {
        "pen": columns["pen"] > config.max_pen,
        "fold": columns["fold"] > config.max_fold,
        "glass": columns["glass"] > config.max_glass,
        "blood": columns["blood"] > config.max_blood,
        "necrosis_like": columns["necrosis_like"] > config.max_necrosis,
    }
    is_over["blurred"] = columns["sharpness"] < config.min_sharpness * median_sharpness(
        columns, is_over["pen"] | is_over["fold"] | is_over["glass"]
    )
    for index in range(len(REASONS) - 1, 0, -1):
        reason[is_over[REASONS[index]]] = index
    return reason == 0, reason


def median_sharpness(columns: Mapping[str, Float32[np.ndarray, " n"]], is_marred: Bool[np.ndarray, " n"]) -> float:
    """Return a slide's median sharpness over its tiles without pen and fold; NaN where none was measured."""
    usable = ~np.isnan(columns["sharpness"])
    clean = usable & ~is_marred
    chosen = columns["sharpness"][clean if clean.any() else usable]
    return float(np.median(chosen)) if len(chosen) else float("nan")


def n_excluded(reason: UInt8[np.ndarray, " n"]) -> dict[str, int]:
    """Return the number of tiles left out for each reason, by the names of columns of the status table."""
    counts = np.bincount(reason, minlength=len(REASONS))
    return {f"n_excluded_{name}": int(counts[index]) for index, name in enumerate(REASONS) if index}


def slide_flags(
    columns: Mapping[str, Float32[np.ndarray, " n"]],
    reason: UInt8[np.ndarray, " n"],
    config: QualityConfig,
    *,
    ink_share: float = 0.0,
) -> list[str]:
    """Return what a person should look at on a slide: a name, and a share where one says more.

    Args:
        columns: of measure_tiles, for all tiles of the slide.
        reason: of rate_tiles.
        config: the limits.
        ink_share: pen over the slide's tissue and pen, where the tissue finder has left it out before any tile was laid.
    """
    n_tiles = len(reason)
    shares = {
        name: n / max(n_tiles, 1) for name, n in zip(REASONS, np.bincount(reason, minlength=len(REASONS)), strict=True)
    }
    shares["pen"] = max(shares["pen"], ink_share)
    if n_tiles:
        shares |= {name: max(shares[name], float(columns[name].mean())) for name in HINTS}
    least = dict.fromkeys(REASONS[1:], config.flag_from) | OWN_FLAG_FROM
    flags = [
        f"{FLAG_NAMES.get(name, name)} {shares[name]:.0%}"
        for name in REASONS[1:]
        if shares[name] >= max(least[name], 1e-9)
    ]
    is_marred = np.isin(reason, [REASONS.index(name) for name in ("pen", "fold", "glass")])
    if median_sharpness(columns, is_marred) < config.min_focus:
        flags.append("out of focus")
    od = columns["od"][~np.isnan(columns["od"])]
    if len(od) and float(np.median(od)) < config.min_od:
        flags.append("pale")
    if int((reason == 0).sum()) < config.min_tiles:
        flags.append("few tiles")
    return flags
