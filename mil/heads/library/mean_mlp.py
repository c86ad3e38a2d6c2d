"""The mean of hidden vectors: every tile counts alike. Where a class lies in the whole composition, this is enough."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from mil.heads.attention_pooling import AttentionPooledHead


@dataclass(frozen=True, kw_only=True)
class MeanSettings:
    """Hidden width, share left out by dropout."""

    hidden: int
    dropout: float


class MeanHead(AttentionPooledHead):
    """Attention with equal scores."""

    name = "mean_mlp"

    def __init__(self, settings: MeanSettings, *, n_inputs: int, n_outputs: int) -> None:
        super().__init__(settings, n_inputs=n_inputs, n_outputs=n_outputs)
        self.output = nn.Linear(settings.hidden, n_outputs)
        self.dropout = nn.Dropout(settings.dropout)

    def scores(self, hidden: Float[Tensor, "tile hidden"]) -> Float[Tensor, "tile 1"]:
        """Return zeros."""
        return hidden.new_zeros((len(hidden), 1))

    def of_pooled(self, pooled: Float[Tensor, "1 bag hidden"]) -> Float[Tensor, "bag out"]:
        """Return the outputs of pooled bags."""
        return self.output(self.dropout(pooled[0]))
