"""Optical density of 8-bit pixels: OD = ln((G + 1) / (I + 1)) for intensity I and the slide's glass colour G."""

import numpy as np
from jaxtyping import Float32, UInt8

Glass = tuple[float, float, float]  # RGB of the bare slide, 0 to 255

WHITE: Glass = (255.0, 255.0, 255.0)
OD_BACKGROUND = 0.15  # a pixel with less in every channel is glass (Macenko's beta)
OD_INK = 1.8  # more than this in every channel is ink or a deep fold


def optical_density(pixels: UInt8[np.ndarray, "*n 3"], glass: Glass = WHITE) -> Float32[np.ndarray, "*n 3"]:
    """Return ln((G + 1) / (I + 1)), not below 0."""
    return np.stack([table[pixels[..., channel]] for channel, table in enumerate(log_tables(glass))], axis=-1)


def log_tables(glass: Glass) -> Float32[np.ndarray, "3 256"]:
    """Return the optical density of each of the 256 values, a row a channel."""
    values = np.log((np.array(glass)[:, None] + 1.0) / (np.arange(256)[None, :] + 1.0))
    return np.maximum(values, 0.0).astype(np.float32)
