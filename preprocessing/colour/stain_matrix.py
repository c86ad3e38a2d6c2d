"""Two stain vectors from optical densities: Macenko's plane and angles, and Vahadane's sparse non-negative factors.

Macenko et al. 2009 (ISBI, 1107); Vahadane et al. 2016 (IEEE TMI 35:1962), with a deterministic solver of its own.
"""

import numpy as np
from jaxtyping import Float64

# Macenko's alpha; the paper takes 1 of single pixels, but means of blocks have less noise, and alpha 1 cuts into the stains
ANGLE_PERCENTILE = 0.5
PURE_SHARE = (
    0.25  # of the blocks: so many of a tissue are taken to hold eosin alone, where noise moves the end outwards
)
MAX_NOISE_SHARE = 0.2  # of the angle between the ends, that noise may account for: more of it is another stain
SPARSITY = 0.01  # lambda; the released SPCN code names 0.01 to 0.1, smaller for a better reconstruction
N_FACTORISATION_STEPS = 60


def macenko_matrix(od: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "2 3"]:
    """Return the two extreme directions in the plane of the largest singular vectors (Macenko et al. 2009).

    The plane is of the densities themselves, as in the paper, not of their differences to the mean: it passes through
    the glass, and noise moves it less. Unlike there, the end of eosin is moved back by what noise moves it outwards: much of
    a tissue holds eosin alone, so that its end is the outermost noise of many equal directions, and by the same angle
    whether the stains lie near or far. The noise is read from the angles out of the plane, which no mixture of two stains
    opens. Pure haematoxylin is rare; its end stays.
    """
    _, vectors = np.linalg.eigh(od.T @ od)
    plane = vectors[:, [2, 1]]
    plane = plane * np.where(plane.sum(axis=0) < 0, -1.0, 1.0)
    along, across = (od @ plane).T
    angles = np.arctan2(across, along)
    ends = np.percentile(angles, [ANGLE_PERCENTILE, 100 - ANGLE_PERCENTILE])
    red = np.cos(ends) * plane[0, 0] + np.sin(ends) * plane[0, 1]
    is_near = angles <= np.median(angles) if red[0] < red[1] else angles >= np.median(angles)
    noise = _noise_of_end(np.arctan2(od @ vectors[:, 0], np.hypot(along, across))[is_near])
    noise = min(noise, MAX_NOISE_SHARE * float(ends[1] - ends[0]))
    ends = ends + (np.array([noise, 0.0]) if red[0] < red[1] else np.array([0.0, -noise]))
    directions = np.stack([np.cos(ends), np.sin(ends)], axis=1) @ plane.T
    return haematoxylin_first(unit_rows(np.maximum(directions, 0.0) + 1e-12))


def _noise_of_end(angles: Float64[np.ndarray, " n"]) -> float:
    """Return how far noise alone moves an end outwards, given angles that noise alone opens: both tails' percentile."""
    beyond = ANGLE_PERCENTILE / PURE_SHARE  # per cent of the pure ones that lie outside the end
    return float(np.percentile(np.abs(angles - np.median(angles)), 100 - 2 * beyond))


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
        updated = unit_rows(updated + 1e-12)
        moved = float(np.abs(updated - matrix).max())
        matrix = updated
        if moved < 1e-5:
            break
    return haematoxylin_first(matrix)


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


def unit_rows(matrix: Float64[np.ndarray, "2 3"]) -> Float64[np.ndarray, "2 3"]:
    """Give every row the length 1."""
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def haematoxylin_first(matrix: Float64[np.ndarray, "2 3"]) -> Float64[np.ndarray, "2 3"]:
    """Order the stains: haematoxylin, being blue, absorbs the larger share of red."""
    return matrix if matrix[0, 0] >= matrix[1, 0] else matrix[::-1].copy()
