"""A transformer over the tiles of a bag, with exact attention: two blocks and a token of the bag.

Like TransMIL (Shao et al. 2021, arXiv 2106.00908), but attention is exact, so bags are capped, and tiles have no places, so
their order changes nothing. A larger bag is thinned to tiles evenly spaced along the sum of their hidden vectors, in training
and prediction alike.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mil.heads.projected import ProjectedHead


@dataclass(frozen=True, kw_only=True)
class TransformerSettings:
    """Hidden width, dropout; blocks, heads of attention, and the most tiles of a bag."""

    hidden: int
    dropout: float
    n_blocks: int = 2
    n_heads: int = 4
    most_tiles: int = 1024

    def __post_init__(self) -> None:
        """Check that heads divide the width."""
        if self.hidden % self.n_heads:
            raise ValueError(f"--hidden of the transformer is a multiple of {self.n_heads}, got {self.hidden}")


class _Block(nn.Module):
    """Self-attention and a small network, each on normalised vectors and added to them."""

    def __init__(self, settings: TransformerSettings) -> None:
        super().__init__()
        width = settings.hidden
        self.n_heads = settings.n_heads
        self.before_attention, self.before_network = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.mixed = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.network = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.dropout = nn.Dropout(settings.dropout)

    def forward(
        self, tokens: Float[Tensor, "token hidden"]
    ) -> tuple[Float[Tensor, "token hidden"], Float[Tensor, " token"]]:
        """Return the tokens, and how much the first looks at each, the mean over heads."""
        n, width = tokens.shape
        parts = self.query_key_value(self.before_attention(tokens)).reshape(n, 3, self.n_heads, width // self.n_heads)
        query, key, value = parts.permute(1, 2, 0, 3)
        weights = torch.softmax(query @ key.transpose(1, 2) / (width // self.n_heads) ** 0.5, dim=2)
        tokens = tokens + self.dropout(self.mixed((weights @ value).permute(1, 0, 2).reshape(n, width)))
        return tokens + self.dropout(self.network(self.before_network(tokens))), weights[:, 0].mean(dim=0)


class TransformerHead(ProjectedHead):
    """Tiles and a token of the bag through blocks; the token is read."""

    name = "transformer"

    def __init__(self, settings: TransformerSettings, *, n_inputs: int, n_outputs: int) -> None:
        super().__init__(settings, n_inputs=n_inputs, n_outputs=n_outputs)
        self.token = nn.Parameter(torch.randn(1, settings.hidden) * 0.02)
        self.blocks = nn.ModuleList([_Block(settings) for _ in range(settings.n_blocks)])
        self.norm, self.output = nn.LayerNorm(settings.hidden), nn.Linear(settings.hidden, n_outputs)

    def read_out(
        self, hidden: Float[Tensor, "tile hidden"], bag_of_tile: Int64[Tensor, " tile"], n_bags: int
    ) -> Float[Tensor, "bag out"]:
        """Return the outputs of each bag."""
        parts = torch.split(hidden, torch.bincount(bag_of_tile, minlength=n_bags).tolist())
        tokens = torch.cat([self._of_tiles(own)[0] for own in parts])
        return self.output(self.norm(tokens))

    def attention(self, tiles: Float[Tensor, "tile dim"]) -> Float[Tensor, " tile"]:
        """Return how much the token looks at each tile in the last block; tiles that were left out have 0."""
        hidden = torch.cat(list(self.hidden_blocks(tiles)))
        _, weights, chosen = self._of_tiles(hidden)
        return hidden.new_zeros(len(hidden)).index_copy(0, chosen, weights[1:] / weights[1:].sum())

    def _of_tiles(
        self, hidden: Float[Tensor, "tile hidden"]
    ) -> tuple[Float[Tensor, "1 hidden"], Float[Tensor, " token"], Int64[Tensor, " chosen"]]:
        """Return the token of a bag after the last block, how much it looks at each token, and the tiles that were taken."""
        n, most = len(hidden), self.settings.most_tiles
        chosen = torch.arange(n)
        if n > most:
            ranked = torch.argsort(hidden.detach().sum(dim=1), stable=True)
            chosen = ranked[torch.div(torch.arange(most) * n, most, rounding_mode="floor")]
        tokens, weights = torch.cat([self.token, hidden[chosen]]), hidden.new_zeros(0)
        for block in self.blocks:
            tokens, weights = block(tokens)
        return tokens[:1], weights, chosen
