"""Principal components of training tiles: where embeddings differ most, for heads that begin there.

A small cohort cannot find among a thousand directions of an embedding those that matter; most of them are noise. What kinds
of tissue there are, and what sets some tiles apart, lies in the directions of large variance more often than not. So the first
layer of a head starts in them (`start_in_axes`); its weights are free to leave them (measured: benchmarks/README.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mil.heads.head import Head, ReadTiles

MOST_SAMPLED = 8192  # tiles, the same number of each patient
N_AXES = 24
LEAST_SPREAD = 1e-3  # of tiles along an axis, over that along the first: below it the axis is left out
N_SPARE, N_ROUNDS = 8, 4  # of the subspace iteration: further directions, and rounds


def sample_tiles(
    head: Head, read: ReadTiles, patients: Sequence[str], rng: np.random.Generator, *, most: int = MOST_SAMPLED
) -> Float[Tensor, "tile dim"]:
    """Return standardised tiles of the patients, at most as many of one as of another, `most` in all or one a patient."""
    n_each, parts = max(1, most // len(patients)), []
    for patient in patients:
        tiles = read(patient)
        chosen = np.sort(rng.choice(len(tiles), min(n_each, len(tiles)), replace=False))
        parts.append(head.standardised(torch.from_numpy(tiles[chosen].astype(np.float32))))
    return torch.cat(parts)


def principal_axes(sample: Float[Tensor, "tile dim"], n_axes: int) -> Float[Tensor, "axis dim"]:
    """Return unit vectors along the largest second moments of a sample, largest first, by subspace iteration.

    As Halko, Martinsson and Tropp 2011 (SIAM Rev 53:217, algorithm 4.4). There are fewer than `n_axes` where the sample has fewer
    tiles or numbers. The largest number of each axis is positive: they come with either sign.
    """
    n = min(n_axes, *sample.shape)
    _, _, found = torch.svd_lowrank(sample, q=min(n + N_SPARE, *sample.shape), niter=N_ROUNDS)
    axes = found.T[:n]
    return axes * torch.sign(axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)))


@torch.no_grad()
def start_in_axes(layer: nn.Linear, sample: Float[Tensor, "tile dim"]) -> None:
    """Give a first layer weights at random in the span of the first `N_AXES` axes.

    Along each axis tiles count as their deviations from it (else tissues and sites would drown what sets a few tiles apart),
    and the sums of the layer spread as wide as those of PyTorch's own start on standardised inputs. Where tiles do not differ, the
    layer stays as it is.
    """
    axes = principal_axes(sample, N_AXES)
    spreads = (sample @ axes.T).std(dim=0, correction=0)
    is_told = spreads > LEAST_SPREAD * spreads.max()  # deviations from next to nothing would be weights without bound
    if not is_told.any():
        return
    axes = axes[is_told] / spreads[is_told, None]
    weight = torch.randn(layer.out_features, len(axes)) @ axes
    wanted = 3**-0.5  # of weights uniform within 1 / sqrt(dim)
    layer.weight.copy_(weight * (wanted / (sample @ weight.T).std(dim=0, correction=0)[:, None]))
