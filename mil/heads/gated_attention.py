"""Gated attention pooling (Ilse, Tomczak and Welling 2018, arXiv 1802.04712, equation 9) over packed ragged bags."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from mil.heads.even_attention import EvenAttentionHead
from mil.heads.gate import GatedHead


@dataclass(frozen=True, kw_only=True)
class GatedAttentionSettings:
    """The head's own settings, named as the options of training: widths, dropout, weight of the loss on uneven attention."""

    hidden: int
    attention: int
    dropout: float
    evenness: float = 0.0


class GatedAttentionHead(GatedHead, EvenAttentionHead):
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
