"""DSMIL (Li, Li and Eliceiri 2021, arXiv 2011.08939): the most telling tile of each class, and attention by likeness to it.

A class's output is the mean of two: the highest output of a single tile, and that of the average of hidden vectors, weighted
by how much each is like that tile. There each has a loss of its own; here the loss is of their mean.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mil.heads.attention_pooling import running_pool
from mil.heads.projected import ProjectedHead


@dataclass(frozen=True, kw_only=True)
class DsmilSettings:
    """Hidden width, width of the queries, share left out by dropout."""

    hidden: int
    attention: int
    dropout: float


class DsmilHead(ProjectedHead):
    """Two streams."""

    name = "dsmil"

    def __init__(self, settings: DsmilSettings, *, n_inputs: int, n_outputs: int) -> None:
        super().__init__(settings, n_inputs=n_inputs, n_outputs=n_outputs)
        self.of_tile = nn.Linear(settings.hidden, n_outputs)
        self.query = nn.Sequential(
            nn.Linear(settings.hidden, settings.attention), nn.ReLU(), nn.Linear(settings.attention, settings.attention), nn.Tanh()
        )  # fmt: skip
        self.output = nn.Linear(n_outputs * settings.hidden, n_outputs)
        self.dropout = nn.Dropout(settings.dropout)

    def read_out(
        self, hidden: Float[Tensor, "tile hidden"], bag_of_tile: Int64[Tensor, " tile"], n_bags: int
    ) -> Float[Tensor, "bag out"]:
        """Return the outputs of each bag."""
        parts = torch.split(hidden, torch.bincount(bag_of_tile, minlength=n_bags).tolist())
        return torch.stack([self._of_blocks([own]) for own in parts])

    def of_bag(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " out"]:
        """Return the outputs of one bag of any size, in two passes over it."""
        return self._of_blocks(_Again(self, tiles))

    def attention(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " tile"]:
        """Return the likeness to the most telling tiles, the mean over classes."""
        blocks = _Again(self, tiles)
        _, telling = self._telling(blocks)
        return torch.softmax(torch.cat([self._scores(own, telling) for own in blocks]), dim=0).mean(dim=1)

    def _of_blocks(self, blocks: "list[Tensor] | _Again") -> Float[Tensor, " out"]:
        highest, telling = self._telling(blocks)
        pooled = running_pool((self._scores(own, telling), own) for own in blocks)
        return (highest + self.output(self.dropout(pooled.reshape(-1)))) / 2

    def _telling(self, blocks: "list[Tensor] | _Again") -> tuple[Float[Tensor, " out"], Float[Tensor, "out hidden"]]:
        """Return the highest output of a single tile for each class, and the hidden vector of that tile."""
        best: tuple[Tensor, Tensor] | None = None
        for own in blocks:
            values, places = self.of_tile(own).max(dim=0)
            if best is None:
                best = values, own[places]
            else:
                is_higher = values > best[0]
                best = torch.where(is_higher, values, best[0]), torch.where(is_higher[:, None], own[places], best[1])
        assert best is not None, "a bag has a tile"
        return best

    def _scores(
        self, hidden: Float[Tensor, "tile hidden"], telling: Float[Tensor, "out hidden"]
    ) -> Float[Tensor, "tile out"]:
        return self.query(hidden) @ self.query(telling).T / self.settings.attention**0.5


class _Again:
    """The hidden vectors of a bag, block by block, as often as they are wanted."""

    def __init__(self, head: ProjectedHead, tiles: Tensor) -> None:
        self._head, self._tiles = head, tiles

    def __iter__(self) -> Iterator[Tensor]:
        return self._head.hidden_blocks(self._tiles)
