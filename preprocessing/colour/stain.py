"""Colour of a slide: two stain vectors and the spread of its colours, fitted once, and the map to a reference.

Vectors are found on smoothed means of 4 x 4 pixels (2 µm), in groups of patches of the tissue, and on the darker half of
them: noise and glass turn a pale direction, and the more so the nearer the stains lie. The element-wise median over the
groups is the slide's. Macenko et al. 2009 (ISBI), or structure-preserving normalisation, Vahadane et al. 2016 (IEEE TMI
35:1962), by sparse non-negative factorisation; the 2021 sarcoma study used the latter. Reinhard et al. 2001 needs no
vectors, only mean and spread of CIELAB inside tissue.
Guards reject an implausible fit; what was taken instead, and why, stands in the fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, UInt8

from preprocessing.colour.cielab import lab, reinhard_in_roots
from preprocessing.colour.colour_formula import StainMap
from preprocessing.colour.optical_density import WHITE, Glass
from preprocessing.colour.stain_matrix import haematoxylin_first, macenko_matrix, sparse_stain_matrix, unit_rows
from preprocessing.colour.stain_samples import block_groups, stained_pixels

METHODS = ("vahadane", "macenko", "reinhard", "none")
MIN_PIXELS = 5_000
ANGLE_RANGE_DEG = (8.0, 65.0)  # between the two stain vectors; noise alone opens one stain by less than 3 degrees
# of its unit vector: 0.346 in the palest example of the SPCN authors, 0.50 to 0.65 mostly; less is a second eosin
MIN_RED_OF_HAEMATOXYLIN = 0.344
MIN_P99 = 0.1
MAX_GAIN = 12.0  # a stain scaled up further than this, to the reference's 99th percentile, is noise
MIN_LAB_SD = 0.5  # less is one flat colour
MAX_RESIDUAL = 0.25  # share of the optical density outside the plane of the stains


@dataclass(frozen=True, kw_only=True)
class StainFit:
    """Stain vectors (unit rows, haematoxylin first), the 99th percentile of each stain's concentration, and CIELAB.

    `lab` is mean (row 0) and standard deviation (row 1) of L, a and b of the stained pixels, the glass being white.
    """

    method: str  # "vahadane", "macenko", "reinhard", "reference" or "none"
    matrix: Float64[np.ndarray, "2 3"]
    p99: Float64[np.ndarray, " 2"]
    glass: Glass = WHITE  # RGB of the bare slide
    fallback: str = ""  # why another method than the asked one was taken
    lab: Float64[np.ndarray, "2 3"] | None = None  # None: never measured


# The target every slide is mapped to: the median over fits (vahadane) of the 50 SPCN-normalised example tiles published
# with the 2021 sarcoma study, so that slides take the colours that study worked on (benchmarks/stain_reference.py).
_REFERENCE_VECTORS = np.array([[0.6422, 0.7299, 0.2343], [0.3247, 0.8632, 0.3866]])
REFERENCE = StainFit(
    method="reference",
    matrix=unit_rows(_REFERENCE_VECTORS),
    p99=np.array([3.0058, 1.4123]),
    lab=np.array([[54.06, 29.44, -31.64], [17.18, 7.20, 10.81]]),
)
NO_STAIN = StainFit(method="none", matrix=REFERENCE.matrix, p99=REFERENCE.p99)


def fit_stain(patches: Sequence[UInt8[np.ndarray, "_ _ 3"]], *, method: str, glass: Glass = WHITE) -> StainFit:
    """Fit a slide's colours on patches of its tissue.

    Args:
        patches: RGB patches, best 16 to 64 spread over the tissue, at about 0.5 µm a pixel.
        method: one of METHODS.
        glass: the colour of the bare slide, RGB 0 to 255.

    Returns:
        The fit; when guards reject it, Macenko's, and when they reject that too, REFERENCE's vectors with the slide's
        own percentiles. `fallback` then says why. A Reinhard fit carries Macenko's vectors, or REFERENCE's, for what
        needs concentrations; its colours do not depend on them.
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
    fit = replace(_fit_vectors(method, block_groups(patches, glass), pixels), glass=glass, lab=colours)
    return replace(fit, method="reinhard", fallback="") if method == "reinhard" else fit


def _fit_vectors(method: str, groups: Sequence[np.ndarray], pixels: np.ndarray) -> StainFit:
    reasons: list[str] = [] if groups else ["no group of patches is stained enough"]
    for candidate in ("vahadane", "macenko") if method == "vahadane" else ("macenko",):
        if not groups:
            break
        fit = _fit_by(candidate, groups, pixels)
        reason = _implausible(fit, pixels)
        if reason is None:
            return replace(fit, fallback="; ".join(reasons))
        reasons.append(f"{candidate} rejected: {reason}")
    p99 = _percentiles(REFERENCE.matrix, pixels)
    if (p99 * MAX_GAIN < REFERENCE.p99).any():  # scaled up so far, noise would be painted
        return replace(REFERENCE, fallback="; ".join([*reasons, "built-in vectors do not fit either: colours kept"]))
    return replace(REFERENCE, p99=p99, fallback="; ".join([*reasons, "built-in stain vectors taken"]))


def _fit_by(method: str, groups: Sequence[np.ndarray], pixels: np.ndarray) -> StainFit:
    by_group = [macenko_matrix(od) for od in groups]
    if method == "vahadane":
        by_group = [sparse_stain_matrix(od, start) for od, start in zip(groups, by_group, strict=True)]
    matrix = haematoxylin_first(unit_rows(np.median(by_group, axis=0)))
    return StainFit(method=method, matrix=matrix, p99=_percentiles(matrix, pixels))


def _percentiles(matrix: Float64[np.ndarray, "2 3"], pixels: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, " 2"]:
    return np.percentile(pixels @ np.linalg.pinv(matrix), 99, axis=0)


def _implausible(fit: StainFit, pixels: np.ndarray) -> str | None:
    """Return why a fit cannot be a haematoxylin and eosin stain, or None."""
    angle = np.degrees(np.arccos(np.clip(fit.matrix[0] @ fit.matrix[1], -1, 1)))
    if not ANGLE_RANGE_DEG[0] <= angle <= ANGLE_RANGE_DEG[1]:
        return f"{angle:.0f} degrees between the stains"
    if (fit.matrix < 0).any() or not np.isfinite(fit.matrix).all():
        return "a negative stain vector"
    hue = _wrong_hue(fit.matrix)
    if hue is not None:
        return hue
    if (fit.p99 * MAX_GAIN < REFERENCE.p99).any() or (fit.p99 < MIN_P99).any():
        return f"99th percentiles {fit.p99[0]:.2f} and {fit.p99[1]:.2f}: hardly stained"
    residual = pixels - np.maximum(pixels @ np.linalg.pinv(fit.matrix), 0) @ fit.matrix
    share = float(np.linalg.norm(residual) / np.linalg.norm(pixels))
    if share > MAX_RESIDUAL:
        return f"{share:.0%} of the optical density is not explained"
    return None


def _wrong_hue(matrix: Float64[np.ndarray, "2 3"]) -> str | None:
    """Return why two vectors are not blue and pink, or None."""
    if matrix[0, 0] < MIN_RED_OF_HAEMATOXYLIN:
        return f"haematoxylin absorbs hardly any red ({matrix[0, 0]:.2f} of its density)"
    return None if matrix[1].argmax() == 1 else "eosin does not absorb green most"


def stain_map(source: StainFit, target: StainFit) -> StainMap:
    """Return the map of a slide: unmix, scale each stain to the target's 99th percentile, mix again.

    The direction outside the plane of the source's stains (dust, blood, pigment) is kept as it is. A Reinhard fit is
    mapped to the target's mean and spread in CIELAB instead.

    Raises:
        ValueError: a Reinhard fit meets a target whose CIELAB was never measured.
    """
    if source.method == "reinhard":
        if source.lab is None or target.lab is None:
            raise ValueError("Reinhard's map needs mean and spread in CIELAB of slide and reference; make both anew")
        matrix, shift = reinhard_in_roots(source.lab, target.lab)
        return StainMap(matrix, source.glass, "roots", shift)
    unmix = np.linalg.pinv(source.matrix)
    onto_target = unmix @ np.diag(target.p99 / source.p99) @ target.matrix
    residual = np.eye(3) - unmix @ source.matrix
    return StainMap(onto_target + residual, source.glass)
