"""Gated attention pooling (Ilse, Tomczak and Welling 2018, arXiv 1802.04712, equation 9) over packed ragged bags."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from mil.heads.gate import GatedHead


@dataclass(frozen=True, kw_only=True)
class GatedAttentionSettings:
    """The head's own sizes, named as the options of training: hidden and attention width, share left out by dropout."""

    hidden: int
    attention: int
    dropout: float


class GatedAttentionHead(GatedHead):
    """Embeddings of packed bags to one output vector a bag."""

    name = "gated_attention"

    def __init__(self, settings: GatedAttentionSettings, *, n_inputs: int, n_outputs: int) -> None:
        super().__init__(settings, n_inputs=n_inputs, n_outputs=n_outputs)
        self.make_gate(1)
        self.output = nn.Linear(settings.hidden, n_outputs)
        self.dropout = nn.Dropout(settings.dropout)

    def of_pooled(self, pooled: Float[Tensor, "1 bag hidden"]) -> Float[Tensor, "bag out"]:
        """Return the outputs of pooled bags."""
        return self.output(self.dropout(pooled[0]))
