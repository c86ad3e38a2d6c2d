"""Gated attention scores (Ilse, Tomczak and Welling 2018, arXiv 1802.04712, equation 9), for one branch or several."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mil.heads.attention_pooling import AttentionPooledHead


class GatedHead(AttentionPooledHead):
    """Base of heads whose scores are w (tanh(V h) * sigmoid(U h)). A subclass calls `make_gate` and has `of_pooled`."""

    def make_gate(self, n_branches: int) -> None:
        """Make the layers of the scores, by the settings' `hidden` and `attention`."""
        self.tanh_branch = nn.Linear(self.settings.hidden, self.settings.attention)
        self.gate_branch = nn.Linear(self.settings.hidden, self.settings.attention)
        self.score = nn.Linear(self.settings.attention, n_branches, bias=False)  # a bias would cancel in the softmax

    def scores(self, hidden: Float[Tensor, "tile hidden"]) -> Float[Tensor, "tile branch"]:
        """Return the gated attention scores of each tile."""
        gated = torch.tanh(self.tanh_branch(hidden)) * torch.sigmoid(self.gate_branch(hidden))
        return self.score(gated)  # type: ignore[no-any-return]
