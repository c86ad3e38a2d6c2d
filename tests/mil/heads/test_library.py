"""Every head: packed bags equal single ones, gradients too; order of tiles and blocks change nothing; it learns."""

import dataclasses

import numpy as np
import pytest
import torch

from common.failures import StudyError
from mil.heads import projected
from mil.heads.head import Rows
from mil.heads.registry import HEADS, RegisteredHead, head_named, head_record, make_head, rebuild_head
from mil.tasks.subtype import SUBTYPE
from mil.tasks.survival import SURVIVAL
from mil.training.fitting import fit
from mil.training.packed import predict, standardise
from mil.training.survival_task import SurvivalTargets
from mil.training.training_settings import TrainConfig
from tests.helpers.key_tile_bags import CONFIG, bag, classes_of, inputs, key_tile_bags

NAMES = tuple(HEADS)
SIZES = (7, 1, 60, 20)


def prepared(name, *, n_outputs=3, seed=0):
    torch.manual_seed(seed)
    config = TrainConfig(hidden=16, attention=8, dropout=0.0)
    head = make_head(name, config, n_inputs=12, n_outputs=n_outputs)
    rng = np.random.default_rng(seed)
    tiles = {str(index): (rng.normal(size=(n, 12)) * 2 + 1).astype(np.float16) for index, n in enumerate(SIZES)}
    standardise(head, lambda patient: bag(patient, tiles[patient]), sorted(tiles))
    head.prepare(tiles.__getitem__, sorted(tiles), rng)
    torch.nn.init.uniform_(head.output.weight, -0.3, 0.3)  # it starts at 0, where every head says the same
    return head, [torch.from_numpy(tiles[patient]) for patient in sorted(tiles)]


def gradients(head, outputs):
    head.zero_grad()
    (outputs * torch.arange(1.0, outputs.numel() + 1).reshape(outputs.shape)).sum().backward()
    return {name: own.grad.clone() for name, own in head.named_parameters() if own.grad is not None}


@pytest.mark.parametrize("name", NAMES)
def test_packed_bags_equal_single_ones_and_gradients_too(name):
    head, parts = prepared(name)
    head.double()
    bags = [Rows(part) for part in parts]
    packed, single = head.of_bags(bags), torch.cat([head.of_bags([each]) for each in bags])
    assert packed.shape == (4, 3)
    assert torch.allclose(packed, single, atol=1e-6, rtol=0)
    matrix, owner = (
        torch.cat([part.double() for part in parts]),
        torch.repeat_interleave(torch.arange(4), torch.tensor(SIZES)),
    )
    assert torch.allclose(head(matrix, owner, 4), packed, atol=1e-6, rtol=0)
    one, two = gradients(head, packed), gradients(head, single)
    assert one.keys() == two.keys()
    for key, own in one.items():
        assert torch.allclose(own, two[key], atol=1e-6, rtol=1e-6), key


@pytest.mark.parametrize("name", NAMES)
def test_order_of_tiles_and_blocks_change_nothing_and_attention_sums_to_1(name, monkeypatch):
    head, parts = prepared(name)
    head.eval()
    whole = head.of_bags([Rows(parts[2])])[0]
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(head.of_bag(parts[2][order]), whole, atol=1e-5)
    weights = head.attention(parts[2].float())
    assert weights.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert (weights >= 0).all()
    assert torch.allclose(head.attention(parts[2][order].float()), weights[order], atol=1e-5)
    monkeypatch.setattr(projected, "WHOLE_BLOCK", 7)
    monkeypatch.setattr("mil.heads.library.prototypes.BLOCK", 7)
    assert torch.allclose(head.of_bag(parts[2]), whole, atol=1e-5)
    assert torch.allclose(head.attention(parts[2]), weights, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_step_of_training_teaches_is_what_the_head_says(name):
    head, parts = prepared(name)
    head.eval()  # ACMIL masks tiles in training alone; dropout is 0
    bags = [Rows(part) for part in parts]
    taught, _ = head.taught(bags, torch.tensor([0, 1, 2, 0]))
    assert torch.allclose(taught, head.of_bags(bags), atol=1e-6)
    one, two = gradients(head, taught), gradients(head, head.of_bags(bags))
    assert one.keys() == two.keys()
    for key, own in one.items():
        assert torch.allclose(own, two[key], atol=1e-4, rtol=1e-4), key


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_head_learns_classes_and_takes_a_survival_task(name):
    bags, labels, _ = key_tile_bags(45)
    patients = sorted(bags)
    config = dataclasses.replace(CONFIG, head=name, epochs=30, dropout=0.1, learning_rate=1e-2)
    fitted = fit(SUBTYPE.training, inputs(bags, patients[:30], [], classes_of(labels), config), seed=[0])
    right = predict(fitted.head, bags.__getitem__, patients[30:]).argmax(axis=1) == [labels[p] for p in patients[30:]]
    assert right.mean() > 0.5  # a third by chance
    again = rebuild_head(head_record(fitted.head))
    again.load_state_dict(fitted.head.state_dict())
    assert np.array_equal(predict(again, bags.__getitem__, patients), predict(fitted.head, bags.__getitem__, patients))
    times = {patient: float(10 * (labels[patient] + 1)) for patient in patients}
    targets = SurvivalTargets(times=times, events=dict.fromkeys(patients, 1))
    short = dataclasses.replace(config, epochs=4)
    assert fit(SURVIVAL.training, inputs(bags, patients, [], targets, short), seed=[0]).head.n_outputs == 1


def test_a_transformer_thins_large_bags_alike_in_any_order():
    torch.manual_seed(0)
    head = make_head("transformer", TrainConfig(hidden=16), n_inputs=12, n_outputs=2).eval()
    object.__setattr__(head.settings, "most_tiles", 10)
    tiles = torch.randn(50, 12)
    order = torch.randperm(50)
    assert torch.allclose(head.of_bag(tiles[order]), head.of_bag(tiles), atol=1e-5)
    assert int((head.attention(tiles) > 0).sum()) == 10


def test_clam_asks_its_extreme_tiles_and_only_where_there_are_classes():
    head, parts = prepared("clam_mb")
    bags = [Rows(part) for part in parts]
    outputs, extra = head.taught(bags, torch.tensor([0, 1, 2, 0]))
    assert torch.allclose(outputs, head.of_bags(bags), atol=1e-6)
    assert extra.item() > 0
    extra.backward()
    assert head.of_tile.weight.grad.abs().sum() > 0
    assert head.taught(bags, None)[1] == 0


def test_acmil_masks_strong_tiles_in_training_alone_and_leaves_one():
    head, _ = prepared("acmil")
    scores = torch.arange(12.0)[:, None].repeat(1, 5)
    torch.manual_seed(0)
    masked = head.train()._masked(scores)
    assert 0 < int((masked < 0).sum()) <= 50
    assert (masked[:2] == scores[:2]).all()
    assert torch.equal(head.eval()._masked(scores), scores)
    assert torch.equal(head.train()._masked(scores[:1]), scores[:1])


def own():
    return RegisteredHead(HEADS["mean_mlp"].head, HEADS["mean_mlp"].settings)


def not_own():
    return "no head"


def test_a_head_of_ones_own_is_named_by_module_and_function_and_no_model_file_loads_it(monkeypatch):
    monkeypatch.setattr("mil.heads.registry.HEADS", dict(HEADS))
    place = f"{__name__}:own"
    record = {"name": place, "n_inputs": 12, "n_outputs": 3, "settings": {"hidden": 8, "dropout": 0.0}}
    with pytest.raises(StudyError, match="which a model file does not load"):
        rebuild_head(record)
    head = make_head(place, CONFIG, n_inputs=12, n_outputs=3)
    assert head.name == place
    assert head_record(head)["name"] == place
    assert type(rebuild_head(record)) is type(head)
    for wrong, message in (("not_own", "returned str"), ("none", "AttributeError")):
        with pytest.raises(StudyError, match=message):
            head_named(f"{__name__}:{wrong}")
    with pytest.raises(StudyError, match="ModuleNotFoundError"):
        head_named("no_such_module_here:head")
