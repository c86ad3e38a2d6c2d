"""Heads that begin with one layer on every tile: what stays of a tile is a short hidden vector, the bags are never copied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mil.heads.head import Head, ReadTiles, Rows, owners
from mil.heads.principal_axes import sample_tiles, start_in_axes
from mil.heads.projection import project

WHOLE_BLOCK = 8192  # tiles whose hidden vectors are held at once where a bag of any size is predicted


class ProjectedHead(Head):
    """Base of heads on relu(W x + b) of each tile. A subclass has `read_out`, and `of_bag` where it can go block by block.

    Its settings have `hidden`, the width, and `dropout`, the share of hidden numbers left out in training. Inputs are never left
    out: it costs half of an epoch's time and gains nothing (benchmarks/README.md). A linear layer named `output` is its last one.
    """

    def __init__(self, settings: Any, *, n_inputs: int, n_outputs: int) -> None:
        super().__init__(settings, n_inputs=n_inputs, n_outputs=n_outputs)
        self.project = nn.Linear(n_inputs, settings.hidden)

    def prepare(self, read: ReadTiles, patients: Sequence[str], rng: np.random.Generator) -> None:
        """Begin in the principal axes of the training patients' tiles, and with the same outputs for everybody.

        What a last layer drawn at random says has to be unlearnt first, and a few dozen patients are soon learnt by heart instead.
        """
        start_in_axes(self.project, sample_tiles(self, read, patients, rng))
        if isinstance(last := getattr(self, "output", None), nn.Linear):  # a head of one's own may end in another way
            nn.init.zeros_(last.weight)

    def read_out(
        self, hidden: Float[Tensor, "tile hidden"], bag_of_tile: Int64[Tensor, " tile"], n_bags: int
    ) -> Float[Tensor, "bag out"]:
        """Return the outputs of each bag from its hidden vectors; bags stand one after the other, each with a tile."""
        raise NotImplementedError(f"the head {self.name} has no read-out")

    def forward(
        self, tiles: Float[Tensor, "tile dim"] | Sequence[Rows], bag_of_tile: Int64[Tensor, " tile"], n_bags: int
    ) -> Float[Tensor, "bag out"]:
        """Return the outputs of each bag; every bag must have a tile. Tiles are one matrix, or the bags as they are held."""
        if isinstance(tiles, Tensor):
            if bool((bag_of_tile[1:] < bag_of_tile[:-1]).any()):
                order = torch.argsort(bag_of_tile, stable=True)
                tiles, bag_of_tile = tiles[order], bag_of_tile[order]
            tiles = [Rows(tiles)]
        return self.read_out(self.hidden_of(tiles), bag_of_tile, n_bags)

    def of_bags(self, bags: Sequence[Rows]) -> Float[Tensor, "bag out"]:
        """Return the outputs of a few bags, for a step of training."""
        return self(bags, owners([len(bag) for bag in bags]), len(bags))  # type: ignore[no-any-return]

    def of_bag(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " out"]:
        """Return the outputs of one whole bag; only its hidden vectors are held."""
        hidden = torch.cat(list(self.hidden_blocks(tiles)))
        return self.read_out(hidden, torch.zeros(len(tiles), dtype=torch.int64), 1)[0]

    def attention_of_bag(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " tile"]:
        """Return the attention of one whole bag; no copy of it is made."""
        return self.attention(tiles)

    def hidden_of(self, bags: Sequence[Rows]) -> Float[Tensor, "tile hidden"]:
        """Return the hidden vectors of all tiles of a few bags."""
        dropout = self.settings.dropout if self.training else 0.0
        return project(self, self.project.weight, self.project.bias, bags, dropout=dropout)

    def hidden_blocks(self, tiles: Float[Tensor, "tile dim"]) -> Iterator[Float[Tensor, "block hidden"]]:
        """Yield the hidden vectors of a bag, some thousand tiles at a time."""
        for start in range(0, len(tiles), WHOLE_BLOCK):
            yield self.hidden_of([Rows(tiles[start : start + WHOLE_BLOCK])])
