"""ACMIL (Zhang et al. 2024, ECCV, arXiv 2311.07125): several branches of attention that shall differ, the strongest tiles masked.

In training the attention of the strongest tiles of a branch is masked with a chance, so that others must serve too; every
branch has an output and a loss of its own, and branches that look at the same tiles cost (the mean cosine of their
attention). The bag is read from the mean of the branches. Without classes only the likeness of branches costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from mil.heads.attention_pooling import pool
from mil.heads.gate import GatedHead
from mil.heads.head import Rows, owners


@dataclass(frozen=True, kw_only=True)
class AcmilSettings:
    """Hidden and attention width, dropout; branches, strongest tiles that may be masked, and the chance that one is."""

    hidden: int
    attention: int
    dropout: float
    n_branches: int = 5
    n_strongest: int = 10
    masked: float = 0.6


class AcmilHead(GatedHead):
    """Gated attention with several branches."""

    name = "acmil"

    def __init__(self, settings: AcmilSettings, *, n_inputs: int, n_outputs: int) -> None:
        super().__init__(settings, n_inputs=n_inputs, n_outputs=n_outputs)
        self.make_gate(settings.n_branches)
        self.of_branch = nn.ModuleList([nn.Linear(settings.hidden, n_outputs) for _ in range(settings.n_branches)])
        self.output = nn.Linear(settings.hidden, n_outputs)
        self.dropout = nn.Dropout(settings.dropout)

    def of_pooled(self, pooled: Float[Tensor, "branch bag hidden"]) -> Float[Tensor, "bag out"]:
        """Return the outputs of pooled bags."""
        return self.output(self.dropout(pooled.mean(dim=0)))

    def taught(
        self, bags: Sequence[Rows], labels: Int64[Tensor, " bag"] | None
    ) -> tuple[Float[Tensor, "bag out"], Float[Tensor, ""]]:
        """Return outputs with the strongest tiles masked, and the losses of the branches."""
        hidden, sizes = self.hidden_of(bags), [len(bag) for bag in bags]
        scores = self.scores(hidden)
        starts = [0, *torch.cumsum(torch.tensor(sizes), dim=0).tolist()]
        own = [scores[first:last] for first, last in pairwise(starts)]
        pooled = pool(torch.cat([self._masked(each) for each in own]), hidden, owners(sizes), len(bags))
        alike = torch.stack([_likeness(torch.softmax(each, dim=0)) for each in own]).mean()
        if labels is None:
            return self.of_pooled(pooled), alike
        parts = [cross_entropy(layer(each), labels) for layer, each in zip(self.of_branch, pooled, strict=True)]
        return self.of_pooled(pooled), alike + torch.stack(parts).mean()

    def _masked(self, scores: Float[Tensor, "tile branch"]) -> Float[Tensor, "tile branch"]:
        """Return the scores of a bag with some of the strongest far down; one tile at least stays."""
        n = min(self.settings.n_strongest, len(scores) - 1)
        if not self.training or n < 1:
            return scores
        strongest = torch.topk(scores, n, dim=0).indices
        is_masked = torch.rand(strongest.shape) < self.settings.masked
        return scores.scatter(0, strongest, scores.gather(0, strongest).masked_fill(is_masked, -1e4))


def _likeness(weights: Float[Tensor, "tile branch"]) -> Float[Tensor, ""]:
    """Return the mean cosine between the attention of two branches."""
    unit = normalize(weights, dim=0)
    n = unit.shape[1]
    return ((unit.T @ unit).sum() - n) / max(1, n * (n - 1))
