"""Mean and standard deviation of hidden vectors: what a bag is like, and how varied it is."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mil.heads.attention_pooling import pool, running_pool
from mil.heads.projected import ProjectedHead

LEAST_VARIANCE = 1e-4  # holds the gradient of the root where a number does not vary


@dataclass(frozen=True, kw_only=True)
class MeanSdSettings:
    """Hidden width, share left out by dropout."""

    hidden: int
    dropout: float


class MeanSdHead(ProjectedHead):
    """Every tile counts alike."""

    name = "mean_sd"

    def __init__(self, settings: MeanSdSettings, *, n_inputs: int, n_outputs: int) -> None:
        super().__init__(settings, n_inputs=n_inputs, n_outputs=n_outputs)
        self.output = nn.Linear(2 * settings.hidden, n_outputs)
        self.dropout = nn.Dropout(settings.dropout)

    def read_out(
        self, hidden: Float[Tensor, "tile hidden"], bag_of_tile: Int64[Tensor, " tile"], n_bags: int
    ) -> Float[Tensor, "bag out"]:
        """Pool both."""
        both = torch.cat([hidden, hidden**2], dim=1)
        return self._of_moments(pool(hidden.new_zeros((len(hidden), 1)), both, bag_of_tile, n_bags)[0])

    def of_bag(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " out"]:
        """Return the outputs of one bag of any size."""
        blocks = self.hidden_blocks(tiles)
        moments = running_pool(
            (own.new_zeros((len(own), 1)), torch.cat([own, own**2], dim=1)) for own in blocks
        )  # fmt: skip
        return self._of_moments(moments)[0]

    def attention(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " tile"]:
        """Return equal shares."""
        return tiles.new_full((len(tiles),), 1 / len(tiles), dtype=self.mean.dtype)

    def _of_moments(self, moments: Float[Tensor, "bag two_hidden"]) -> Float[Tensor, "bag out"]:
        means, squares = moments.chunk(2, dim=1)
        deviations = torch.sqrt((squares - means**2).clamp(min=0) + LEAST_VARIANCE)
        return self.output(self.dropout(torch.cat([means, deviations], dim=1)))
