"""What an ensemble says of some of a bag's tiles; the first layer of its heads is done once for all subsets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float64, Int64, Num
from torch import Tensor

from mil.heads.head import Head
from mil.heads.projected import ProjectedHead

OfRows = Callable[[Int64[np.ndarray, " chosen"]], Float64[np.ndarray, " out"]]


def of_rows(
    heads: Sequence[Head],
    tiles: Num[np.ndarray, "tile dim"],
    levels: Float64[np.ndarray, " fold"],
    *,
    is_of_classes: bool = True,
) -> OfRows:
    """Return a function from rows of a bag to the ensemble's outputs, as in `contributions`.

    Args:
        heads: of the ensemble.
        tiles: the whole bag.
        levels: what is taken off each head's outputs.
        is_of_classes: whether a head's outputs, if several, are classes; else their mean is told.
    """
    parts = [_of_head(head, torch.from_numpy(tiles)) for head in heads]

    def outputs(rows: Int64[np.ndarray, " chosen"]) -> Float64[np.ndarray, " out"]:
        chosen = torch.from_numpy(rows)
        with torch.inference_mode():
            said = [part(chosen).double().numpy() for part in parts]
        each = np.stack([own if is_of_classes else own.mean(keepdims=True) for own in said]) - levels[:, None]
        mean = each.mean(axis=0)
        return mean - mean.mean() if len(mean) > 1 else mean

    return outputs


def _of_head(head: Head, bag: Tensor) -> Callable[[Tensor], Tensor]:
    if not isinstance(head, ProjectedHead):
        return lambda rows: head.of_bag(bag[rows])
    with torch.inference_mode():
        hidden = torch.cat(list(head.hidden_blocks(bag)))

    def outputs(rows: Tensor) -> Tensor:
        try:
            return head.read_out(hidden[rows], torch.zeros(len(rows), dtype=torch.int64), 1)[0]
        except NotImplementedError:  # a head of one's own that reads tiles otherwise
            return head.of_bag(bag[rows])

    return outputs
