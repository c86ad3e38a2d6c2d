"""Bags for training: thinned at random and in order, standardised patient by patient, predicted whole."""

import numpy as np
import pytest
import torch
from pytest import approx

from mil.bags import bags as bags_room
from mil.heads.registry import make_head
from mil.training.packed import draw, in_blocks, pack, predict, standardise
from tests.helpers.key_tile_bags import CONFIG, bag


def new_head(n_outputs=2):
    return make_head(CONFIG.head, CONFIG, n_inputs=12, n_outputs=n_outputs)


def bags_of(*sizes):
    rng = np.random.default_rng(1)
    return {f"p{number}": bag(f"p{number}", rng.normal(size=(size, 12)) + number) for number, size in enumerate(sizes)}


@pytest.mark.parametrize("summed", [3, 4096])
def test_every_patient_counts_alike_in_mean_and_spread(monkeypatch, summed):
    monkeypatch.setattr(bags_room, "SUMMED", summed)
    bags, head = bags_of(7, 2, 30), new_head()
    standardise(head, bags.__getitem__, ["p0", "p1", "p2"])
    tiles = [own.tiles.astype(np.float64) for own in bags.values()]
    mean = np.mean([own.mean(axis=0) for own in tiles], axis=0)
    square = np.mean([(own**2).mean(axis=0) for own in tiles], axis=0)
    assert head.mean.numpy() == approx(mean, abs=1e-5)
    assert head.inverse_std.numpy() == approx(1 / np.sqrt(square - mean**2), rel=1e-4)
    flat = {"p0": bag("p0", np.full((4, 12), 3.0))}
    standardise(head, flat.__getitem__, ["p0"])
    assert head.inverse_std.numpy() == approx(np.full(12, 1e4), rel=1e-3)  # never divided by 0


@pytest.mark.parametrize(("most", "sizes"), [(4, [4, 3, 4]), (3, [3, 3, 3]), (5, [5, 3, 4])])
def test_large_bags_are_thinned_and_small_ones_are_whole(most, sizes):
    bags = bags_of(9, 3, 4)
    drawn = draw(bags.__getitem__, list(bags), most, np.random.default_rng(0))
    assert [len(own) for own in drawn] == sizes
    tiles, owner = pack(bags.__getitem__, list(bags), most, np.random.default_rng(0))
    assert owner.tolist() == [number for number, size in enumerate(sizes) for _ in range(size)]
    assert tiles.dtype == torch.float32
    start = 0
    for (patient, own), size in zip(bags.items(), sizes, strict=True):
        rows = tiles[start : start + size].numpy()
        found = [int(np.flatnonzero((own.tiles.astype(np.float32) == row).all(axis=1))[0]) for row in rows]
        assert found == sorted(set(found)), patient  # each once, in the order of the file
        start += size
    other, _ = pack(bags.__getitem__, list(bags), most, np.random.default_rng(1))
    assert not torch.equal(other, tiles)


def test_whole_bags_are_predicted_one_by_one_without_dropout():
    bags, head = bags_of(9, 3), new_head()
    head.train()
    found = predict(head, bags.__getitem__, ["p1", "p0"])
    assert not head.training
    assert found.dtype == np.float64
    for row, patient in zip(found, ["p1", "p0"], strict=True):
        tiles = torch.from_numpy(bags[patient].tiles.astype(np.float32))
        with torch.no_grad():
            wanted = head(tiles, torch.zeros(len(tiles), dtype=torch.int64), 1)[0]
        assert row == approx(wanted.double().numpy(), abs=1e-6)
    assert predict(head, bags.__getitem__, []).shape == (0, 2)


def test_blocks_hold_everybody_once():
    assert list(in_blocks(list("abcde"), 2)) == [["a", "b"], ["c", "d"], ["e"]]
    assert list(in_blocks(list("ab"), 2)) == [["a", "b"]]
    assert list(in_blocks([], 2)) == []
