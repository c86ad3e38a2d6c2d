"""What a colour map does to a slide: hue of its pink ground, nuclei and red cells before and after, and what goes wrong.

A fit is judged by this, not only by its angles: vectors that look like haematoxylin and eosin can still turn collagen
violet or make colours of noise. Hues are atan2(b, a) in CIELAB, degrees; the pink of H&E lies near -25, nuclei near -50.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from preprocessing.colour.cielab import hue_and_chroma
from preprocessing.colour.tissue_kinds import TissueKinds, thinned

MIN_BLOCKS = 50  # of a kind, to judge it
MAX_BLOCKS = 8_000  # of a kind; more tell no more
VIOLET_HUE = -42.0  # pink ground beyond this reads as violet or blue
MAX_TURNED = 0.4  # share of the pink ground that becomes violet
PINK_RANGE = (-40.0, 5.0)
RED_CELL_RANGE = (-38.0, 50.0)
MIN_DENSITY = 0.35  # of what a block had before; with less it is bleached
MAX_BLEACHED = 0.1  # share of the blocks
MIN_APART = 8.0  # nuclei are bluer than the pink ground by so much, if they were not before
MAX_NOISE = 5.5  # by how much a difference of colour, no matter which, may grow


@dataclass(frozen=True, kw_only=True)
class ColourEffect:
    """Median hues before and after a map, in degrees (NaN where a slide has too little of a kind)."""

    pink: tuple[float, float]
    nuclei: tuple[float, float]
    red_cells: tuple[float, float]
    turned: float  # share of the pink ground that was no violet and becomes it
    bleached: float  # share of all blocks that lose most of their density
    noise: float  # largest factor by which a colourful difference of densities grows


def effect_of(kinds: TissueKinds, matrix: Float64[np.ndarray, "3 3"]) -> ColourEffect:
    """Return what a map (densities @ matrix) does to the kinds of tissue of a slide."""
    pink, nuclei, red_cells, ground = (
        thinned(od, MAX_BLOCKS) for od in (kinds.pink, _cores(kinds.nuclei), kinds.red_cells, kinds.ground)
    )
    before, after = _hues(pink), _hues(pink @ matrix)
    is_turned = (before > VIOLET_HUE) & (after <= VIOLET_HUE)
    colourful = np.eye(3) - np.full((3, 3), 1 / 3)
    return ColourEffect(
        pink=_medians(before, after), nuclei=_medians(_hues(nuclei), _hues(nuclei @ matrix)),
        red_cells=_medians(_hues(red_cells), _hues(red_cells @ matrix)), turned=float(is_turned.mean()) if len(is_turned) else 0.0,
        bleached=_bleached(np.concatenate([ground, nuclei, red_cells]), matrix),
        noise=float(np.linalg.svd(colourful @ matrix @ colourful)[1][0]),
    )  # fmt: skip


def fault_of(effect: ColourEffect) -> str | None:
    """Return what is wrong with a map, or None. What a slide shows too little of is not judged; NaN compares false."""
    pink, nuclei, red_cells = effect.pink, effect.nuclei, effect.red_cells
    faults = {
        f"differences of colour grow {effect.noise:.1f} times, noise with them": effect.noise > MAX_NOISE,
        f"{effect.bleached:.0%} of the tissue is bleached": effect.bleached > MAX_BLEACHED,
        f"{effect.turned:.0%} of the pink ground turns violet": effect.turned > MAX_TURNED,
        f"the pink ground has a hue of {_named(pink)}": _is_outside(pink, PINK_RANGE),
        f"red cells have a hue of {_named(red_cells)}": _is_outside(red_cells, RED_CELL_RANGE),
        f"nuclei (hue {nuclei[1]:.0f}) are no longer bluer than the ground ({pink[1]:.0f})": (
            pink[1] - nuclei[1] < min(MIN_APART, pink[0] - nuclei[0])
        ),
    }
    return next((fault for fault, is_there in faults.items() if is_there), None)


def _is_outside(hues: tuple[float, float], limits: tuple[float, float]) -> bool:
    """Say whether a hue leaves the limits by the map; what was outside before may stay there."""
    before, after = hues
    return after < min(limits[0], before) or after > max(limits[1], before)


def _named(hues: tuple[float, float]) -> str:
    return f"{hues[1]:.0f} degrees (before {hues[0]:.0f})"


def _cores(nuclei: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "m 3"]:
    """Return the darker half of the nuclei in red: a block on an edge is half ground."""
    return nuclei[nuclei[:, 0] >= np.median(nuclei[:, 0])] if len(nuclei) else nuclei


def _bleached(od: Float64[np.ndarray, "n 3"], matrix: Float64[np.ndarray, "3 3"]) -> float:
    if not len(od):
        return 0.0
    return float((np.maximum(od @ matrix, 0).mean(axis=1) < MIN_DENSITY * od.mean(axis=1)).mean())


def _medians(before: Float64[np.ndarray, " n"], after: Float64[np.ndarray, " n"]) -> tuple[float, float]:
    if len(before) < MIN_BLOCKS:
        return float("nan"), float("nan")
    return float(np.median(before)), float(np.median(after))


def _hues(od: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, " n"]:
    return hue_and_chroma(od)[0]
