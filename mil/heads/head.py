"""The contract of every head: packed bags of tiles in, one output vector a bag out, and how much each tile counted."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

MAX_DEVIATIONS = 8.0  # a tile further out than this on one input is clipped


class Head(nn.Module):
    """The base of every head.

    Bags of any size stand one after the other in one matrix of tiles. A head keeps the mean and the inverse standard
    deviation of the training patients' tiles as part of its weights, and works on `standardised` tiles.

    A subclass sets `name`, takes `(settings, *, n_inputs, n_outputs)` and has `forward` and `attention`.
    """

    name: ClassVar[str]
    mean: Tensor
    inverse_std: Tensor

    def __init__(self, settings: Any, *, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.settings, self.n_inputs, self.n_outputs = settings, n_inputs, n_outputs
        self.register_buffer("mean", torch.zeros(n_inputs))
        self.register_buffer("inverse_std", torch.ones(n_inputs))

    def forward(
        self, tiles: Float[Tensor, "tile dim"], bag_of_tile: Int64[Tensor, " tile"], n_bags: int
    ) -> Float[Tensor, "bag out"]:
        """Return the outputs of each bag; every bag must have a tile."""
        raise NotImplementedError(f"the head {self.name} has no forward")

    def attention(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " tile"]:
        """Return how much each tile of one bag counted; it sums to 1."""
        raise NotImplementedError(f"the head {self.name} has no attention")

    def standardised(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, "tile dim"]:
        """Return the tiles on the scale of the training patients, outliers clipped."""
        return ((tiles - self.mean) * self.inverse_std).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)
