"""Colour of a slide: two stain vectors fitted once, and one linear map in optical density to a reference.

Optical density here is OD = ln((G + 1) / (I + 1)) for 8-bit I and the slide's glass colour G, so glass is 0. A slide's
fit is the element-wise median over patches of tissue: Macenko et al. 2009 (ISBI) by the plane of the two largest
eigenvectors, or structure-preserving normalisation, Vahadane et al. 2016 (IEEE TMI 35:1962), by sparse non-negative
factorisation. The 2021 sarcoma study used the latter. Guards reject an implausible fit; what was taken instead, and why,
stands in the fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, UInt8

METHODS = ("vahadane", "macenko", "none")
OD_BACKGROUND = 0.15  # a pixel with less in every channel is glass (Macenko's beta)
OD_INK = 1.8  # more than this in every channel is ink or a deep fold
ANGLE_PERCENTILE = 1.0  # Macenko's alpha
SPARSITY = 0.02  # lambda of the released SPCN code's normalisation
MIN_PATCH_PIXELS = 1_000
MIN_PIXELS = 5_000
MAX_PIXELS_PER_PATCH = 4_000
ANGLE_RANGE_DEG = (12.0, 65.0)  # between the two stain vectors
MIN_P99 = 0.1
MAX_RESIDUAL = 0.25  # share of the optical density outside the plane of the stains
N_FACTORISATION_STEPS = 60

WHITE = (255.0, 255.0, 255.0)


@dataclass(frozen=True, kw_only=True)
class StainFit:
    """Stain vectors (unit rows, haematoxylin first) and the 99th percentile of each stain's concentration."""

    method: str  # "vahadane", "macenko", "reference" or "none"
    matrix: Float64[np.ndarray, "2 3"]
    p99: Float64[np.ndarray, " 2"]
    glass: tuple[float, float, float] = WHITE  # RGB of the bare slide
    fallback: str = ""  # why another method than the asked one was taken


# The target every slide is mapped to: the median over fits (vahadane) of the 50 SPCN-normalised example tiles published
# with the 2021 sarcoma study, so that slides take the colours that study worked on (benchmarks/stain_reference.py).
_REFERENCE_VECTORS = np.array([[0.6451, 0.7295, 0.2275], [0.3171, 0.8659, 0.3868]])
REFERENCE = StainFit(
    method="reference",
    matrix=_REFERENCE_VECTORS / np.linalg.norm(_REFERENCE_VECTORS, axis=1, keepdims=True),
    p99=np.array([3.0105, 1.3859]),
)
NO_STAIN = StainFit(method="none", matrix=REFERENCE.matrix, p99=REFERENCE.p99)


def optical_density(pixels: UInt8[np.ndarray, "*n 3"], glass: tuple[float, float, float] = WHITE) -> np.ndarray:
    """Return ln((G + 1) / (I + 1)), float32, not below 0."""
    return np.stack([table[pixels[..., channel]] for channel, table in enumerate(_log_tables(glass))], axis=-1)


def _log_tables(glass: tuple[float, float, float]) -> np.ndarray:
    """Return the optical density of each of the 256 values, a row a channel."""
    values = np.log((np.array(glass)[:, None] + 1.0) / (np.arange(256)[None, :] + 1.0))
    return np.maximum(values, 0.0).astype(np.float32)


def fit_stain(
    patches: Sequence[UInt8[np.ndarray, "_ _ 3"]], *, method: str, glass: tuple[float, float, float] = WHITE
) -> StainFit:
    """Fit a slide's stains on patches of its tissue.

    Args:
        patches: RGB patches, best 16 to 64 spread over the tissue, at about 1 µm a pixel or finer.
        method: one of METHODS.
        glass: the colour of the bare slide, RGB 0 to 255.

    Returns:
        The fit; when guards reject it, Macenko's, and when they reject that too, REFERENCE's vectors with the slide's
        own percentiles. `fallback` then says why.
    """
    if method not in METHODS:
        raise ValueError(f"stain method is one of {', '.join(METHODS)}, got {method!r}")
    if method == "none":
        return replace(NO_STAIN, glass=glass)
    pixels = [_stained_pixels(patch, glass) for patch in patches]
    pixels = [od for od in pixels if len(od) >= MIN_PATCH_PIXELS]
    n_pixels = sum(map(len, pixels))
    if n_pixels < MIN_PIXELS:
        return replace(
            REFERENCE, fallback=f"{n_pixels} stained pixels, fewer than {MIN_PIXELS}: built-in reference taken"
        )
    reasons: list[str] = []
    for candidate in ("vahadane", "macenko") if method == "vahadane" else ("macenko",):
        fit = _fit_by(candidate, pixels)
        reason = _implausible(fit, pixels)
        if reason is None:
            return replace(fit, glass=glass, fallback="; ".join(reasons))
        reasons.append(f"{candidate} rejected: {reason}")
    p99 = _percentiles(REFERENCE.matrix, pixels)
    reasons.append("built-in stain vectors taken")
    return replace(REFERENCE, p99=np.maximum(p99, MIN_P99), glass=glass, fallback="; ".join(reasons))


def _stained_pixels(patch: UInt8[np.ndarray, "h w 3"], glass: tuple[float, float, float]) -> np.ndarray:
    """Return the optical densities (n, 3) of a patch's stained pixels, thinned evenly to a bounded number."""
    od = optical_density(patch, glass).reshape(-1, 3).astype(np.float64)
    is_stained = (od.max(axis=1) > OD_BACKGROUND) & (od.min(axis=1) < OD_INK) & (od.sum(axis=1) > 2 * OD_BACKGROUND)
    # H&E absorbs green most and never leaves red alone; pens (blue, green, black ink) and clotted blood do otherwise
    red, green, blue = od.T
    is_pen = (red > green * 1.15) | (blue > green * 1.25)
    od = od[is_stained & ~is_pen]
    step = max(1, len(od) // MAX_PIXELS_PER_PATCH)
    return od[::step]


def _fit_by(method: str, pixels: Sequence[np.ndarray]) -> StainFit:
    by_patch = np.array([macenko_matrix(od) for od in pixels])
    # a patch of one tissue shows no pure haematoxylin, and its two directions close up: the wider half shows both stains
    cosines = (by_patch[:, 0] * by_patch[:, 1]).sum(axis=1)
    shows_both = np.flatnonzero(cosines <= np.median(cosines))
    by_patch = by_patch[shows_both]
    if method == "vahadane":
        starts = zip(shows_both.tolist(), by_patch, strict=True)
        by_patch = np.array([sparse_stain_matrix(pixels[index], start) for index, start in starts])
    matrix = _haematoxylin_first(_unit(np.median(by_patch, axis=0)))
    return StainFit(method=method, matrix=matrix, p99=_percentiles(matrix, pixels))


def macenko_matrix(od: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "2 3"]:
    """Return the two extreme directions in the plane of the largest eigenvectors (Macenko et al. 2009)."""
    _, vectors = np.linalg.eigh(np.cov(od, rowvar=False))
    plane = vectors[:, [2, 1]]
    plane = plane * np.where(plane.sum(axis=0) < 0, -1.0, 1.0)
    angles = np.arctan2(od @ plane[:, 1], od @ plane[:, 0])
    ends = np.percentile(angles, [ANGLE_PERCENTILE, 100 - ANGLE_PERCENTILE])
    directions = np.stack([np.cos(ends), np.sin(ends)], axis=1) @ plane.T
    return _haematoxylin_first(_unit(np.maximum(directions, 0.0) + 1e-12))


def sparse_stain_matrix(
    od: Float64[np.ndarray, "n 3"], start: Float64[np.ndarray, "2 3"]
) -> Float64[np.ndarray, "2 3"]:
    """Factorise optical densities into two stains, sparse and non-negative (Vahadane et al. 2016, equation 5).

    Minimises 1/2 ||V - H W||^2 + lambda |H|_1 with H, W >= 0 and unit rows of W, by exact codes for two stains and
    block-coordinate updates of W; deterministic from `start`.
    """
    matrix = start
    for _ in range(N_FACTORISATION_STEPS):
        codes = sparse_codes(od, matrix)
        gram, target = codes.T @ codes, codes.T @ od
        updated = matrix.copy()
        for stain in (0, 1):
            if gram[stain, stain] < 1e-12:
                continue
            step = (target[stain] - gram[stain] @ updated) / gram[stain, stain]
            updated[stain] = np.maximum(updated[stain] + step, 0.0)
        updated = _unit(updated + 1e-12)
        moved = float(np.abs(updated - matrix).max())
        matrix = updated
        if moved < 1e-5:
            break
    return _haematoxylin_first(matrix)


def sparse_codes(
    od: Float64[np.ndarray, "n 3"], matrix: Float64[np.ndarray, "2 3"], sparsity: float = SPARSITY
) -> Float64[np.ndarray, "n 2"]:
    """Return the exact minimiser over h >= 0 of 1/2 ||v - h W||^2 + lambda (h1 + h2), for every pixel.

    With two unit stains the minimum is inside, on one axis, or at zero; each case has a closed form.
    """
    gram = float(matrix[0] @ matrix[1])
    pull = od @ matrix.T - sparsity
    inside = (pull - gram * pull[:, ::-1]) / max(1 - gram**2, 1e-12)
    alone = np.maximum(pull, 0.0)
    is_inside = (inside >= 0).all(axis=1)
    takes_first = alone[:, 0] >= alone[:, 1]  # on one axis the gain is pull^2 / 2
    on_axis = alone * np.stack([takes_first, ~takes_first], axis=1)
    return np.where(is_inside[:, None], inside, on_axis)


def _percentiles(matrix: Float64[np.ndarray, "2 3"], pixels: Sequence[np.ndarray]) -> Float64[np.ndarray, " 2"]:
    concentrations = np.concatenate(pixels) @ np.linalg.pinv(matrix)
    return np.percentile(concentrations, 99, axis=0)


def _implausible(fit: StainFit, pixels: Sequence[np.ndarray]) -> str | None:
    """Return why a fit cannot be a haematoxylin and eosin stain, or None."""
    angle = np.degrees(np.arccos(np.clip(fit.matrix[0] @ fit.matrix[1], -1, 1)))
    if not ANGLE_RANGE_DEG[0] <= angle <= ANGLE_RANGE_DEG[1]:
        return f"{angle:.0f} degrees between the stains"
    if (fit.matrix < 0).any() or not np.isfinite(fit.matrix).all():
        return "a negative stain vector"
    if fit.matrix[1].argmax() != 1:
        return "eosin does not absorb green most"
    if (fit.p99 < MIN_P99).any():
        return f"99th percentiles {fit.p99[0]:.2f} and {fit.p99[1]:.2f}, below {MIN_P99}"
    od = np.concatenate(pixels)
    residual = od - np.maximum(od @ np.linalg.pinv(fit.matrix), 0) @ fit.matrix
    share = float(np.linalg.norm(residual) / np.linalg.norm(od))
    if share > MAX_RESIDUAL:
        return f"{share:.0%} of the optical density is not explained"
    return None


def _unit(matrix: Float64[np.ndarray, "2 3"]) -> Float64[np.ndarray, "2 3"]:
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def _haematoxylin_first(matrix: Float64[np.ndarray, "2 3"]) -> Float64[np.ndarray, "2 3"]:
    """Order the stains: haematoxylin, being blue, absorbs the larger share of red."""
    return matrix if matrix[0, 0] >= matrix[1, 0] else matrix[::-1].copy()


@dataclass(frozen=True)
class StainMap:
    """The colour map of a slide: OD_target = OD_source @ matrix, from the slide's glass to white."""

    matrix: Float64[np.ndarray, "3 3"]
    glass: tuple[float, float, float]


def stain_map(source: StainFit, target: StainFit) -> StainMap:
    """Return the map of a slide: unmix, scale each stain to the target's 99th percentile, mix again.

    The direction outside the plane of the source's stains (dust, blood, pigment) is kept as it is.
    """
    unmix = np.linalg.pinv(source.matrix)
    onto_target = unmix @ np.diag(target.p99 / source.p99) @ target.matrix
    residual = np.eye(3) - unmix @ source.matrix
    return StainMap(onto_target + residual, source.glass)


def apply_map(tiles: UInt8[np.ndarray, "*n 3"], to_target: StainMap) -> UInt8[np.ndarray, "*n 3"]:
    """Map tiles to the target's colours; glass becomes white and takes no tinge.

    Optical densities below OD_BACKGROUND fade from unmixed (half of it) to fully mapped, so noise on glass is not coloured.
    """
    flat = tiles.reshape(-1, 3)
    mapped = np.empty_like(flat)
    tables, weights = _log_tables(to_target.glass), to_target.matrix.astype(np.float32)
    for start in range(0, len(flat), 65_536):  # blocks that stay in the cache
        block = flat[start : start + 65_536]
        od = np.empty(block.shape, np.float32)
        for channel in range(3):
            np.take(tables[channel], block[:, channel], out=od[:, channel])
        share = np.clip(od.max(axis=1, keepdims=True) * np.float32(2 / OD_BACKGROUND) - 1, 0, 1)
        moved = od @ weights
        moved -= od
        moved *= share
        moved += od
        np.negative(moved, out=moved)
        np.exp(moved, out=moved)
        moved *= 256
        moved -= 0.5  # + 0.5 to round, - 1 of the density's convention
        np.clip(moved, 0, 255, out=moved)
        mapped[start : start + 65_536] = moved
    return mapped.reshape(tiles.shape)
