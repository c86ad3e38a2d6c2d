"""A network with its encoder's own transform and pooling in front and behind."""

from __future__ import annotations

import torch

from common.failures import StudyError
from features.encoder.card import EncoderCard


class WithTransform(torch.nn.Module):
    """The network behind its normalisation: uint8 (batch, height, width, 3) to embeddings (batch, dimension)."""

    def __init__(self, network: torch.nn.Module, card: EncoderCard) -> None:
        super().__init__()
        self.network, self.card = network, card
        self.shift: torch.Tensor
        self.scale: torch.Tensor
        self.register_buffer("shift", torch.tensor(card.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("scale", 1 / (torch.tensor(card.std).view(1, 3, 1, 1) * 255))

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        """Scale to the encoder's mean and deviation, embed, and make one vector of the output."""
        pixels = tiles.permute(0, 3, 1, 2).to(self.shift.dtype)
        return pooled(self.network((pixels - self.shift) * self.scale), self.card)


def pooled(output: torch.Tensor, card: EncoderCard) -> torch.Tensor:
    """Return one vector a tile from a network's output: itself, its class token, its means, or both."""
    if card.pooling == "none":
        return output
    if card.pooling == "mean over positions":
        return output.mean(dim=(2, 3))
    mean = output[:, card.n_prefix_tokens :].mean(dim=1)
    if card.pooling == "mean":
        return mean
    return output[:, 0] if card.pooling == "cls" else torch.cat([output[:, 0], mean], dim=1)


def check_width(module: WithTransform, side_px: int) -> None:
    """Embed one blank tile: rows of another shape would be cut and filled with each other's numbers."""
    with torch.inference_mode():
        shape = tuple(module(torch.zeros((1, side_px, side_px, 3), dtype=torch.uint8)).shape)
    if shape != (1, module.card.dimension):
        raise StudyError(
            f"{module.card.name} makes {' x '.join(map(str, shape[1:])) or 'nothing'} of a tile, its card says one row of "
            f"{module.card.dimension} numbers; correct the card's dimension or pooling, or the network"
        )
