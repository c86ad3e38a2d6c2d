"""The first layer of a head over bags as they are held: cast, clipped, multiplied and rectified block by block.

A block of tiles is brought to single precision in a buffer that stays in the processor's cache, so that no bag is copied and
half-precision features are held once. Standardisation is folded into the weights: with deviations d = clip(x - mean) the
layer is relu((W / sd) d + b), the same as on standardised tiles. Dropout of hidden units is drawn in the same pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mil.heads.head import MAX_DEVIATIONS, Head, Rows

BLOCK = 512  # tiles: 2 MiB of 1,024 single-precision numbers, the size of a processor's second cache


def project(
    head: Head, weight: Float[Tensor, "hidden dim"], bias: Float[Tensor, " hidden"], bags: Sequence[Rows], *,
    dropout: float,
) -> Float[Tensor, "tile hidden"]:  # fmt: skip
    """Return relu(weight standardised(tiles) + bias) of all tiles of the bags, one bag after the other.

    Args:
        head: whose scale the tiles are brought to.
        weight: of the first layer, on standardised inputs.
        bias: of the first layer.
        bags: of a step, or one bag.
        dropout: share of hidden numbers left out, of each tile by itself; 0 outside training.
    """
    folded = weight * head.inverse_std
    bound = MAX_DEVIATIONS / head.inverse_std
    seed = int(torch.randint(2**62, (1,))) if dropout else 0
    return _Projection.apply(folded, bias, head.mean, bound, bags, dropout, seed)  # type: ignore[no-any-return]


def _blocks(
    bags: Sequence[Rows], mean: Tensor, bound: Tensor
) -> Iterator[tuple[slice, Float[Tensor, "block dim"]]]:  # fmt: skip
    """Yield the place of each block in the pack, and the clipped deviations of its tiles in a buffer used again.

    A block may hold the end of one bag and small bags behind it: the time of small products is that of calling them.
    """
    buffer, first, filled = mean.new_empty((BLOCK, len(mean))), 0, 0
    for bag in bags:
        start = 0
        while start < len(bag):
            stop = min(len(bag), start + BLOCK - filled)
            buffer[filled : filled + stop - start].copy_(bag.block(start, stop))
            filled, start = filled + stop - start, stop
            if filled == BLOCK:
                yield slice(first, first + filled), _deviations(buffer, mean, bound)
                first, filled = first + filled, 0
    if filled:
        yield slice(first, first + filled), _deviations(buffer[:filled], mean, bound)


def _deviations(tiles: Float[Tensor, "block dim"], mean: Tensor, bound: Tensor) -> Float[Tensor, "block dim"]:
    """Turn tiles into their clipped deviations, in place."""
    return torch.clamp(tiles.sub_(mean), -bound, bound, out=tiles)


class _Projection(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, bias: Tensor, mean: Tensor, bound: Tensor, bags: Sequence[Rows], dropout: float,
        seed: int,
    ) -> Tensor:  # fmt: skip
        """Compute block by block; what the backward pass needs beside the result is the bags as they are."""
        hidden = weight.new_empty((sum(map(len, bags)), len(weight)))
        masks, limit = np.random.default_rng(seed), round(dropout * 256)
        transposed = weight.T
        for place, block in _blocks(bags, mean, bound):
            own = hidden[place]
            torch.addmm(bias, block, transposed, out=own)
            own.relu_()
            if limit:
                drawn = np.frombuffer(masks.bytes(own.numel()), dtype=np.uint8).reshape(own.shape)
                own.mul_(torch.from_numpy(drawn >= limit))
        scale = 256 / (256 - limit)
        hidden.mul_(scale) if limit else None
        ctx.save_for_backward(hidden, mean, bound)
        ctx.bags, ctx.scale = bags, scale
        return hidden

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of weight and bias: a number that is above 0 was neither rectified nor left out."""
        hidden, mean, bound = ctx.saved_tensors
        of_weight, of_bias = mean.new_zeros((hidden.shape[1], len(mean))), mean.new_zeros(hidden.shape[1])
        for place, block in _blocks(ctx.bags, mean, bound):
            own = torch.ops.aten.threshold_backward(gradients[0][place], hidden[place], 0.0)
            of_weight.addmm_(own.T, block)
            of_bias.add_(own.sum(dim=0))
        return of_weight.mul_(ctx.scale), of_bias.mul_(ctx.scale), None, None, None, None, None
