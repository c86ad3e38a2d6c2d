"""Heads of every kind with drawn weights, and a bag for them."""

import numpy as np
import torch

from mil.heads.registry import make_head
from mil.training.training_settings import TrainConfig

CONFIG = TrainConfig(hidden=16, attention=8, dropout=0.25)


def a_head(name, n_outputs=3, seed=0):
    torch.manual_seed(seed)
    head = make_head(name, CONFIG, n_inputs=12, n_outputs=n_outputs)
    for parameter in head.parameters():
        parameter.data = torch.randn_like(parameter) * 0.4
    head.mean.copy_(torch.randn(12))
    head.inverse_std.copy_(torch.rand(12) + 0.5)
    return head.eval()


def a_bag(n=60, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 12)).astype(np.float16)
