"""Where a first layer begins: axes against an exact decomposition, the span of its weights, the spread of its sums."""

import numpy as np
import pytest
import torch
from pytest import approx
from sklearn.decomposition import PCA

from mil.heads.library.mean_mlp import MeanHead, MeanSettings
from mil.heads.principal_axes import N_AXES, principal_axes, sample_tiles, start_in_axes
from mil.heads.registry import HEADS, make_head
from mil.training.packed import standardise
from mil.training.training_settings import TrainConfig
from tests.helpers.key_tile_bags import bag


def tissues(n, dim, *, seed=0):
    """Tiles of six tissues far apart, so that five axes stand out; their mean is 0."""
    rng = np.random.default_rng(seed)
    tiles = rng.normal(size=(n, dim)) + (rng.normal(size=(6, dim)) * 3)[rng.integers(6, size=n)]
    return torch.from_numpy(tiles - tiles.mean(axis=0)).float()


def test_axes_are_those_of_an_exact_decomposition_with_one_sign():
    sample = tissues(2000, 200)
    axes = principal_axes(sample, 5)
    wanted = PCA(5, svd_solver="full").fit(sample.numpy()).components_
    assert np.abs((axes.numpy() * wanted).sum(axis=1)) == approx(1, abs=1e-3)
    assert torch.allclose(axes @ axes.T, torch.eye(5), atol=1e-5)
    assert (axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)) > 0).all()
    torch.manual_seed(5)  # it starts at random, and ends in the same
    assert torch.allclose(principal_axes(sample, 5), axes, atol=1e-3)


@pytest.mark.parametrize(("n", "dim"), [(3, 40), (40, 4), (1, 1)])
def test_a_small_sample_or_short_embeddings_have_fewer_axes(n, dim):
    axes = principal_axes(tissues(n, dim) + 1, N_AXES)
    assert axes.shape == (min(n, dim), dim)
    assert torch.isfinite(axes).all()


def test_weights_lie_in_the_axes_and_their_sums_spread_as_those_of_a_plain_layer():
    sample = tissues(2000, 200)
    sample /= sample.std(dim=0)
    layer = torch.nn.Linear(200, 64)
    bias = layer.bias.detach().clone()
    torch.manual_seed(0)
    axes = principal_axes(sample, N_AXES)
    torch.manual_seed(0)  # the axes behind the five are of noise, and found but roughly
    start_in_axes(layer, sample)
    weight = layer.weight.detach()
    assert torch.allclose(weight @ axes.T @ axes, weight, atol=1e-5)
    assert (sample @ weight.T).std(dim=0).numpy() == approx(3**-0.5, rel=1e-3)
    spreads = (sample @ axes.T).std(dim=0)
    assert spreads[0] > 5 * spreads[-1]
    shown = (weight @ axes.T).square().mean(dim=0).sqrt() * spreads  # along each axis alike, whatever its own spread
    assert shown.max() < 1.5 * shown.min()
    assert torch.linalg.matrix_rank(weight, rtol=1e-3) == N_AXES
    assert torch.equal(layer.bias, bias)


@pytest.mark.parametrize("sample", [torch.zeros(30, 8), torch.ones(1, 8), torch.ones(30, 8) * 0.3])
def test_tiles_that_are_all_alike_leave_the_layer_as_it_is(sample):
    layer = torch.nn.Linear(8, 4)
    before = layer.weight.detach().clone()
    start_in_axes(layer, sample)
    assert torch.equal(layer.weight, before)


def test_a_direction_in_which_no_tile_differs_has_no_weight():
    sample = torch.cat([tissues(300, 5), torch.zeros(300, 35)], dim=1)
    layer = torch.nn.Linear(40, 16)
    start_in_axes(layer, sample)
    assert float(layer.weight.detach()[:, 5:].abs().max()) < 1e-5
    assert 0.05 < float(layer.weight.detach()[:, :5].abs().max()) < 5


def test_no_patient_gives_more_tiles_than_its_share_and_every_one_gives_one():
    tiles = {
        "a": np.zeros((500, 2), np.float16),
        "b": np.ones((3, 2), np.float16),
        "c": np.full((50, 2), 2, np.float16),
    }
    head = make_head("mean_mlp", TrainConfig(hidden=4), n_inputs=2, n_outputs=2)

    def counts(most):
        sample = sample_tiles(head, tiles.__getitem__, sorted(tiles), np.random.default_rng(0), most=most)
        return torch.bincount(sample[:, 0].long()).tolist()

    assert counts(60) == [20, 3, 20]
    assert counts(2) == [1, 1, 1]


@pytest.mark.parametrize("name", sorted(set(HEADS) - {"linear", "prototypes"}))
def test_a_head_starts_in_the_axes_and_says_the_same_of_everybody(name):
    torch.manual_seed(0)
    tiles = {str(index): tissues(60, 40, seed=index).numpy().astype(np.float16) for index in range(8)}
    head = make_head(name, TrainConfig(hidden=16, attention=8, dropout=0.0), n_inputs=40, n_outputs=3)
    drawn = head.project.weight.detach().clone()
    standardise(head, lambda patient: bag(patient, tiles[patient]), sorted(tiles))
    head.prepare(tiles.__getitem__, sorted(tiles), np.random.default_rng(0))
    assert not torch.allclose(head.project.weight, drawn, atol=0.01)
    assert not head.output.weight.any()
    if name != "dsmil":  # whose other stream reads the strongest tile by a layer of its own
        said = torch.stack([head.of_bag(torch.from_numpy(own)) for own in tiles.values()]).detach()
        assert float((said - said[0]).abs().max()) < 1e-6


def test_a_head_of_ones_own_may_end_in_another_layer():
    class Own(MeanHead):
        def __init__(self, settings, *, n_inputs, n_outputs):
            super().__init__(settings, n_inputs=n_inputs, n_outputs=n_outputs)
            del self.output
            self.last = torch.nn.Linear(settings.hidden, n_outputs)

    tiles = {"a": tissues(60, 40).numpy(), "b": tissues(60, 40, seed=1).numpy()}
    head = Own(MeanSettings(hidden=8, dropout=0.0), n_inputs=40, n_outputs=2)
    last = head.last.weight.detach().clone()
    head.prepare(tiles.__getitem__, sorted(tiles), np.random.default_rng(0))
    assert torch.equal(head.last.weight, last)
