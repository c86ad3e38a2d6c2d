import numpy as np
import pytest
import torch

from mil.explanation.contributions import contributions
from mil.explanation.tile_terms import EXACT, GRADIENTS, LEFT_OUT, tile_terms
from mil.heads.head import Head
from mil.heads.registry import HEADS
from tests.helpers.some_heads import a_bag, a_head

EXACT_HEADS = {
    "gated_attention", "attention", "linear", "mean_mlp", "max_pool", "additive", "clam_sb", "clam_mb", "acmil", "prototypes",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(HEADS))
@pytest.mark.parametrize("n_outputs", [3, 1])
def test_terms_of_every_head_add_up_to_its_outputs(name, n_outputs):
    head = a_head(name, n_outputs)
    for n in (1, 2, 60):
        found = tile_terms(head, a_bag(n))
        with torch.inference_mode():
            wanted = head.of_bag(torch.from_numpy(a_bag(n))).double().numpy()
        assert found.outputs == pytest.approx(wanted, abs=1e-4)
        assert found.terms.shape == (n, n_outputs)
        assert found.attention.sum() == pytest.approx(1)
        assert found.base + found.terms.sum(axis=0) + found.residual == pytest.approx(found.outputs, abs=1e-12)
        if name in EXACT_HEADS:
            assert found.method == EXACT
            assert abs(found.residual).max() < 1e-9
        else:
            assert found.method == GRADIENTS
            assert abs(found.residual).max() < 0.05 * max(1.0, abs(found.outputs).max())


@pytest.mark.parametrize("name", sorted(EXACT_HEADS))
def test_a_bag_of_average_tiles_is_the_base_and_its_tiles_contribute_nothing(name):
    head = a_head(name)
    found = tile_terms(head, np.repeat(head.mean.numpy()[None], 5, axis=0))
    assert abs(found.terms).max() < 1e-6
    assert found.outputs == pytest.approx(found.base, abs=1e-6)


def test_terms_of_gated_attention_are_attention_times_what_the_layer_reads_of_the_tile():
    head, bag = a_head("gated_attention"), a_bag()
    with torch.no_grad():
        exact = head.double()
        hidden = torch.relu(exact.project(exact.standardised(torch.from_numpy(bag).double())))
        average = torch.relu(exact.project.bias)
        weights = torch.softmax(exact.scores(hidden)[:, 0], dim=0)
        wanted = weights[:, None] * ((hidden - average) @ exact.output.weight.T)
    found = tile_terms(head.float(), bag)
    assert found.terms == pytest.approx(wanted.numpy(), abs=1e-5)
    assert found.attention == pytest.approx(weights.numpy(), abs=1e-6)


def test_the_order_of_tiles_changes_nothing_but_their_order():
    head, bag = a_head("prototypes"), a_bag()
    order = np.random.default_rng(1).permutation(len(bag))
    assert tile_terms(head, bag[order]).terms == pytest.approx(tile_terms(head, bag).terms[order], abs=1e-12)


class OwnHead(Head):
    """A head of somebody's own: no sum, and nothing to differentiate."""

    name = "own"

    def forward(self, tiles, bag_of_tile, n_bags):
        return torch.stack([self.standardised(tiles[bag_of_tile == bag]).mean(dim=0)[:2] ** 2 for bag in range(n_bags)])

    def attention(self, tiles):
        return tiles.new_full((len(tiles),), 1 / len(tiles))


def test_an_unknown_head_is_explained_by_leaving_tiles_out_and_says_what_that_misses():
    head = OwnHead(None, n_inputs=12, n_outputs=2)
    bag = a_bag(20)
    found = tile_terms(head, bag)
    assert found.method == LEFT_OUT
    kept = np.arange(20) != 7
    with torch.no_grad():
        wanted = head.of_bag(torch.from_numpy(bag)) - head.of_bag(torch.from_numpy(bag[kept]))
    assert found.terms[7] == pytest.approx(wanted.numpy(), abs=1e-6)
    assert found.base + found.terms.sum(axis=0) + found.residual == pytest.approx(found.outputs)
    large = tile_terms(head, a_bag(2000))
    assert np.isfinite(large.terms).all()


class BentHead(HEADS["gated_attention"].head):
    """Attention pooling whose last layer is no linear one."""

    name = "bent"

    def of_pooled(self, pooled):
        return torch.tanh(super().of_pooled(pooled))


def test_a_last_layer_that_is_not_linear_is_noticed():
    torch.manual_seed(0)
    head = BentHead(a_head("gated_attention").settings, n_inputs=12, n_outputs=3).eval()
    found = tile_terms(head, a_bag())
    assert found.method == GRADIENTS
    assert abs(found.residual).max() < 1e-6


@pytest.mark.parametrize("name", ["gated_attention", "transformer"])
def test_contributions_of_an_ensemble_add_up_by_tile_and_by_slide(name):
    heads, bag = [a_head(name, seed=seed) for seed in (0, 1)], a_bag()
    found = contributions(heads, bag, ("A", "B", "C"), np.zeros(2))
    parts = [tile_terms(head, bag).outputs for head in heads]
    wanted = np.mean([part - part.mean() for part in parts], axis=0)
    assert found.values == pytest.approx(wanted, abs=1e-9)
    assert found.is_exact == (name == "gated_attention")
    slide_of_tile = (np.arange(60) // 25).astype(np.int64)
    slides = found.of_slides(slide_of_tile, 3)
    assert slides.sum(axis=0) + found.base + found.residual == pytest.approx(wanted, abs=1e-9)
    assert slides[1] == pytest.approx(found.of_tiles[25:50].sum(axis=0))
    assert found.of_tiles.sum(axis=1) == pytest.approx(np.zeros(60), abs=1e-12)
    assert found.told == int(wanted.argmax())


def test_contributions_to_a_log_hazard_stand_on_the_level_of_the_heads():
    heads, bag = [a_head("gated_attention", 1, seed=seed) for seed in (0, 1)], a_bag()
    found = contributions(heads, bag, ("log_hazard",), np.array([2.0, -1.0]))
    wanted = np.mean([tile_terms(heads[0], bag).outputs[0] - 2, tile_terms(heads[1], bag).outputs[0] + 1])
    assert found.values[0] == pytest.approx(wanted)
    assert found.base[0] + found.of_tiles.sum() == pytest.approx(wanted, abs=1e-9)
