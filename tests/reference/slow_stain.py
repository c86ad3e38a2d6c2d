"""Colour, pixel by pixel as the formulas read."""

import math

import numpy as np


def slow_codes(pixel, matrix, sparsity):
    """Best non-negative code of one pixel: try inside, each axis, and zero; keep the lowest objective."""

    def objective(code):
        rest = pixel - code @ matrix
        return 0.5 * rest @ rest + sparsity * code.sum()

    candidates = [np.zeros(2)]
    for stain in (0, 1):
        code = np.zeros(2)
        code[stain] = max(0.0, (pixel @ matrix[stain] - sparsity) / (matrix[stain] @ matrix[stain]))
        candidates.append(code)
    inside = np.linalg.solve(matrix @ matrix.T, matrix @ pixel - sparsity)
    if (inside >= 0).all():
        candidates.append(inside)
    return min(candidates, key=objective)


def slow_apply(pixel, matrix, glass, background):
    """One pixel through the map, in floats."""
    od = [max(0.0, math.log((g + 1) / (value + 1))) for g, value in zip(glass, pixel, strict=True)]
    share = min(1.0, max(0.0, 2 * max(od) / background - 1))
    mapped = [sum(od[row] * matrix[row][column] for row in range(3)) for column in range(3)]
    moved = [own + share * (to - own) for own, to in zip(od, mapped, strict=True)]
    return [min(255.0, max(0.0, 256 * math.exp(-value) - 1)) for value in moved]


def slow_macenko(nuclei, ground, nuclear_percentile, ground_percentile):
    """Macenko's directions by loops over angles: haematoxylin's end among nuclei, eosin's among the ground."""
    moments = np.zeros((3, 3))
    for kind in (nuclei, ground):
        for p in kind:
            moments += np.outer(p, p) / len(kind)
    _, _, right = np.linalg.svd(moments)
    first, second = (v if v.sum() >= 0 else -v for v in right[:2])

    def angles(kind):
        return [math.atan2(float(p @ second), float(p @ first)) for p in kind]

    of_nuclei, of_ground = sorted(angles(nuclei)), sorted(angles(ground))
    if np.median(of_nuclei) > np.median(of_ground):
        ends = [np.percentile(of_nuclei, nuclear_percentile), np.percentile(of_ground, ground_percentile)]
    else:
        ends = [np.percentile(of_nuclei, 100 - nuclear_percentile), np.percentile(of_ground, 100 - ground_percentile)]
    directions = [np.maximum(math.cos(angle) * first + math.sin(angle) * second, 0) for angle in ends]
    return np.array([d / np.linalg.norm(d) for d in directions])


def slow_smoothed(od, reach, least):
    """Each density's mean with those around it that are like it, one by one."""
    height, width = od.shape[:2]
    result = np.empty_like(od)
    for y in range(height):
        for x in range(width):
            like = [
                od[v, u]
                for v in range(max(0, y - reach), min(height, y + reach + 1))
                for u in range(max(0, x - reach), min(width, x + reach + 1))
                if max(abs(od[v, u] - od[y, x])) < least
            ]
            result[y, x] = sum(like) / len(like)
    return result


def slow_reinhard(pixel, source, target, glass, background):
    """One pixel to the target's mean and SD in CIELAB by scikit-image, faded near the glass, in floats."""
    from skimage.color import lab2rgb, rgb2lab

    balanced = [min(1.0, ((value + 1) / (g + 1) * 256 - 1) / 255) for g, value in zip(glass, pixel, strict=True)]
    lab = rgb2lab(np.array(balanced)[None, None])[0, 0]
    moved = (lab - source[0]) / source[1] * target[1] + target[0]
    mapped = 255 * lab2rgb(moved[None, None])[0, 0]
    od = [max(0.0, math.log((g + 1) / (value + 1))) for g, value in zip(glass, pixel, strict=True)]
    share = min(1.0, max(0.0, 2 * max(od) / background - 1))
    faded = [own + share * (-math.log((to + 1) / 256) - own) for own, to in zip(od, mapped, strict=True)]
    return [min(255.0, max(0.0, 256 * math.exp(-value) - 1)) for value in faded]
