"""Frozen encoders: what is known of one before it is built, and one with its weights.

The cards stand in `encoder_cards`, how architectures are built in `encoder_networks`, where weights come from in
`encoder_weights`. Besides the registered names there are `timm:<name>` and `torchvision:<name>` for ImageNet networks,
and own encoders: an entry point of the group `sarcoma_mil.encoders`, or `module:function`, that returns an EncoderCard.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from common.failures import StudyError

if TYPE_CHECKING:
    import torch

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ENTRY_POINTS = "sarcoma_mil.encoders"
PRECISIONS = ("auto", "float32", "bfloat16", "float16", "tf32")
Pooling = Literal["none", "cls", "cls+mean", "mean", "mean over positions"]


@dataclass(frozen=True, kw_only=True)
class EncoderCard:
    """What is known of an encoder before it is built. Mean and standard deviation are of pixels scaled to 0..1."""

    name: str
    source: str
    dimension: int
    licence: str
    build: Callable[[], Any]  # the torch module without its classifier; weights not loaded, unless weights is "own"
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

    @property
    def transform(self) -> str:
        """What is done to a tile's pixels, for the record in the feature file."""
        size = "no resize"
        if self.input_px is not None:
            size = f"resize {self.resize_px or self.input_px} {self.interpolation}, crop {self.input_px}"
        pooled = "" if self.pooling == "none" else f", pooling {self.pooling}"
        return f"uint8 / 255, mean {list(self.mean)}, std {list(self.std)}, {size}{pooled}"


@dataclass(frozen=True)
class Encoder:
    """A built encoder: its card, the network with weights, and their sha256."""

    card: EncoderCard
    network: torch.nn.Module
    weights_sha256: str


def find_card(name: str) -> EncoderCard:
    """Return an encoder's card by name.

    Raises:
        StudyError: no such encoder; the known ones are named.
    """
    from features.encoder.cards import CARDS, timm_card, torchvision_card

    if name in CARDS:
        return CARDS[name]
    if name in (own := _entry_points()):
        return _own_card(name, own[name].load)
    kind, _, rest = name.partition(":")
    if kind == "timm" and rest:
        return timm_card(rest)
    if kind == "torchvision" and rest:
        return torchvision_card(rest)
    if rest:
        return _own_card(name, lambda: _attribute(kind, rest))
    raise StudyError(
        f"no encoder {name!r}; there are {', '.join([*CARDS, *own])}, timm:NAME, torchvision:NAME, and your own as "
        f"module:function. python features/encoders.py says more of each"
    )


def build_encoder(card: EncoderCard, weights: Path | None = None) -> Encoder:
    """Build an encoder and load its weights: from the given file, from the installation, or from the hub.

    Args:
        card: the encoder.
        weights: a .pth, .pt, .bin or .safetensors file of its state dict; a classifier in it is left out.

    Raises:
        StudyError: a package or the weights are missing, unreachable, or of another architecture.
    """
    from features.encoder.weights import load_weights, weights_sha256

    network = card.build()
    load_weights(network, card, weights)
    network.eval().requires_grad_(requires_grad=False)
    return Encoder(card, network, weights_sha256(network))


def folder_name(name: str) -> str:
    """Return an encoder's name as a folder may be called."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)


def _entry_points() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _attribute(module: str, name: str) -> Any:
    import importlib
    import sys

    sys.path.append(str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), name)
    finally:
        sys.path.remove(str(Path.cwd()))


def _own_card(name: str, load: Callable[[], Any]) -> EncoderCard:
    try:
        card = load()()
    except Exception as error:  # the user's code may raise anything
        raise StudyError(
            f"--encoder {name}: cannot be loaded ({type(error).__name__}: {error}); wanted a function without arguments "
            f"that returns a features.encoder.EncoderCard"
        ) from error
    if not isinstance(card, EncoderCard):
        raise StudyError(f"--encoder {name}: returned {type(card).__name__}, wanted a features.encoder.EncoderCard")
    return card
