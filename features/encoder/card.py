"""What an encoder is: its card."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PRECISIONS = ("auto", "float32", "bfloat16", "float16", "tf32")
Pooling = Literal["none", "cls", "cls+mean", "mean", "mean over positions"]


@dataclass(frozen=True, kw_only=True)
class EncoderCard:
    """What is known of an encoder before it is built. Mean and standard deviation are of pixels scaled to 0..1."""

    name: str
    source: str
    dimension: int
    licence: str
    build: Callable[
        [], torch.nn.Module
    ]  # the torch module without its classifier; weights not loaded, unless weights is "own"
    weights: str = (
        "file"  # "built in", "torchvision:NAME", "timm:NAME", "hub:REPOSITORY", "own", or "file" (only --weights)
    )
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    input_px: int | None = None  # what the network sees, a side; None: tiles of any size, as they are
    resize_px: int | None = None  # before a central crop to input_px; None: resized to input_px itself
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mpp: float | None = 0.5  # µm a pixel it was trained at; None: on photographs
    pooling: Pooling = "none"  # how the network's output becomes one vector
    n_prefix_tokens: int = 1  # class and register tokens before the patches
    is_gated: bool = False  # its hub page asks for a login and consent
    is_commercial: bool = True  # the licence allows commercial use
    package: str = ""  # what must be installed besides, to build it
    parameters_m: float = 0.0  # millions
    left_over: tuple[str, ...] = ()  # beginnings of names in its weights, of layers that this network leaves out

    @property
    def transform(self) -> str:
        """What is done to a tile's pixels, for the record in the feature file."""
        size = "no resize"
        if self.input_px is not None:
            size = f"resize {self.resize_px or self.input_px} {self.interpolation}, crop {self.input_px}"
        pooled = "" if self.pooling == "none" else f", pooling {self.pooling}"
        return f"uint8 / 255, mean {list(self.mean)}, std {list(self.std)}, {size}{pooled}"


def folder_name(name: str) -> str:
    """Return an encoder's name as a folder may be called."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)
