"""What every head shares: its sizes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class HeadShape:
    """The sizes of a head: embedding, hidden and attention widths, number of outputs (classes, or 1 for Cox)."""

    n_inputs: int
    n_outputs: int
    n_hidden: int
    n_attention: int
    dropout: float
