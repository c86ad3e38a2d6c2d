"""One linear layer on the mean of a bag's tiles: regression. For bags of one vector.

Classes are learnt in steps as by the other heads; a survival task fits it exactly, as Cox regression.

An embedding of a whole slide (TITAN, PRISM, CHIEF, GigaPath ...) has nothing left to pool; its makers judge it by linear probing.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mil.heads.head import Head

BLOCK = 8192


@dataclass(frozen=True, kw_only=True)
class LinearSettings:
    """None: the layer has the width of its inputs."""


class LinearHead(Head):
    """Every tile counts alike, and nothing is learnt but a weight for each number of the embedding."""

    name = "linear"

    def __init__(self, settings: LinearSettings, *, n_inputs: int, n_outputs: int) -> None:
        super().__init__(settings, n_inputs=n_inputs, n_outputs=n_outputs)
        self.output = nn.Linear(n_inputs, n_outputs)
        nn.init.zeros_(self.output.weight)  # a convex loss needs no random start

    def forward(
        self, tiles: Float[Tensor, "tile dim"], bag_of_tile: Int64[Tensor, " tile"], n_bags: int
    ) -> Float[Tensor, "bag out"]:
        """Return the outputs of each bag's mean."""
        sums = tiles.new_zeros((n_bags, self.n_inputs)).index_add(0, bag_of_tile, self.standardised(tiles))
        return self.output(sums / torch.bincount(bag_of_tile, minlength=n_bags)[:, None])  # type: ignore[no-any-return]

    def standardised(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, "tile dim"]:
        """Return the tiles on the scale of the training patients; outliers are not clipped, or it were not linear."""
        return (tiles - self.mean) * self.inverse_std

    def of_bag(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " out"]:
        """Return the outputs of one bag of any size, block by block."""
        return self.output(self.mean_of_bag(tiles))  # type: ignore[no-any-return]

    def mean_of_bag(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " dim"]:
        """Return the mean of the standardised tiles of one bag of any size, block by block."""
        total = self.mean.new_zeros(self.n_inputs)
        for start in range(0, len(tiles), BLOCK):
            total = total + self.standardised(tiles[start : start + BLOCK].to(self.mean.dtype)).sum(dim=0)
        return total / len(tiles)

    def attention(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " tile"]:
        """Return equal shares."""
        return self.mean.new_full((len(tiles),), 1 / len(tiles))
