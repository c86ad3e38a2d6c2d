"""Operations inside the bags of a pack."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def segment_softmax(
    scores: Float[Tensor, " tile"], bag_of_tile: Int64[Tensor, " tile"], n_bags: int
) -> Float[Tensor, " tile"]:
    """Return the softmax of the scores inside each bag."""
    top = scores.new_full((n_bags,), -torch.inf).scatter_reduce(0, bag_of_tile, scores, "amax")
    powers = torch.exp(scores - top.detach()[bag_of_tile])
    totals = scores.new_zeros(n_bags).index_add(0, bag_of_tile, powers)
    return powers / totals[bag_of_tile]
