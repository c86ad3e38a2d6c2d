"""The colour map of a slide as a formula: exact in floats, and made ready for many pixels.

The map is affine in optical density (stains) or in CIELAB's cube roots (Reinhard). In optical density it is linear, so
each output channel is a product of one factor an input channel, out_c = 256 prod_j exp(-M_jc od_j(I_j)) - 1, and no
exponential is taken a pixel. Near the glass, where every channel's optical density is below OD_BACKGROUND, the map fades
out; those few colours stand in a small cube.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Float64, UInt8, UInt32

from preprocessing.colour.cielab import XYZ_OF_RGB, XYZ_WHITE, cubes, gamma_encoded, linear_light, roots
from preprocessing.colour.optical_density import OD_BACKGROUND, Glass, log_tables, optical_density

MAX_EXPONENT = 28.0  # of one factor, so that no product of three leaves float32; what lies beyond is black or white
N_STEPS = 65_535  # of the tables of roots and gamma: a hundredth of a grey level or less


@dataclass(frozen=True)
class StainMap:
    """The map of a slide's colours: x @ matrix + shift in optical density from the slide's glass, or in cube roots.

    `space` is "od" or "roots" (f of CIELAB: L, a and b are affine in it, so Reinhard's transfer is this too).
    """

    matrix: Float64[np.ndarray, "3 3"]
    glass: Glass
    space: str = "od"
    shift: Float64[np.ndarray, " 3"] = field(default_factory=lambda: np.zeros(3))


@dataclass(frozen=True)
class Factors:
    """A map in optical density, ready to be multiplied out: a colour is red_green * blue - 0.5, cut to 0 to 255.

    Columns are r + 256 g, and b. From the colour `first` on in every channel it is glass and stands in `near_glass`.
    """

    red_green: Float32[np.ndarray, "3 65536"]
    blue: Float32[np.ndarray, "3 256"]
    near_glass: UInt8[np.ndarray, "red green blue 3"]
    first: tuple[int, int, int]


def exact_colours(pixels: UInt8[np.ndarray, "n 3"], to_target: StainMap) -> Float64[np.ndarray, "n 3"]:
    """Return mapped colours in floats, 0 to 255, as the formula reads; glass becomes white and takes no tinge.

    Optical densities below OD_BACKGROUND fade from unmixed (half of it) to fully mapped, so noise on glass is not coloured.
    """
    od = optical_density(pixels, to_target.glass).astype(np.float64)
    share = np.clip(od.max(axis=1, keepdims=True) * 2 / OD_BACKGROUND - 1, 0, 1)
    if to_target.space == "od":
        mapped = od @ to_target.matrix
    else:
        light = linear_light(_balanced(pixels, np.array(to_target.glass)))
        xyz = cubes(roots(light @ (XYZ_OF_RGB / XYZ_WHITE[:, None]).T) @ to_target.matrix + to_target.shift)
        srgb = gamma_encoded(np.clip(xyz * XYZ_WHITE @ np.linalg.inv(XYZ_OF_RGB).T, 0, 1))
        mapped = -np.log((255 * srgb + 1) / 256)
    moved = od + share * (mapped - od)
    return np.clip(256 * np.exp(-moved) - 1, 0, 255)


class Formula:
    """A map made ready: what depends on red and green together and on blue, and the cube near the glass."""

    def __init__(self, to_target: StainMap) -> None:
        self._map = to_target
        self._first = [_least_of_glass(table) for table in log_tables(to_target.glass)]
        self._glass_cube = _near_glass(to_target, self._first)
        self._of_red_green, self._of_blue = (_od_factors if to_target.space == "od" else _xyz_terms)(to_target)

    def factors(self) -> Factors | None:
        """Return what a device needs to make the table by itself; None where the map is no product."""
        if self._map.space != "od":
            return None
        red, green, blue = self._first
        return Factors(np.asarray(self._of_red_green), self._of_blue, self._glass_cube, (red, green, blue))

    def mapped(self, pixels: UInt8[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
        """Return pixels mapped one by one."""
        red, green, blue = pixels.T
        red_green = green.astype(np.intp) << 8 | red
        mapped = np.empty_like(pixels)
        for channel, values in enumerate(self._values([f[red_green] for f in self._of_red_green], blue)):
            mapped[:, channel] = values
        is_glass = np.logical_and.reduce([column >= first for column, first in zip(pixels.T, self._first, strict=True)])
        near = pixels[is_glass].T.astype(np.intp) - np.array(self._first)[:, None]
        mapped[is_glass] = self._glass_cube[tuple(near)]
        return mapped

    def slabs(self) -> Iterator[UInt8[np.ndarray, "3 65536"]]:
        """Yield the mapped colours of each blue, red changing fastest."""
        red, green, blue = self._first
        slab = np.empty((3, 65_536), np.uint8)
        for value in range(256):
            for channel, values in enumerate(self._values(self._of_red_green, value)):
                slab[channel] = values
            if value >= blue:
                cube = slab.reshape(3, 256, 256)
                cube[:, green:, red:] = self._glass_cube[:, :, value - blue].transpose(2, 1, 0)
            yield slab

    def _values(self, of_red_green: list[np.ndarray] | np.ndarray, blue: np.ndarray | int) -> Iterator[np.ndarray]:
        """Yield each channel's values, to be cut to integers."""
        if self._map.space == "od":
            for channel in range(3):
                values = of_red_green[channel] * self._of_blue[channel][blue]
                values -= 0.5  # + 0.5 to round, - 1 of the density's convention
                yield np.clip(values, 0, 255, out=values)
            return
        root_table, gamma_table = _root_table(), _gamma_table()
        f = [root_table[(of_red_green[c] + self._of_blue[c][blue]).astype(np.uint16)] for c in range(3)]
        yield from (gamma_table[light] for light in _light_of_roots(f, self._map))


def _near_glass(to_target: StainMap, first: list[int]) -> UInt8[np.ndarray, "red green blue 3"]:
    values = np.meshgrid(*(np.arange(each, 256, dtype=np.uint8) for each in first), indexing="ij")
    colours = exact_colours(np.stack(values, axis=-1).reshape(-1, 3), to_target)
    return (colours + 0.5).astype(np.uint8).reshape(*values[0].shape, 3)


def _least_of_glass(densities: Float32[np.ndarray, " 256"]) -> int:
    """Return the darkest value that still may be glass."""
    return int((densities >= OD_BACKGROUND).sum())


def _od_factors(to_target: StainMap) -> tuple[Float32[np.ndarray, "3 65536"], Float32[np.ndarray, "3 256"]]:
    od = log_tables(to_target.glass).astype(np.float64)
    exponents = np.clip(-od[:, None, :] * to_target.matrix[:, :, None], -MAX_EXPONENT, MAX_EXPONENT)
    red, green, blue = np.exp(exponents).astype(np.float32)  # (channel out, value) of each channel in
    return (256 * red[:, None, :] * green[:, :, None]).reshape(3, -1), blue


def _xyz_terms(to_target: StainMap) -> tuple[Float32[np.ndarray, "3 65536"], Float32[np.ndarray, "3 256"]]:
    """Return what red and green, and blue, add to X, Y and Z; in steps of the table of roots, with a half to round."""
    light = linear_light(_balanced(np.arange(256), np.array(to_target.glass)[:, None]))
    red, green, blue = ((XYZ_OF_RGB / XYZ_WHITE[:, None]).T[:, :, None] * light[:, None, :] * N_STEPS).astype(
        np.float32
    )
    return (red[:, None, :] + green[:, :, None] + np.float32(0.49)).reshape(3, -1), blue


def _balanced(values: np.ndarray, glass: np.ndarray) -> np.ndarray:
    """Return intensities as sRGB from 0 to 1, with the glass as white."""
    return np.minimum(((values + 1.0) / (glass + 1.0) * 256 - 1) / 255, 1.0)


def _light_of_roots(f: list[np.ndarray], to_target: StainMap) -> Iterator[UInt32[np.ndarray, " n"]]:
    """Yield red, green and blue light of mapped cube roots, in steps of the table of gamma."""
    matrix, shift = to_target.matrix.astype(np.float32), to_target.shift.astype(np.float32)
    xyz = []
    for channel in range(3):
        root = f[0] * matrix[0, channel] + f[1] * matrix[1, channel] + f[2] * matrix[2, channel] + shift[channel]
        xyz.append(
            np.where(root > np.float32(0.2068966), root * root * root, (root - 16 / 116) * np.float32(1 / 7.787))
        )
    rgb_of_xyz = (np.linalg.inv(XYZ_OF_RGB) * XYZ_WHITE * N_STEPS).astype(np.float32)
    for row in rgb_of_xyz:
        light = xyz[0] * row[0] + xyz[1] * row[1] + xyz[2] * row[2]
        yield np.clip(light + np.float32(0.5), 0, N_STEPS).astype(np.uint32)


@functools.cache
def _root_table() -> Float32[np.ndarray, " 65536"]:
    return roots(np.arange(N_STEPS + 1) / N_STEPS).astype(np.float32)


@functools.cache
def _gamma_table() -> UInt8[np.ndarray, " 65536"]:
    return (255 * gamma_encoded(np.arange(N_STEPS + 1) / N_STEPS) + 0.5).astype(np.uint8)
