"""The loss on uneven attention: its value, its schedule, and that it draws attention towards the mean."""

import math

import numpy as np
import pytest
import torch
from pytest import approx
from scipy.stats import entropy

from mil.heads.even_attention import unevenness
from mil.heads.head import Rows
from mil.heads.registry import make_head
from mil.training.training_settings import TrainConfig


def test_it_is_the_divergence_from_equal_shares_of_each_bag_by_itself():
    rng = np.random.default_rng(3)
    sizes = [4, 1, 7]
    scores = rng.normal(0, 2, (12, 2))
    wanted = []
    for part in np.split(scores, np.cumsum(sizes)[:-1]):
        shares = np.exp(part) / np.exp(part).sum(axis=0)
        wanted.append(np.mean([entropy(shares[:, branch], np.full(len(part), 1 / len(part))) for branch in range(2)]))
    assert float(unevenness(torch.from_numpy(scores), sizes)) == approx(np.mean(wanted), abs=1e-12)


def test_equal_scores_cost_nothing_and_a_single_tile_costs_at_most_log_n():
    assert float(unevenness(torch.zeros(5, 1), [5])) == approx(0, abs=1e-7)
    lone = torch.tensor([[500.0], [-500.0], [-500.0], [-500.0]])
    assert float(unevenness(lone, [4])) == approx(math.log(4))
    lone.requires_grad_()
    unevenness(lone, [4]).backward()
    assert torch.isfinite(lone.grad).all()


@pytest.mark.parametrize("name", ["gated_attention", "attention"])
def test_the_loss_falls_to_a_tenth_by_the_middle_of_the_training_and_outputs_stay(name):
    torch.manual_seed(1)
    head = make_head(name, TrainConfig(hidden=8, attention=4, dropout=0.0, evenness=0.5), n_inputs=6, n_outputs=2)
    bags = [Rows(torch.randn(size, 6)) for size in (5, 3)]
    losses = []
    for head.progress in (0.0, 0.25, 0.5, 0.9):
        outputs, extra = head.taught(bags, None)
        assert torch.allclose(outputs, head.of_bags(bags), atol=1e-6)
        losses.append(float(extra.detach()))
    assert losses[0] > 0
    assert losses[1:] == approx([losses[0] * share for share in (0.5, 0.1, 0.1)])
    free = make_head(name, TrainConfig(hidden=8, attention=4, dropout=0.0, evenness=0.0), n_inputs=6, n_outputs=2)
    assert float(free.taught(bags, None)[1]) == 0


@pytest.mark.parametrize("wrong", [-0.1, 11.0])
def test_a_weight_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="--evenness is a number from 0 to 10"):
        TrainConfig(evenness=wrong)
