"""Ordered classes out of one output a threshold, by conditional probabilities: rank-consistent whatever the weights are.

CORN (Shi, Cao and Raschka 2023, Pattern Anal Applic 26:941): output t is the logit of "above class t" among those who are not below
it, so P(above t) is a product that can only fall with t. Its loss is the negative log-likelihood of that chain, the
continuation-ratio model of Fienberg (1980, The Analysis of Cross-Classified Categorical Data).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor


def corn_losses(outputs: Float[Tensor, "n t"], labels: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return the loss of each patient: the cross-entropies of the thresholds that it came to."""
    steps = torch.arange(outputs.shape[1])
    is_reached = labels[:, None] >= steps
    is_above = (labels[:, None] > steps).to(outputs.dtype)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(outputs, is_above, reduction="none")
    return (losses * is_reached).sum(dim=1)


def class_probabilities(outputs: Float64[np.ndarray, "n t"]) -> Float64[np.ndarray, "n k"]:
    """Return the probability of each class; they sum to 1."""
    return chained(1 / (1 + np.exp(-np.clip(outputs, -500, 500))))


def chained(conditional: Float64[np.ndarray, "n t"]) -> Float64[np.ndarray, "n k"]:
    """Return class probabilities of conditional ones: "above t" among those not below t."""
    ends = np.ones((len(conditional), 1))
    above = np.concatenate([ends, np.cumprod(conditional, axis=1), 0 * ends], axis=1)
    return above[:, :-1] - above[:, 1:]
