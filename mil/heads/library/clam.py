"""CLAM (Lu et al. 2021, Nat Biomed Eng 5:555, arXiv 2004.09666): gated attention, and a loss on its extreme tiles.

In training the tiles of highest attention shall look like the class of their bag to a small classifier of that class, and
those of lowest attention shall not; for the other classes the highest shall not either. The loss of tiles has 0.3 of the
weight, that of bags 0.7, and is cross-entropy (the smooth SVM of the paper is not used). A task without classes has no loss
of tiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mil.heads.gate import GatedHead
from mil.heads.head import Rows, owners


@dataclass(frozen=True, kw_only=True)
class ClamSettings:
    """Hidden and attention width, dropout; extreme tiles of each end, and the weight of their loss beside that of bags."""

    hidden: int
    attention: int
    dropout: float
    n_extreme: int = 8
    tile_weight: float = 0.3


class ClamSingleHead(GatedHead):
    """One branch of attention for all classes."""

    name = "clam_sb"
    is_multi = False

    def __init__(self, settings: ClamSettings, *, n_inputs: int, n_outputs: int) -> None:
        super().__init__(settings, n_inputs=n_inputs, n_outputs=n_outputs)
        self.make_gate(n_outputs if self.is_multi else 1)
        self.output = nn.Linear(settings.hidden, n_outputs)
        self.of_tile = nn.Linear(settings.hidden, 2 * n_outputs)
        self.dropout = nn.Dropout(settings.dropout)

    def of_pooled(self, pooled: Float[Tensor, "branch bag hidden"]) -> Float[Tensor, "bag out"]:
        """Return the outputs of pooled bags: each class reads its own branch, or all the one there is."""
        if not self.is_multi:
            return self.output(self.dropout(pooled[0]))
        return torch.einsum("obh,oh->bo", self.dropout(pooled), self.output.weight) + self.output.bias

    def taught(
        self, bags: Sequence[Rows], labels: Int64[Tensor, " bag"] | None
    ) -> tuple[Float[Tensor, "bag out"], Float[Tensor, ""]]:
        """Return outputs, and the loss of extreme tiles for a task with classes."""
        hidden, sizes = self.hidden_of(bags), [len(bag) for bag in bags]
        scores = self.scores(hidden)
        outputs = self.of_scored(scores, hidden, owners(sizes), len(bags))
        if labels is None:
            return outputs, torch.zeros(())
        parts = zip(torch.split(hidden, sizes), torch.split(scores, sizes), labels.tolist(), strict=True)
        losses = torch.stack([self._loss_of_tiles(own, score, label) for own, score, label in parts])
        return outputs, losses.mean() * self.settings.tile_weight / (1 - self.settings.tile_weight)

    def _loss_of_tiles(
        self, hidden: Float[Tensor, "tile hidden"], scores: Float[Tensor, "tile branch"], label: int
    ) -> Float[Tensor, ""]:
        """Return the loss of the extreme tiles of one bag."""
        n = max(1, min(self.settings.n_extreme, len(hidden) // 2))
        total = hidden.new_zeros(())
        for index in range(self.n_outputs):
            own = scores[:, index if self.is_multi else 0]
            high = torch.topk(own, n).indices
            low = torch.topk(-own, n).indices if index == label else high[:0]
            chosen = hidden[torch.cat([high, low])]
            wanted = torch.cat([high.new_full((n,), int(index == label)), high.new_zeros(len(low))])
            total = total + cross_entropy(self.of_tile(chosen)[:, 2 * index : 2 * index + 2], wanted)
        return total / self.n_outputs


class ClamMultiHead(ClamSingleHead):
    """A branch of attention for each class."""

    name = "clam_mb"
    is_multi = True
