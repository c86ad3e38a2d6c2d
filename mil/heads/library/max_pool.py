"""The maximum of each hidden number over the tiles of a bag (Wang et al. 2018, Pattern Recognition 74:15, MI-Net with maximum)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mil.heads.projected import ProjectedHead


@dataclass(frozen=True, kw_only=True)
class MaxSettings:
    """Hidden width, share left out by dropout."""

    hidden: int
    dropout: float


class MaxHead(ProjectedHead):
    """One tile decides each hidden number."""

    name = "max_pool"

    def __init__(self, settings: MaxSettings, *, n_inputs: int, n_outputs: int) -> None:
        super().__init__(settings, n_inputs=n_inputs, n_outputs=n_outputs)
        self.output = nn.Linear(settings.hidden, n_outputs)
        self.dropout = nn.Dropout(settings.dropout)

    def read_out(
        self, hidden: Float[Tensor, "tile hidden"], bag_of_tile: Int64[Tensor, " tile"], n_bags: int
    ) -> Float[Tensor, "bag out"]:
        """Pool by the maximum."""
        sizes = torch.bincount(bag_of_tile, minlength=n_bags).tolist()
        return self.output(self.dropout(torch.stack([own.amax(dim=0) for own in torch.split(hidden, sizes)])))

    def of_bag(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " out"]:
        """Return the outputs of one bag of any size."""
        tops = torch.stack([hidden.amax(dim=0) for hidden in self.hidden_blocks(tiles)])
        return self.output(tops.amax(dim=0))

    def attention(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " tile"]:
        """Return the share of hidden numbers that each tile decides; where it shares one with others, the part of it."""
        top: Tensor | None = None
        for hidden in self.hidden_blocks(tiles):
            own = hidden.amax(dim=0)
            top = own if top is None else torch.maximum(top, own)
        assert top is not None, "a bag has a tile"
        is_top = torch.cat([(hidden == top).to(hidden.dtype) for hidden in self.hidden_blocks(tiles)])
        return (is_top / is_top.sum(dim=0)).mean(dim=1)
