"""Gated attention pooling (Ilse, Tomczak and Welling 2018, arXiv 1802.04712, equation 9) over packed ragged bags.

Bags of any size stand one after the other in one matrix of tiles; no padding. A tile's input is standardised with the
mean and standard deviation of the training patients' tiles, which are part of the head.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mil.heads.head import HeadShape
from mil.heads.segments import segment_softmax


class GatedAttentionHead(nn.Module):
    """Embeddings of packed bags to one output vector a bag."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.shape = shape
        self.mean: Tensor
        self.inverse_std: Tensor
        self.register_buffer("mean", torch.zeros(shape.n_inputs))
        self.register_buffer("inverse_std", torch.ones(shape.n_inputs))
        self.project = nn.Linear(shape.n_inputs, shape.n_hidden)
        self.tanh_branch = nn.Linear(shape.n_hidden, shape.n_attention)
        self.gate_branch = nn.Linear(shape.n_hidden, shape.n_attention)
        self.score = nn.Linear(shape.n_attention, 1, bias=False)  # a bias would cancel in the softmax
        self.output = nn.Linear(shape.n_hidden, shape.n_outputs)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(
        self, tiles: Float[Tensor, "tile dim"], bag_of_tile: Int64[Tensor, " tile"], n_bags: int
    ) -> Float[Tensor, "bag out"]:
        """Return the outputs of each bag; every bag must have a tile."""
        hidden = self._hidden(tiles)
        weights = segment_softmax(self._scores(hidden), bag_of_tile, n_bags)
        pooled = hidden.new_zeros((n_bags, hidden.shape[1])).index_add(0, bag_of_tile, weights[:, None] * hidden)
        return self.output(self.dropout(pooled))

    def attention(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " tile"]:
        """Return the attention of the tiles of one bag; it sums to 1."""
        return torch.softmax(self._scores(self._hidden(tiles)), dim=0)

    def _hidden(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, "tile hidden"]:
        standardised = ((tiles - self.mean) * self.inverse_std).clamp(-8, 8)
        return self.dropout(torch.relu(self.project(self.dropout(standardised))))

    def _scores(self, hidden: Float[Tensor, "tile hidden"]) -> Float[Tensor, " tile"]:
        gated = torch.tanh(self.tanh_branch(hidden)) * torch.sigmoid(self.gate_branch(hidden))
        return self.score(gated).squeeze(1)
