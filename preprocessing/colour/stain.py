"""Colour of a slide: two stain vectors, the colour of its pink ground, their amounts, fitted once; the map to a reference.

Vectors are sought on smoothed means of 4 x 4 pixels (2 µm) of nuclei and of ground, each for itself (`tissue_kinds`): by
Macenko et al. 2009 (ISBI), or structure-preserving normalisation, Vahadane et al. 2016 (IEEE TMI 35:1962), by sparse
non-negative factorisation; the 2021 sarcoma study used the latter. Reinhard et al. 2001 needs no vectors, only mean and
spread of CIELAB inside tissue.
What is set against the reference's eosin is the slide's own pink ground, not the extreme end of its colours: real
eosinophilic ground has a little haematoxylin, and scaled up it turns collagen violet.
A fit is judged by its angles and by what its map does (`colour_effect`). A bad one is mapped part of the way, then not at
all; what was taken instead, and why, stands in the fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, UInt8

from preprocessing.colour.cielab import lab, reinhard_in_roots
from preprocessing.colour.colour_effect import effect_of, fault_of
from preprocessing.colour.colour_formula import StainMap
from preprocessing.colour.ink import is_red_cell
from preprocessing.colour.optical_density import WHITE, Glass
from preprocessing.colour.stain_matrix import (
    bounded_pink,
    macenko_matrix,
    pink_direction,
    sparse_stain_matrix,
    unit_rows,
    with_true_haematoxylin,
)
from preprocessing.colour.stain_samples import stained_pixels
from preprocessing.colour.tissue_kinds import TissueKinds, thinned, tissue_kinds

METHODS = ("vahadane", "macenko", "reinhard", "none")
MIN_PIXELS = 5_000
MIN_BLOCKS = 150  # of nuclei and of ground, to fit their vectors
MIN_PINK_SHARE = 0.02  # of the ground: with less the slide shows no eosin
MAX_FIT_BLOCKS = 40_000  # of each kind; more add nothing but time
ANGLE_RANGE_DEG = (4.0, 65.0)  # between the two stain vectors; noise alone opens one stain by less than 3 degrees
MIN_RED_OF_HAEMATOXYLIN = 0.38  # over its green, as found; an overstained frozen section has 0.42
MAX_BLUE_OF_HAEMATOXYLIN = 0.97  # over its green; more is grey
MAX_RED_OF_EOSIN = 0.8  # over its green; more is a second haematoxylin (crushed nuclei, mucin)
MIN_P99 = 0.1
MAX_GAIN = 12.0  # a stain that had to be scaled up further than this is noise
GAIN_LIMIT = 3.0  # by so much a stain is scaled at most: a pale slide stays paler than the reference
STRENGTHS = (
    1.0,
    0.9,
    0.8,
    0.7,
    0.6,
    0.5,
    0.4,
    0.3,
    0.2,
    0.1,
    0.0,
)  # how far towards the reference's directions, the first that does no harm
MIN_LAB_SD = 0.5  # less is one flat colour


@dataclass(frozen=True, kw_only=True)
class StainFit:
    """Stain vectors (unit rows, haematoxylin first), amounts, the pink ground, and CIELAB.

    `p99` is the 99th percentile of haematoxylin in nuclei, and of the pink in single pixels, unmixed by `basis`.

    `lab` is mean (row 0) and standard deviation (row 1) of L, a and b of the stained pixels, the glass being white.
    """

    method: str  # "vahadane", "macenko", "reinhard", "reference" or "none"
    matrix: Float64[np.ndarray, "2 3"]
    p99: Float64[np.ndarray, " 2"]
    glass: Glass = WHITE  # RGB of the bare slide
    fallback: str = ""  # why another method than the asked one was taken, or not the whole way gone
    lab: Float64[np.ndarray, "2 3"] | None = None  # None: never measured
    pink: Float64[np.ndarray, " 3"] | None = None  # unit vector of the pink ground; None: that of eosin
    strength: float = 1.0  # 0 (amounts alone) to 1: how far the map turns the slide's directions to a reference's

    @property
    def basis(self) -> Float64[np.ndarray, "2 3"]:
        """Haematoxylin and the pink ground: what a map sets against the reference's."""
        return np.stack([self.matrix[0], self.matrix[1] if self.pink is None else self.pink])


# The target every slide is mapped to: the median over fits (vahadane) of the 50 SPCN-normalised example tiles published
# with the 2021 sarcoma study, so that slides take the colours that study worked on (benchmarks/stain_reference.py).
# Its pink is where that eosin's hue lies at full strength (-26 degrees in CIELAB), taken at the density of usual ground, 0.8.
_REFERENCE_VECTORS = np.array([[0.6426, 0.7290, 0.2342], [0.3221, 0.8649, 0.3863]])
REFERENCE = StainFit(
    method="reference",
    matrix=unit_rows(_REFERENCE_VECTORS),
    p99=np.array([3.1409, 1.8232]),
    lab=np.array([[54.06, 29.44, -31.64], [17.18, 7.20, 10.81]]),
    pink=unit_rows(np.array([[0.2876, 0.8710, 0.3980]]))[0],
)
NO_STAIN = StainFit(method="none", matrix=REFERENCE.matrix, p99=REFERENCE.p99)


def fit_stain(patches: Sequence[UInt8[np.ndarray, "_ _ 3"]], *, method: str, glass: Glass = WHITE) -> StainFit:
    """Fit a slide's colours on patches of its tissue.

    Args:
        patches: RGB patches, best 16 to 64 spread over the tissue, at about 0.5 µm a pixel.
        method: one of METHODS.
        glass: the colour of the bare slide, RGB 0 to 255.

    Returns:
        The fit. Where the map of a fit does harm, the other method's is taken; where that does, too, the one that gets
        further, and it goes only as far as it does none; where no fit is plausible, the colours are kept. `fallback`
        says which and why. A Reinhard fit carries Macenko's vectors, or REFERENCE's, for what needs concentrations; its
        colours do not depend on them.
    """
    if method not in METHODS:
        raise ValueError(f"stain method is one of {', '.join(METHODS)}, got {method!r}")
    if method == "none":
        return replace(NO_STAIN, glass=glass)
    pixels = np.concatenate([stained_pixels(patch, glass) for patch in patches] or [np.empty((0, 3))])
    if len(pixels) < MIN_PIXELS:
        why = f"{len(pixels)} stained pixels, fewer than {MIN_PIXELS}: built-in reference taken"
        return replace(REFERENCE, glass=glass, fallback=why)
    values = lab((256 * np.exp(-pixels) - 1) / 255)
    colours = np.stack([values.mean(axis=0), values.std(axis=0)])
    if method == "reinhard" and (colours[1] < MIN_LAB_SD).any():
        why = f"a spread of {colours[1].min():.2f} in CIELAB, below {MIN_LAB_SD}: built-in reference taken"
        return replace(REFERENCE, glass=glass, fallback=why)
    fit = replace(_fit_vectors(method, tissue_kinds(patches, glass), pixels), glass=glass, lab=colours)
    return replace(fit, method="reinhard", fallback="", strength=1.0) if method == "reinhard" else fit


def _fit_vectors(method: str, kinds: TissueKinds, pixels: Float64[np.ndarray, "n 3"]) -> StainFit:
    """Return the first fit whose map does no harm, else the one that goes furthest without harm."""
    if min(len(kinds.nuclei), len(kinds.ground)) < MIN_BLOCKS:
        why = f"{len(kinds.nuclei)} blocks of nuclei and {len(kinds.ground)} of ground, fewer than {MIN_BLOCKS}"
        return replace(REFERENCE, fallback=f"{why}: colours kept")
    reasons, best = list[str](), None
    for candidate in ("macenko",) if method == "reinhard" else (method, *({"vahadane", "macenko"} - {method})):
        found = _fit_by(candidate, kinds, pixels)
        reason = implausible(found)
        fit = replace(found, matrix=with_true_haematoxylin(found.matrix, found.basis[1]))
        fit = replace(fit, p99=_percentiles(fit, kinds, pixels))
        if reason is None:
            strength, reason = _harmless_strength(fit, kinds)
            if strength is not None and (best is None or strength > best.strength):
                best = replace(fit, strength=strength)
        if reason is None:
            return replace(fit, fallback="; ".join([*reasons, *_about_pink(kinds)]))
        reasons.append(f"{candidate}: {reason}")
    if best is None:
        return replace(REFERENCE, fallback="; ".join([*reasons, "colours kept"]))
    taken = f"{best.method} taken, colours turned {best.strength:.0%} of the way"
    return replace(best, fallback="; ".join([*reasons, taken, *_about_pink(kinds)]))


def _fit_by(method: str, kinds: TissueKinds, pixels: Float64[np.ndarray, "n 3"]) -> StainFit:
    nuclei, ground, whole = (
        thinned(od, MAX_FIT_BLOCKS) for od in (kinds.nuclei, _darker_half(kinds.ground), kinds.ground)
    )
    matrix = macenko_matrix(nuclei, ground)
    if method == "vahadane":
        n = max(len(nuclei), len(ground))  # of each alike: few nuclei must weigh as much as much ground
        matrix = sparse_stain_matrix(np.concatenate([np.resize(nuclei, (n, 3)), np.resize(ground, (n, 3))]), matrix)
    own_pink = None if _about_pink(kinds) else bounded_pink(pink_direction(nuclei, whole), matrix)
    if own_pink is None:
        matrix = np.stack([matrix[0], REFERENCE.matrix[1]])
    fit = StainFit(method=method, matrix=matrix, p99=REFERENCE.p99, pink=own_pink)
    return replace(fit, p99=_percentiles(fit, kinds, pixels))


def _darker_half(od: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "m 3"]:
    """Leave out the paler half, where noise and glass turn the direction; not below a fixed density: slides are pale."""
    peaks = od.max(axis=1)
    return od[peaks >= np.median(peaks)]


def _about_pink(kinds: TissueKinds) -> list[str]:
    """Return a word where a slide shows no pink ground to fit eosin on."""
    share = len(kinds.pink) / len(kinds.ground)
    return [f"{share:.1%} of the ground is pink: the reference's eosin taken"] if share < MIN_PINK_SHARE else []


def _percentiles(fit: StainFit, kinds: TissueKinds, pixels: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, " 2"]:
    """Return the 99th percentile of haematoxylin among nuclei and of the pink among single stained pixels, red cells left out.

    Each is what differs least between the sites of one tissue. A slide without pink ground has no amount of eosin of its own;
    it is scaled as haematoxylin is.
    """
    unmix = np.linalg.pinv(fit.basis)
    haematoxylin = np.percentile((kinds.nuclei @ unmix)[:, 0], 99)
    if fit.pink is None:
        return haematoxylin / REFERENCE.p99[0] * REFERENCE.p99
    pink = np.median(kinds.pink, axis=0)
    stained = pixels[~is_red_cell(pixels, ground_blue=float(pink[2] / pink[1]))]
    return np.array([haematoxylin, np.percentile((stained @ unmix)[:, 1], 99)])


def _harmless_strength(fit: StainFit, kinds: TissueKinds) -> tuple[float | None, str | None]:
    """Return how far the map to the built-in reference can go without harm, and what harm the whole way would do."""
    first: str | None = None
    for strength in STRENGTHS:
        fault = fault_of(effect_of(kinds, _density_map(replace(fit, strength=strength), REFERENCE)))
        if fault is None:
            return strength, first
        first = first or fault
    return None, first


def implausible(fit: StainFit) -> str | None:
    """Return why a fit cannot be a haematoxylin and eosin stain, or None."""
    if (fit.matrix < 0).any() or not np.isfinite(fit.matrix).all():
        return "a negative stain vector"
    angle = np.degrees(np.arccos(np.clip(fit.matrix[0] @ fit.matrix[1], -1, 1)))
    red = fit.matrix[:, 0] / np.maximum(fit.matrix[:, 1], 1e-6)
    is_weak = (fit.p99 * MAX_GAIN < REFERENCE.p99).any() or (fit.p99 < MIN_P99).any()
    faults = {
        f"haematoxylin takes hardly any red ({red[0]:.2f} of the green)": red[0] < MIN_RED_OF_HAEMATOXYLIN,
        "haematoxylin is grey": fit.matrix[0, 2] > MAX_BLUE_OF_HAEMATOXYLIN * fit.matrix[0, 1],
        "eosin does not absorb green most": fit.matrix[1].argmax() != 1,
        f"eosin takes as much red as a haematoxylin ({red[1]:.2f} of the green)": red[1] > MAX_RED_OF_EOSIN,
        f"{angle:.0f} degrees between the stains": not ANGLE_RANGE_DEG[0] <= angle <= ANGLE_RANGE_DEG[1],
        f"99th percentiles {fit.p99[0]:.2f} and {fit.p99[1]:.2f}: hardly stained": is_weak,
    }
    return next((fault for fault, is_there in faults.items() if is_there), None)


def stain_map(source: StainFit, target: StainFit) -> StainMap:
    """Return the map of a slide: unmix, scale each stain to the target's 99th percentile, mix again.

    Unmixed are haematoxylin and the colour of the pink ground; they become the target's as far as `strength` goes, and
    are scaled GAIN_LIMIT times at most. The direction outside their plane (dust, blood, pigment) is kept as it is. A
    Reinhard fit is mapped to the target's mean and spread in CIELAB instead.

    Raises:
        ValueError: a Reinhard fit meets a target whose CIELAB was never measured.
    """
    if source.method == "reinhard":
        if source.lab is None or target.lab is None:
            raise ValueError("Reinhard's map needs mean and spread in CIELAB of slide and reference; make both anew")
        matrix, shift = reinhard_in_roots(source.lab, target.lab)
        return StainMap(matrix, source.glass, "roots", shift)
    return StainMap(_density_map(source, target), source.glass)


def _density_map(source: StainFit, target: StainFit) -> Float64[np.ndarray, "3 3"]:
    basis = source.basis
    goal = unit_rows((1 - source.strength) * basis + source.strength * target.basis)
    gain = np.clip(target.p99 / source.p99, 1 / GAIN_LIMIT, GAIN_LIMIT)
    unmix = np.linalg.pinv(basis)
    return unmix @ np.diag(gain) @ goal + np.eye(3) - unmix @ basis
