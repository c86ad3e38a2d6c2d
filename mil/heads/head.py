"""The contract of every head: packed bags of tiles in, one output vector a bag out, and how much each tile counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

MAX_DEVIATIONS = 8.0  # a tile further out than this on one input is clipped
ReadTiles = Callable[[str], np.ndarray]  # a patient's tiles, (tile, dim), half or single precision


@dataclass(frozen=True)
class Rows:
    """Some tiles of a bag, not copied: the bag as it is held, of any precision, and which rows count (None: all)."""

    tiles: Float[Tensor, "tile dim"]
    chosen: Int64[Tensor, " chosen"] | None = None

    def __len__(self) -> int:
        """Return the number of tiles that count."""
        return len(self.tiles) if self.chosen is None else len(self.chosen)

    def block(self, start: int, stop: int) -> Float[Tensor, "block dim"]:
        """Return the tiles from start to stop, in the precision they are held in."""
        if self.chosen is None:
            return self.tiles[start:stop]
        return self.tiles.index_select(0, self.chosen[start:stop])


class Head(nn.Module):
    """The base of every head.

    Bags of any size stand one after the other in one matrix of tiles. A head keeps the mean and the inverse standard
    deviation of the training patients' tiles as part of its weights, and works on `standardised` tiles.

    A subclass sets `name`, takes `(settings, *, n_inputs, n_outputs)` and has `forward` and `attention`. It may have more:
    `of_bags` where it can do without a copy of the tiles, `of_bag` for bags larger than memory, `extra_loss` for a loss of
    its own, `prepare` for what it learns before the first step.
    """

    name: ClassVar[str]
    mean: Tensor
    inverse_std: Tensor

    def __init__(self, settings: Any, *, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.settings, self.n_inputs, self.n_outputs = settings, n_inputs, n_outputs
        self.progress = 0.0  # how much of its training is done, set before each epoch
        self.register_buffer("mean", torch.zeros(n_inputs))
        self.register_buffer("inverse_std", torch.ones(n_inputs))

    def forward(
        self, tiles: Float[Tensor, "tile dim"], bag_of_tile: Int64[Tensor, " tile"], n_bags: int
    ) -> Float[Tensor, "bag out"]:
        """Return the outputs of each bag; every bag must have a tile."""
        raise NotImplementedError(f"the head {self.name} has no forward")

    def attention(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " tile"]:
        """Return how much each tile of one bag counted; it sums to 1."""
        raise NotImplementedError(f"the head {self.name} has no attention")

    def of_bags(self, bags: Sequence[Rows]) -> Float[Tensor, "bag out"]:
        """Return the outputs of a few bags, for a step of training."""
        tiles = torch.cat([bag.block(0, len(bag)).to(self.mean.dtype) for bag in bags])
        return self(tiles, owners([len(bag) for bag in bags]), len(bags))

    def of_bag(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " out"]:
        """Return the outputs of one whole bag, in whatever precision it is held."""
        return self(tiles.to(self.mean.dtype), torch.zeros(len(tiles), dtype=torch.int64), 1)[0]

    def attention_of_bag(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " tile"]:
        """Return the attention of one whole bag, in whatever precision it is held."""
        return self.attention(tiles.to(self.mean.dtype))

    def taught(
        self, bags: Sequence[Rows], labels: Int64[Tensor, " bag"] | None
    ) -> tuple[Float[Tensor, "bag out"], Float[Tensor, ""]]:
        """Return outputs for a step of training and a loss of the head's own beside the task's, 0 for most heads.

        Args:
            bags: of the patients of the step.
            labels: their classes; None for a task without classes.
        """
        return self.of_bags(bags), torch.zeros(())

    def prepare(self, read: ReadTiles, patients: Sequence[str], rng: np.random.Generator) -> None:
        """Learn from the training patients' tiles what the head needs before its first step: where to begin, or nothing."""

    def standardised(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, "tile dim"]:
        """Return the tiles on the scale of the training patients, outliers clipped."""
        return ((tiles - self.mean) * self.inverse_std).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)


def owners(sizes: Sequence[int]) -> Int64[Tensor, " tile"]:
    """Return the bag of each tile of bags that stand one after the other."""
    return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes, dtype=torch.int64))
