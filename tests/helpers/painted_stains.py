"""Patches painted in known stains, and fits that hold known values."""

import numpy as np

from preprocessing.colour.stain import StainFit

GLASS = (240.0, 238.0, 242.0)


def painted_patches(matrix, rng, n_patches=8, side=144, amounts=(1.6, 1.1)):
    """Patches of nuclei on an eosin ground, by Beer and Lambert, with sensor noise."""
    patches = []
    for _ in range(n_patches):
        # nuclei of 6 px on a ground that changes over 3 px
        cells = np.kron(rng.random((side // 6, side // 6)), np.ones((6, 6)))
        eosin = amounts[1] * np.kron(rng.gamma(3, 0.2, (side // 3, side // 3)), np.ones((3, 3)))
        haematoxylin = np.where(cells < 0.25, amounts[0] * rng.gamma(6, 0.12, (side, side)), 0.02)
        eosin = np.where(haematoxylin > 0.3, 0.15 * eosin, eosin)
        od = haematoxylin[..., None] * matrix[0] + eosin[..., None] * matrix[1]
        light = (np.array(GLASS) + 1) * np.exp(-od) - 1 + rng.normal(0, 1.5, od.shape)
        patches.append(np.clip(light, 0, 255).round().astype(np.uint8))
    return patches


def unit(matrix):
    matrix = np.array(matrix, dtype=float)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def random_stains(rng):
    base = unit([[0.60, 0.71, 0.36], [0.18, 0.85, 0.49]])
    return unit(np.clip(base + rng.normal(0, 0.035, (2, 3)), 0.02, None))


def some_fit(seed, method="vahadane"):
    rng = np.random.default_rng(seed)
    spread = np.array([[60.0, 20.0, -15.0], [15.0, 8.0, 7.0]]) + rng.normal(0, 1, (2, 3))
    matrix, p99 = random_stains(rng), rng.uniform(1, 3, 2)
    pink = unit([0.9 * matrix[1] + 0.1 * matrix[0]])[0]
    return StainFit(
        method=method, matrix=matrix, p99=p99, glass=GLASS, fallback="why", lab=spread, pink=pink, strength=0.8
    )
