"""Optical densities of an overview in bytes, a hundredth a step: the same on every machine, and hardly dearer than reading."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from preprocessing.colour.optical_density import Glass

OD_STEP = 0.01  # optical density of one grey level of a density byte


@dataclass(frozen=True)
class Densities:
    """Optical densities over the glass, in OD_STEP, smoothed: each channel, and the strongest and weakest of them."""

    red: UInt8[np.ndarray, "h w"]
    green: UInt8[np.ndarray, "h w"]
    blue: UInt8[np.ndarray, "h w"]
    strongest: UInt8[np.ndarray, "h w"]
    chroma: UInt8[np.ndarray, "h w"]  # strongest - weakest


def densities_of(overview: UInt8[np.ndarray, "h w 3"], glass: Glass, sigma: float) -> Densities:
    """Smooth an overview by a Gaussian (sigma in pixels) and return its densities over the glass."""
    side = 2 * math.ceil(1.3 * sigma) + 1  # what lies further out weighs less than a grey level
    smooth = cv2.GaussianBlur(overview, (side, side), sigma)
    values = np.log((np.array(glass)[:, None] + 1.0) / (np.arange(256)[None, :] + 1.0)) / OD_STEP
    tables = np.clip(np.round(values), 0, 255).astype(np.uint8)
    red, green, blue = (cv2.LUT(plane, table) for plane, table in zip(cv2.split(smooth), tables, strict=True))
    strongest = cv2.max(cv2.max(red, green), blue)
    return Densities(red, green, blue, strongest, cv2.subtract(strongest, cv2.min(cv2.min(red, green), blue)))


def scaled(plane: UInt8[np.ndarray, "h w"], factor: float) -> UInt8[np.ndarray, "h w"]:
    """Multiply bytes by a factor, rounded and cut off at 255."""
    return cv2.LUT(plane, np.clip(np.round(np.arange(256) * factor), 0, 255).astype(np.uint8))


def above(plane: UInt8[np.ndarray, "h w"], density: float) -> Bool[np.ndarray, "h w"]:
    """Return where a plane in OD_STEP lies above a density: NumPy's comparison with a fraction first makes floats of all bytes."""
    return cv2.threshold(plane, math.floor(density / OD_STEP), 1, cv2.THRESH_BINARY)[1].view(bool)


def up_to(plane: UInt8[np.ndarray, "h w"], density: float) -> Bool[np.ndarray, "h w"]:
    """Return where a plane lies at a density or below it."""
    return cv2.threshold(plane, math.floor(density / OD_STEP), 1, cv2.THRESH_BINARY_INV)[1].view(bool)


def below(plane: UInt8[np.ndarray, "h w"], density: float) -> Bool[np.ndarray, "h w"]:
    """Return where a plane lies below a density."""
    return cv2.threshold(plane, math.ceil(density / OD_STEP) - 1, 1, cv2.THRESH_BINARY_INV)[1].view(bool)


def texture(densities: Densities, mpp: float) -> UInt8[np.ndarray, "h w"]:
    """Return how much the density of green differs from the mean of its surroundings, about 56 µm wide."""
    side = 2 * max(1, round(24.0 / mpp)) + 1
    return cv2.absdiff(densities.green, cv2.blur(densities.green, (side, side)))
