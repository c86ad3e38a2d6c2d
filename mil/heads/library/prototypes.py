"""Prototypes: a mixture of Gaussians on training tiles, what it says of a bag, and a linear layer (as PANTHER, arXiv 2405.11643).

Before the first step a mixture with diagonal covariances is fitted on tiles of the training patients, on their principal
components. A bag is the share of each component, and the mean of its tiles there as deviations from the component, drawn to
it where there are few. Only the linear layer is trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mil.heads.head import Head, ReadTiles
from mil.heads.principal_axes import principal_axes, sample_tiles

MOST_SAMPLED = 20_000  # tiles that the mixture is fitted on
BLOCK = 4096
PRIOR_TILES = 5.0  # that a component's own mean counts for


@dataclass(frozen=True, kw_only=True)
class PrototypeSettings:
    """Share of the description left out by dropout, components of the mixture, and principal components of tiles."""

    dropout: float
    n_components: int = 16
    n_axes: int = 32


class PrototypeHead(Head):
    """A description of each bag, and a linear layer on it."""

    name = "prototypes"
    axes: Tensor
    means: Tensor
    deviations: Tensor
    log_shares: Tensor

    def __init__(self, settings: PrototypeSettings, *, n_inputs: int, n_outputs: int) -> None:
        super().__init__(settings, n_inputs=n_inputs, n_outputs=n_outputs)
        n_axes, k = min(settings.n_axes, n_inputs), settings.n_components
        self.register_buffer("axes", torch.eye(n_axes, n_inputs))
        self.register_buffer("means", torch.randn(k, n_axes))
        self.register_buffer("deviations", torch.ones(k, n_axes))
        self.register_buffer("log_shares", torch.full((k,), -float(np.log(k))))
        self.output = nn.Linear(k * (n_axes + 1), n_outputs)
        self.dropout = nn.Dropout(settings.dropout)

    def prepare(self, read: ReadTiles, patients: Sequence[str], rng: np.random.Generator) -> None:
        """Fit principal components and mixture on tiles of the training patients."""
        from sklearn.mixture import GaussianMixture

        sample = sample_tiles(self, read, patients, rng, most=MOST_SAMPLED)
        axes = principal_axes(sample, len(self.axes))
        self.axes.zero_()[: len(axes)].copy_(axes)
        scores = (sample @ self.axes.T).double().numpy()
        k = min(self.settings.n_components, len(scores))
        mixture = GaussianMixture(
            k, covariance_type="diag", reg_covar=1e-3, max_iter=50, tol=1e-2, random_state=int(rng.integers(2**31))
        )
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it need not have converged to describe bags
            mixture.fit(scores)
        self.means[:k].copy_(torch.from_numpy(mixture.means_))
        self.deviations[:k].copy_(torch.from_numpy(mixture.covariances_).sqrt())
        self.log_shares.fill_(-1e4)
        self.log_shares[:k].copy_(torch.from_numpy(np.log(mixture.weights_)))

    def forward(
        self, tiles: Float[Tensor, "tile dim"], bag_of_tile: Int64[Tensor, " tile"], n_bags: int
    ) -> Float[Tensor, "bag out"]:
        """Return the outputs of each bag; every bag must have a tile."""
        parts = [self._described(tiles[bag_of_tile == index]) for index in range(n_bags)]
        return self.output(self.dropout(torch.stack(parts)))

    def of_bag(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " out"]:
        """Return the outputs of one bag of any size."""
        return self.output(self._described(tiles))

    def attention(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " tile"]:
        """Return equal shares: every tile is described."""
        return tiles.new_full((len(tiles),), 1 / len(tiles), dtype=self.mean.dtype)

    def memberships(
        self, tiles: Float[Tensor, "tile dim"]
    ) -> tuple[Float[Tensor, "tile component"], Float[Tensor, "tile component axis"]]:
        """Return how much each tile belongs to each component, and how far it lies from its mean, in its deviations."""
        scores = self.standardised(tiles.to(self.mean.dtype)) @ self.axes.T
        apart = (scores[:, None] - self.means) / self.deviations
        log_density = self.log_shares - self.deviations.log().sum(dim=1) - (apart**2).sum(dim=2) / 2
        return torch.softmax(log_density, dim=1), apart

    @torch.no_grad()
    def _described(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " numbers"]:
        """Return the shares and the deviations of the components' means, block by block."""
        counts, sums = torch.zeros_like(self.log_shares), torch.zeros_like(self.means)
        for start in range(0, len(tiles), BLOCK):
            belongs, apart = self.memberships(tiles[start : start + BLOCK])
            counts += belongs.sum(dim=0)
            sums += torch.einsum("tk,tkd->kd", belongs, apart)
        shares = counts / len(tiles) * len(counts)
        return torch.cat([shares, (sums / (counts + PRIOR_TILES)[:, None]).reshape(-1)])
