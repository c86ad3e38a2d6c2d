"""Attention pooling without a gate (Ilse, Tomczak and Welling 2018, arXiv 1802.04712, equation 8)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mil.heads.even_attention import EvenAttentionHead


@dataclass(frozen=True, kw_only=True)
class AttentionSettings:
    """Hidden and attention width, share left out by dropout, weight of the loss on uneven attention."""

    hidden: int
    attention: int
    dropout: float
    evenness: float = 0.0


class AttentionHead(EvenAttentionHead):
    """Scores are a linear layer on tanh of a linear layer."""

    name = "attention"

    def __init__(self, settings: AttentionSettings, *, n_inputs: int, n_outputs: int) -> None:
        super().__init__(settings, n_inputs=n_inputs, n_outputs=n_outputs)
        self.tanh_branch = nn.Linear(settings.hidden, settings.attention)
        self.score = nn.Linear(settings.attention, 1, bias=False)
        self.output = nn.Linear(settings.hidden, n_outputs)
        self.dropout = nn.Dropout(settings.dropout)

    def scores(self, hidden: Float[Tensor, "tile hidden"]) -> Float[Tensor, "tile 1"]:
        """Return the attention score of each tile."""
        return self.score(torch.tanh(self.tanh_branch(hidden)))

    def of_pooled(self, pooled: Float[Tensor, "1 bag hidden"]) -> Float[Tensor, "bag out"]:
        """Return the outputs of pooled bags."""
        return self.output(self.dropout(pooled[0]))
