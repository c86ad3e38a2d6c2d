"""Attention that starts near the mean of a bag's tiles and leaves it where the labels ask for it.

With few patients attention learns by heart: it picks a tile or two of each training patient, and loses to the mean of all tiles
where most of them tell. A loss on how uneven attention is (AEM: Zhang et al. 2024, arXiv 2406.15303) holds it near the mean; it
is large at first, so that features are learnt from all tiles, and falls to a tenth by the middle of the training, so that few
telling tiles can still be found (measured: benchmarks/README.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mil.heads.attention_pooling import AttentionPooledHead
from mil.heads.head import Rows, owners

LAST_SHARE = 0.1  # of the weight, from the middle of the training on


class EvenAttentionHead(AttentionPooledHead):
    """Base of heads whose settings have `evenness`, the weight of the loss at the start; 0: attention is free from the start."""

    def taught(
        self, bags: Sequence[Rows], labels: Int64[Tensor, " bag"] | None
    ) -> tuple[Float[Tensor, "bag out"], Float[Tensor, ""]]:
        """Return outputs for a step of training, and the loss on uneven attention."""
        if not self.settings.evenness:
            return super().taught(bags, labels)
        sizes = [len(bag) for bag in bags]
        hidden = self.hidden_of(bags)
        scores = self.scores(hidden)
        weight = self.settings.evenness * max(LAST_SHARE, 1 - 2 * self.progress)
        outputs = self.of_scored(scores, hidden, owners(sizes), len(bags))
        return outputs, weight * unevenness(scores, sizes)


def unevenness(scores: Float[Tensor, "tile branch"], sizes: Sequence[int]) -> Float[Tensor, ""]:
    """Return how far attention is from the mean of a bag's tiles, averaged over bags and branches; 0 where it is the mean.

    It is the Kullback-Leibler divergence of attention from equal shares, log(n) minus the entropy, at most log(n).

    Args:
        scores: of the tiles, before the softmax; bags stand one after the other.
        sizes: tiles of each bag.
    """
    bag_of_tile, n_bags = owners(sizes), len(sizes)
    counts = scores.new_tensor(sizes)[:, None]
    place = bag_of_tile[:, None].expand_as(scores)
    empty = scores.new_zeros((n_bags, scores.shape[1]))
    top = (empty - torch.inf).scatter_reduce(0, place, scores.detach(), "amax")
    above = scores - top[bag_of_tile]
    powers = above.exp()
    totals = empty.index_add(0, bag_of_tile, powers)
    # sum of p log p, with p = powers / totals and log p = above - log(totals)
    negative_entropy = empty.index_add(0, bag_of_tile, powers * above) / totals - totals.log()
    return (counts.log() + negative_entropy).mean()
