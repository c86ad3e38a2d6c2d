"""Pooling by attention: a softmax of scores inside each bag, as a matrix product; over blocks with a running maximum."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mil.heads.projected import ProjectedHead

GROUP = 16  # bags whose weights stand in one matrix: the zeros in it cost less than a call for each bag


class AttentionPooledHead(ProjectedHead):
    """Base of heads that average what tiles say by attention. A subclass has `scores`, `of_pooled`, and `values` of its own."""

    def scores(self, hidden: Float[Tensor, "tile hidden"]) -> Float[Tensor, "tile branch"]:
        """Return the attention scores of tiles, before the softmax; several branches pool each for itself."""
        raise NotImplementedError(f"the head {self.name} has no scores")

    def values(self, hidden: Float[Tensor, "tile hidden"]) -> Float[Tensor, "tile value"]:
        """Return what is averaged: the hidden vectors, unless a head says otherwise."""
        return hidden

    def of_pooled(self, pooled: Float[Tensor, "branch bag value"]) -> Float[Tensor, "bag out"]:
        """Return the outputs of pooled bags."""
        raise NotImplementedError(f"the head {self.name} has no outputs")

    def read_out(
        self, hidden: Float[Tensor, "tile hidden"], bag_of_tile: Int64[Tensor, " tile"], n_bags: int
    ) -> Float[Tensor, "bag out"]:
        """Pool by attention."""
        return self.of_scored(self.scores(hidden), hidden, bag_of_tile, n_bags)

    def of_scored(
        self, scores: Float[Tensor, "tile branch"], hidden: Float[Tensor, "tile hidden"],
        bag_of_tile: Int64[Tensor, " tile"], n_bags: int,
    ) -> Float[Tensor, "bag out"]:  # fmt: skip
        """Return the outputs of each bag, for a step of training that needs the scores too."""
        return self.of_pooled(pool(scores, self.values(hidden), bag_of_tile, n_bags))

    def of_bag(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " out"]:
        """Return the outputs of one bag of any size: of a block only what goes into the average is kept."""
        pooled = running_pool((self.scores(own), self.values(own)) for own in self.hidden_blocks(tiles))
        return self.of_pooled(pooled[:, None, :])[0]

    def attention(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " tile"]:
        """Return the attention of the tiles of one bag, the mean of its branches; it sums to 1."""
        scores = torch.cat([self.scores(hidden) for hidden in self.hidden_blocks(tiles)])
        return torch.softmax(scores, dim=0).mean(dim=1)


def pool(
    scores: Float[Tensor, "tile branch"], values: Float[Tensor, "tile value"], bag_of_tile: Int64[Tensor, " tile"],
    n_bags: int,
) -> Float[Tensor, "branch bag value"]:  # fmt: skip
    """Return for each branch the average of each bag's vectors, weighted by the softmax of its scores.

    Bags stand one after the other. The weights of a group of bags are one matrix, 0 outside each bag.
    """
    stops = [0, *accumulate(torch.bincount(bag_of_tile, minlength=n_bags).tolist())]
    groups = []
    for first in range(0, n_bags, GROUP):
        last = min(first + GROUP, n_bags)
        own = slice(stops[first], stops[last])
        place = (bag_of_tile[own] - first)[None].expand(scores.shape[1], 1, -1)
        empty = scores.new_full((scores.shape[1], last - first, own.stop - own.start), -torch.inf)
        weights = torch.softmax(empty.scatter(1, place, scores[own].T[:, None, :]), dim=2)
        groups.append(weights @ values[own])
    return torch.cat(groups, dim=1)


def running_pool(
    blocks: Iterable[tuple[Float[Tensor, "_ branch"], Float[Tensor, "_ value"]]],
) -> Float[Tensor, "branch value"]:
    """Return the average of one bag's vectors by attention, from scores and vectors block by block.

    Sums are kept relative to the highest score so far, and scaled down when a higher one comes (Milakov and Gimelshein 2018,
    arXiv 1805.02867, algorithm 3), so that any score stays finite and any order of blocks gives the same.
    """
    sums: tuple[Tensor, Tensor, Tensor] | None = None  # highest score, sum of weights, weighted sum of vectors
    for scores, values in blocks:
        own = scores.amax(dim=0)
        top = own if sums is None else torch.maximum(sums[0], own)
        powers = torch.exp(scores - top)
        total, pooled = powers.sum(dim=0), powers.T @ values
        if sums is not None:
            kept = torch.exp(sums[0] - top)
            total, pooled = total + sums[1] * kept, pooled + sums[2] * kept[:, None]
        sums = top, total, pooled
    assert sums is not None, "a bag has a tile"
    return sums[2] / sums[1][:, None]
