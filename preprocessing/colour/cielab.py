"""CIELAB of sRGB pixels (D65, 2 degree observer), and the affine form of a Reinhard transfer in its cube-root space."""

import numpy as np
from jaxtyping import Float, Float64

# IEC 61966-2-1 (sRGB) to CIE XYZ, divided by the white point D65
XYZ_OF_RGB = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
XYZ_WHITE = np.array([0.95047, 1.0, 1.08883])
# L = 116 fy - 16, a = 500 (fx - fy), b = 200 (fy - fz)
LAB_OF_ROOTS = np.array([[0.0, 116.0, 0.0], [500.0, -500.0, 0.0], [0.0, 200.0, -200.0]])
LAB_SHIFT = np.array([-16.0, 0.0, 0.0])


def linear_light(srgb: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Undo the gamma of sRGB; 0 to 1 in and out."""
    return np.where(srgb > 0.04045, ((srgb + 0.055) / 1.055) ** 2.4, srgb / 12.92)


def gamma_encoded(linear: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Apply the gamma of sRGB; 0 to 1 in and out."""
    return np.where(linear > 0.0031308, 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055, 12.92 * linear)


def roots(relative_xyz: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Return CIELAB's f: the cube root of X/Xn, linear near black."""
    return np.where(relative_xyz > 0.008856, np.cbrt(relative_xyz), 7.787 * relative_xyz + 16 / 116)


def cubes(root: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Undo `roots`."""
    return np.where(root > 0.2068966, root**3, (root - 16 / 116) / 7.787)


def lab(srgb: Float[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
    """Return L (0 to 100), a and b of sRGB values from 0 to 1."""
    root = roots(linear_light(srgb.astype(np.float64)) @ (XYZ_OF_RGB / XYZ_WHITE[:, None]).T)
    return root @ LAB_OF_ROOTS.T + LAB_SHIFT


def hue_and_chroma(od: Float[np.ndarray, "n 3"]) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Return hue (atan2(b, a), degrees) and chroma in CIELAB of optical densities (natural logarithm) on white glass."""
    values = lab(np.clip(256 * np.exp(-od) - 1, 0, 255) / 255)
    return np.degrees(np.arctan2(values[:, 2], values[:, 1])), np.hypot(values[:, 1], values[:, 2])


def reinhard_in_roots(
    source: Float64[np.ndarray, "2 3"], target: Float64[np.ndarray, "2 3"]
) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, " 3"]]:
    """Return (matrix, shift) so that f @ matrix + shift has the target's mean and SD in L, a and b.

    Reinhard et al. 2001 (IEEE CG&A 21:34), equations 10 and 11: l' = (l - mean_s) sd_t / sd_s + mean_t in each channel.

    Args:
        source: mean (row 0) and standard deviation (row 1) of L, a, b.
        target: the same of the reference.
    """
    scale = target[1] / source[1]
    back = np.linalg.inv(LAB_OF_ROOTS)
    shift = back @ ((LAB_SHIFT - source[0]) * scale + target[0] - LAB_SHIFT)
    return (back @ np.diag(scale) @ LAB_OF_ROOTS).T, shift
