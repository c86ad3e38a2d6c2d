"""Additive attention (Javed et al. 2022, arXiv 2206.01794): outputs of single tiles, which add up to those of the bag.

There a small network reads each tile's vector times its attention; here the attention weighs what the network says of the
tile, so that the sum does not grow with the number of tiles. What a tile adds to an output is exact either way.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mil.heads.gated_attention import GatedAttentionHead, GatedAttentionSettings


@dataclass(frozen=True, kw_only=True)
class AdditiveSettings(GatedAttentionSettings):
    """As of gated attention."""


class AdditiveHead(GatedAttentionHead):
    """Outputs of tiles, averaged by gated attention."""

    name = "additive"

    def __init__(self, settings: AdditiveSettings, *, n_inputs: int, n_outputs: int) -> None:
        super().__init__(settings, n_inputs=n_inputs, n_outputs=n_outputs)
        self.of_tile = nn.Linear(settings.hidden, settings.hidden)

    def values(self, hidden: Float[Tensor, "tile hidden"]) -> Float[Tensor, "tile value"]:
        """Return what each tile says by itself, its outputs."""
        return self.output(self.dropout(torch.relu(self.of_tile(hidden))))  # type: ignore[no-any-return]

    def of_pooled(self, pooled: Float[Tensor, "1 bag value"]) -> Float[Tensor, "bag out"]:
        """Return the averages as they are."""
        return pooled[0]
