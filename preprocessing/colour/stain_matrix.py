"""Two stain vectors from optical densities: Macenko's plane and angles, and Vahadane's sparse non-negative factors.

Macenko et al. 2009 (ISBI, 1107); Vahadane et al. 2016 (IEEE TMI 35:1962), with a deterministic solver of its own.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

# Macenko's alpha, of each kind of tissue by itself: eosin's end among the ground, haematoxylin's among the nuclei
GROUND_PERCENTILE = 10.0
NUCLEAR_PERCENTILE = 98.0
PINK_PERCENTILE = 25.0  # of the ground, from its pinkest: the colour that a reference's pink is set against
MAX_HAEMATOXYLIN_OF_PINK = 0.4  # of both stains; 0.10 to 0.48 on real slides, 0.62 on a painted one of mauve ground
# red over green density of a haematoxylin: 0.69 to 0.93 on real slides; a nucleus with less has eosin above and below it
MIN_RED_OF_NUCLEI = 0.62
SPARSITY = 0.01  # lambda; the released SPCN code names 0.01 to 0.1, smaller for a better reconstruction
N_FACTORISATION_STEPS = 60


def macenko_matrix(
    nuclei: Float64[np.ndarray, "n 3"], ground: Float64[np.ndarray, "m 3"]
) -> Float64[np.ndarray, "2 3"]:
    """Return the stains as directions in the plane of the largest singular vectors (Macenko et al. 2009).

    The plane is of the densities themselves, as in the paper, not of their differences to the mean: it passes through
    the glass, and noise moves it less. Unlike there, nuclei and ground count alike, and each stain is sought among the
    kind of tissue it stains: over all pixels an end is where few of the one kind meet the noise of the other.
    """
    plane, angles = _in_plane(nuclei, ground)
    ends = np.array(
        [np.percentile(angles(nuclei), NUCLEAR_PERCENTILE), np.percentile(angles(ground), GROUND_PERCENTILE)]
    )
    directions = np.stack([np.cos(ends), np.sin(ends)], axis=1) @ plane
    return unit_rows(np.maximum(directions, 0.0) + 1e-12)


def pink_direction(nuclei: Float64[np.ndarray, "n 3"], ground: Float64[np.ndarray, "m 3"]) -> Float64[np.ndarray, " 3"]:
    """Return the unit vector of a slide's pink ground, in the plane that `macenko_matrix` takes.

    By rank among all ground, not by hue: what a hue calls pink differs from scanner to scanner on one tissue.
    """
    plane, angles = _in_plane(nuclei, ground)
    angle = np.percentile(angles(ground), PINK_PERCENTILE)
    return unit_rows(np.maximum(np.array([[np.cos(angle), np.sin(angle)]]) @ plane, 0.0) + 1e-12)[0]


def bounded_pink(pink: Float64[np.ndarray, " 3"], matrix: Float64[np.ndarray, "2 3"]) -> Float64[np.ndarray, " 3"]:
    """Return a pink ground with no more haematoxylin than MAX_HAEMATOXYLIN_OF_PINK: mauve myxoid ground is none."""
    haematoxylin, eosin = pink @ np.linalg.pinv(matrix)
    if haematoxylin <= MAX_HAEMATOXYLIN_OF_PINK * (haematoxylin + eosin):
        return pink
    shares = np.array([MAX_HAEMATOXYLIN_OF_PINK, 1 - MAX_HAEMATOXYLIN_OF_PINK])
    return unit_rows((shares @ matrix)[None])[0]


def _in_plane(
    nuclei: Float64[np.ndarray, "n 3"], ground: Float64[np.ndarray, "m 3"]
) -> tuple[Float64[np.ndarray, "2 3"], Callable[[np.ndarray], Float64[np.ndarray, " n"]]]:
    """Return the plane (two orthogonal unit rows) and the angle in it, which grows from ground to nuclei."""
    _, vectors = np.linalg.eigh(sum(od.T @ od / len(od) for od in (nuclei, ground)))
    plane = vectors[:, [2, 1]].T
    plane = plane * np.where(plane.sum(axis=1, keepdims=True) < 0, -1.0, 1.0)

    def angles(od: np.ndarray) -> np.ndarray:
        along, across = plane @ od.T
        return np.arctan2(across, along)

    if np.median(angles(nuclei)) < np.median(angles(ground)):
        plane[1] *= -1
    return plane, angles


def with_true_haematoxylin(
    matrix: Float64[np.ndarray, "2 3"], pink: Float64[np.ndarray, " 3"]
) -> Float64[np.ndarray, "2 3"]:
    """Move a haematoxylin that takes too little red outwards, away from the pink, to where a real one lies."""
    haematoxylin = matrix[0]
    if haematoxylin[0] >= MIN_RED_OF_NUCLEI * haematoxylin[1]:
        return matrix
    # h - t pink with red = least * green
    short = MIN_RED_OF_NUCLEI * haematoxylin[1] - haematoxylin[0]
    per_pink = MIN_RED_OF_NUCLEI * pink[1] - pink[0]
    if per_pink <= short:
        return matrix
    moved = np.maximum(haematoxylin - short / per_pink * pink, 0.0)
    return unit_rows(np.stack([moved, matrix[1]]))


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


def unit_rows(matrix: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
    """Give every row the length 1."""
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def haematoxylin_first(matrix: Float64[np.ndarray, "2 3"]) -> Float64[np.ndarray, "2 3"]:
    """Order the stains: haematoxylin, being blue, absorbs the larger share of red."""
    return matrix if matrix[0, 0] >= matrix[1, 0] else matrix[::-1].copy()
