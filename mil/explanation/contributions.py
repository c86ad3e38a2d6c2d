"""Contributions of tiles to what an ensemble says: the means of those to its heads, by tile and by slide.

Class logits are taken less their mean over the classes, which no probability sees; log-hazards less each head's level. Heads with
a log-odds for each interval of time may differ in them: told is the mean of a head's outputs, a sum over tiles like these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64, Num

from mil.explanation.tile_terms import EXACT, TileTerms, tile_terms
from mil.heads.head import Head


@dataclass(frozen=True, kw_only=True)
class Contributions:
    """What each tile of a bag contributed to each output: base + contributions + residual = values.

    `base` is the output of a bag of average training tiles: a tile that contributes 0 speaks like these.
    """

    names: tuple[str, ...]  # of the outputs: classes, log_hazard, or log_odds_ratio
    values: Float64[np.ndarray, " out"]
    base: Float64[np.ndarray, " out"]
    of_tiles: Float64[np.ndarray, "tile out"]
    attention: Float64[np.ndarray, " tile"]  # the mean over the heads; sums to 1
    residual: Float64[np.ndarray, " out"]
    methods: tuple[str, ...]  # of the heads, each once

    @property
    def is_exact(self) -> bool:
        """Whether contributions add up to the values but for rounding."""
        return self.methods == (EXACT,)

    @property
    def told(self) -> int:
        """The place of the output that a map is of: the likeliest class, or the only one."""
        return int(self.values.argmax())

    def of_slides(self, slide_of_tile: Int64[np.ndarray, " tile"], n_slides: int) -> Float64[np.ndarray, "slide out"]:
        """Return the sums over the tiles of each slide."""
        sums = np.zeros((n_slides, len(self.names)))
        np.add.at(sums, slide_of_tile, self.of_tiles)
        return sums


def contributions(
    heads: Sequence[Head],
    tiles: Num[np.ndarray, "tile dim"],
    names: Sequence[str],
    levels: Float64[np.ndarray, " fold"],
) -> Contributions:
    """Take apart what heads say of a bag, on average.

    Args:
        heads: one or more, with the same outputs; under one name any number of outputs, of which the mean is told.
        tiles: of the bag.
        names: of the outputs; with more than one they are classes.
        levels: what is taken off each head's outputs.
    """
    parts = [_as_named(tile_terms(head, tiles), len(names)) for head in heads]
    n = len(parts)
    values = sum(part.outputs - level for part, level in zip(parts, levels, strict=True)) / n
    base = sum(part.base - level for part, level in zip(parts, levels, strict=True)) / n
    of_tiles = sum(part.terms for part in parts) / n
    assert isinstance(values, np.ndarray) and isinstance(base, np.ndarray) and isinstance(of_tiles, np.ndarray)
    if len(names) > 1:
        values, base = values - values.mean(), base - base.mean()
        of_tiles = of_tiles - of_tiles.mean(axis=1, keepdims=True)
    return Contributions(
        names=tuple(names), values=values, base=base, of_tiles=of_tiles,
        attention=np.mean([part.attention for part in parts], axis=0),
        residual=values - base - of_tiles.sum(axis=0), methods=tuple(sorted({part.method for part in parts})),
    )  # fmt: skip


def _as_named(part: TileTerms, n_names: int) -> TileTerms:
    """Return the terms of a head under so many names: of one name the mean over its outputs, which sums over tiles as they do."""
    if n_names > 1 or len(part.outputs) == 1:
        return part
    outputs, base = (np.array([values.mean()]) for values in (part.outputs, part.base))
    return replace(part, outputs=outputs, base=base, terms=part.terms.mean(axis=1, keepdims=True))
