"""Bags packed one after the other: drawing, standardising and predicting them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mil.bags.bags import Bag
from mil.heads.head import Head

MIN_STD = 1e-4
ReadBag = Callable[[str], Bag]


def standardise(head: Head, read: ReadBag, train: Sequence[str]) -> None:
    """Set the head's input mean and standard deviation from the training patients, each patient counting alike."""
    first, second = 0.0, 0.0
    for patient in train:
        tiles = read(patient).tiles.astype(np.float64)
        first = first + tiles.mean(axis=0) / len(train)
        second = second + (tiles**2).mean(axis=0) / len(train)
    std = np.sqrt(np.maximum(second - np.square(first), MIN_STD**2))
    head.mean.copy_(torch.from_numpy(np.asarray(first)).float())
    head.inverse_std.copy_(torch.from_numpy(1 / std).float())


def predict(head: Head, read: ReadBag, patients: Sequence[str]) -> Float64[np.ndarray, "n out"]:
    """Return the outputs for whole bags, one patient at a time."""
    head.eval()
    rows = []
    with torch.inference_mode():
        for patient in patients:
            tiles = torch.from_numpy(read(patient).tiles.astype(np.float32))
            rows.append(head(tiles, torch.zeros(len(tiles), dtype=torch.int64), 1)[0].double().numpy())
    return np.stack(rows) if rows else np.empty((0, head.n_outputs))


def pack(
    read: ReadBag, patients: Sequence[str], max_tiles: int, rng: np.random.Generator
) -> tuple[Float[Tensor, "tile dim"], Int[Tensor, " tile"]]:
    """Return the tiles of several bags one after the other, each thinned at random to `max_tiles`."""
    tiles, sizes = [], []
    for patient in patients:
        own = read(patient).tiles
        if len(own) > max_tiles:
            own = own[np.sort(rng.choice(len(own), max_tiles, replace=False))]
        tiles.append(own)
        sizes.append(len(own))
    bag_of_tile = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return torch.from_numpy(np.concatenate(tiles).astype(np.float32)), bag_of_tile


def in_blocks(patients: Sequence[str], size: int) -> Iterator[list[str]]:
    """Yield the patients in blocks of at most `size`."""
    for start in range(0, len(patients), size):
        yield list(patients[start : start + size])
