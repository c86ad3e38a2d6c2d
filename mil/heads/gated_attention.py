"""Gated attention pooling (Ilse, Tomczak and Welling 2018, arXiv 1802.04712, equation 9) over packed ragged bags."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mil.heads.head import Head
from mil.heads.segments import segment_softmax


@dataclass(frozen=True, kw_only=True)
class GatedAttentionSettings:
    """The head's own sizes, named as the options of training: hidden and attention width, share left out by dropout."""

    hidden: int
    attention: int
    dropout: float


class GatedAttentionHead(Head):
    """Embeddings of packed bags to one output vector a bag."""

    name = "gated_attention"

    def __init__(self, settings: GatedAttentionSettings, *, n_inputs: int, n_outputs: int) -> None:
        super().__init__(settings, n_inputs=n_inputs, n_outputs=n_outputs)
        self.project = nn.Linear(n_inputs, settings.hidden)
        self.tanh_branch = nn.Linear(settings.hidden, settings.attention)
        self.gate_branch = nn.Linear(settings.hidden, settings.attention)
        self.score = nn.Linear(settings.attention, 1, bias=False)  # a bias would cancel in the softmax
        self.output = nn.Linear(settings.hidden, n_outputs)
        self.dropout = nn.Dropout(settings.dropout)

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
        return self.dropout(torch.relu(self.project(self.dropout(self.standardised(tiles)))))

    def _scores(self, hidden: Float[Tensor, "tile hidden"]) -> Float[Tensor, " tile"]:
        gated = torch.tanh(self.tanh_branch(hidden)) * torch.sigmoid(self.gate_branch(hidden))
        return self.score(gated).squeeze(1)
