"""Frozen encoders: what is known of one before it is built, and one with its weights.

The cards stand in `cards`, how architectures are built in `networks`, where weights come from in
`weights`. Besides the registered names there are `timm:<name>` and `torchvision:<name>` for ImageNet networks,
and own encoders: an entry point of the group `sarcoma_mil.encoders`, or `module:function`, that returns an EncoderCard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.failures import StudyError
from common.guards.names import nearest
from features.encoder.card import EncoderCard

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    import torch

ENTRY_POINTS = "sarcoma_mil.encoders"


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
    from features.encoder.cards import CARDS
    from features.encoder.library_cards import timm_card, torchvision_card

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
    known = [*CARDS, *own]
    raise StudyError(
        f"no encoder {name!r}{nearest(name, known)}; there are {', '.join(known)}, timm:NAME, torchvision:NAME, and your own as "
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


def _entry_points() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _attribute(module: str, name: str) -> Callable[[], object]:
    import importlib
    import sys

    sys.path.append(str(Path.cwd()))
    try:
        made: Callable[[], object] = getattr(importlib.import_module(module), name)  # what the user named
        return made
    finally:
        sys.path.remove(str(Path.cwd()))


def _own_card(name: str, load: Callable[[], Callable[[], object]]) -> EncoderCard:
    try:
        card = load()()
    except Exception as error:  # the user's code may raise anything
        raise StudyError(
            f"--encoder {name}: cannot be loaded ({type(error).__name__}: {error}); wanted a function without arguments "
            f"that returns a features.encoder.card.EncoderCard"
        ) from error
    if not isinstance(card, EncoderCard):
        raise StudyError(
            f"--encoder {name}: returned {type(card).__name__}, wanted a features.encoder.card.EncoderCard"
        )
    return card
