"""Additive attention (Javed et al. 2022, arXiv 2206.01794): outputs of single tiles, which add up to those of the bag.

There a small network reads each tile's vector times its attention; here the attention weighs what the network says of the
tile, so that the sum does not grow with the number of tiles. What a tile adds to an output is exact either way.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mil.heads.attention_pooling import pool, running_pool
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

    def read_out(
        self, hidden: Float[Tensor, "tile hidden"], bag_of_tile: Int64[Tensor, " tile"], n_bags: int
    ) -> Float[Tensor, "bag out"]:
        """Average outputs of tiles."""
        return pool(self.scores(hidden), self.outputs_of_tiles(hidden), bag_of_tile, n_bags)[0]

    def of_bag(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " out"]:
        """Return the outputs of one bag of any size."""
        return running_pool((self.scores(own), self.outputs_of_tiles(own)) for own in self.hidden_blocks(tiles))[0]

    def outputs_of_tiles(self, hidden: Float[Tensor, "tile hidden"]) -> Float[Tensor, "tile out"]:
        """Return what each tile says by itself."""
        return self.output(self.dropout(torch.relu(self.of_tile(hidden))))
