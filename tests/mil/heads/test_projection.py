"""The first layer over bags as they are held equals the plain one, gradients too; order of tiles and blocks do not matter."""

import numpy as np
import pytest
import torch

from mil.heads import projected, projection
from mil.heads.attention_pooling import running_pool
from mil.heads.head import Rows
from mil.heads.registry import make_head
from mil.training.packed import predict, standardise
from mil.training.training_settings import TrainConfig
from tests.helpers.key_tile_bags import bag

SIZES = (5, 1, 900, 37)


def head_and_bags(dropout=0.0, seed=0):
    torch.manual_seed(seed)
    head = make_head("gated_attention", TrainConfig(hidden=16, attention=8, dropout=dropout), n_inputs=12, n_outputs=3)
    rng = np.random.default_rng(seed)
    parts = [(rng.standard_t(2, size=(n, 12)) * 2 + 3).astype(np.float16) for n in SIZES]
    standardise(head, {str(i): bag(str(i), part) for i, part in enumerate(parts)}.__getitem__, list("0123"))
    return head, [torch.from_numpy(part) for part in parts]


def plain(head, parts):
    """Ilse's equation bag by bag on standardised tiles."""
    rows = []
    for part in parts:
        hidden = torch.relu(
            head.project(head.standardised(part.double() if head.mean.dtype == torch.float64 else part.float()))
        )
        weights = torch.softmax(head.scores(hidden)[:, 0], 0)
        rows.append(head.output((weights[:, None] * hidden).sum(0)))
    return torch.stack(rows)


def gradients(head, outputs):
    head.zero_grad()
    (outputs * torch.arange(outputs.numel()).reshape(outputs.shape)).sum().backward()
    return [parameter.grad.clone() for parameter in head.parameters()]


@pytest.mark.parametrize("block", [3, 512])
def test_packed_bags_equal_one_bag_at_a_time_and_gradients_too(monkeypatch, block):
    monkeypatch.setattr(projection, "BLOCK", block)
    head, parts = head_and_bags()
    head.double()
    bags = [Rows(part) for part in parts]
    together, alone = head.of_bags(bags), torch.cat([head.of_bags([each]) for each in bags])
    assert torch.allclose(together, alone, atol=1e-6, rtol=0)
    assert torch.allclose(together, plain(head, parts), atol=1e-6, rtol=0)
    wanted = gradients(head, plain(head, parts))
    for outputs in (head.of_bags(bags), torch.cat([head.of_bags([each]) for each in bags])):
        for own, other in zip(gradients(head, outputs), wanted, strict=True):
            assert torch.allclose(own, other, atol=1e-6, rtol=1e-6)


def test_chosen_rows_equal_a_copy_and_the_order_of_tiles_changes_nothing():
    head, parts = head_and_bags()
    chosen = torch.tensor([3, 700, 12])
    assert torch.equal(head.of_bags([Rows(parts[2], chosen)]), head.of_bags([Rows(parts[2][chosen])]))
    order = torch.randperm(900)
    assert torch.allclose(head.of_bag(parts[2]), head.of_bag(parts[2][order]), atol=1e-6)


def test_tiles_that_do_not_stand_bag_by_bag_are_put_in_order():
    head, parts = head_and_bags()
    tiles, owner = (
        torch.cat([part.float() for part in parts]),
        torch.repeat_interleave(torch.arange(4), torch.tensor(SIZES)),
    )
    order = torch.randperm(len(tiles))
    assert torch.allclose(head(tiles[order], owner[order], 4), head(tiles, owner, 4), atol=1e-6)


def test_a_bag_in_blocks_equals_a_bag_at_once_however_far_scores_lie_apart(monkeypatch):
    head, parts = head_and_bags()
    whole = head.of_bags([Rows(parts[2])])[0]
    monkeypatch.setattr(projected, "WHOLE_BLOCK", 7)
    assert torch.allclose(head.of_bag(parts[2]), whole, atol=1e-6)
    assert head.attention(parts[2]).sum().item() == pytest.approx(1.0, abs=1e-6)
    scores, hidden = torch.randn(20, 2) * 1e4, torch.randn(20, 5)
    pooled = running_pool((scores[start : start + 3], hidden[start : start + 3]) for start in range(0, 20, 3))
    assert torch.allclose(pooled, torch.softmax(scores, 0).T @ hidden, atol=1e-5)


def test_hidden_units_are_left_out_at_random_the_rest_made_up_and_no_input_is():
    head, parts = head_and_bags(dropout=0.25)
    bags = [Rows(parts[2])]
    kept = head.eval().hidden_of(bags)
    head.train()
    torch.manual_seed(1)
    dropped = head.hidden_of(bags)
    torch.manual_seed(1)
    assert torch.equal(head.hidden_of(bags), dropped)
    assert not torch.equal(head.hidden_of(bags), dropped)
    is_left, is_above = dropped > 0, kept > 0
    assert (is_left <= is_above).all()
    assert torch.allclose(dropped[is_left], kept[is_left] / 0.75)
    assert float(is_left.sum() / is_above.sum()) == pytest.approx(0.75, abs=0.02)
    (dropped.sum()).backward()
    wanted = (head.standardised(parts[2].float()).T @ is_left.float()).T / 0.75
    assert torch.allclose(head.project.weight.grad, wanted, atol=1e-3)


def test_half_and_single_precision_and_predictions_agree():
    head, parts = head_and_bags()
    bags = {str(index): bag(str(index), part.numpy()) for index, part in enumerate(parts)}
    assert torch.allclose(
        torch.from_numpy(predict(head, bags.__getitem__, list("0123"))).float(), plain(head, parts), atol=1e-5
    )
    assert torch.equal(head.of_bag(parts[2]), head.of_bag(parts[2].float()))
