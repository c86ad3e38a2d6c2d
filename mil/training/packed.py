"""Bags for training and prediction: drawing their tiles, standardising them, predicting them whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mil.bags.bags import Bag
from mil.heads.head import Head, Rows, owners

MIN_STD = 1e-4
ReadBag = Callable[[str], Bag]


def standardise(head: Head, read: ReadBag, train: Sequence[str]) -> None:
    """Set the head's input mean and standard deviation from the training patients, each patient counting alike."""
    first, second = np.zeros(head.n_inputs), np.zeros(head.n_inputs)
    for patient in train:
        mean, of_squares = read(patient).moments
        first += mean / len(train)
        second += of_squares / len(train)
    std = np.sqrt(np.maximum(second - np.square(first), MIN_STD**2))
    head.mean.copy_(torch.from_numpy(first).float())
    head.inverse_std.copy_(torch.from_numpy(1 / std).float())


def predict(head: Head, read: ReadBag, patients: Sequence[str]) -> Float64[np.ndarray, "n out"]:
    """Return the outputs for whole bags, one patient at a time; a bag is held as it was read and never copied."""
    head.eval()
    with torch.inference_mode():
        rows = [head.of_bag(torch.from_numpy(read(patient).tiles)).double().numpy() for patient in patients]
    return np.stack(rows) if rows else np.empty((0, head.n_outputs))


def draw(read: ReadBag, patients: Sequence[str], max_tiles: int, rng: np.random.Generator) -> list[Rows]:
    """Return the bags of patients, each thinned at random to `max_tiles`; nothing is copied."""
    bags = []
    for patient in patients:
        tiles = torch.from_numpy(read(patient).tiles)
        is_large = len(tiles) > max_tiles
        chosen = np.sort(rng.choice(len(tiles), max_tiles, replace=False)) if is_large else None
        bags.append(Rows(tiles, None if chosen is None else torch.from_numpy(chosen)))
    return bags


def pack(
    read: ReadBag, patients: Sequence[str], max_tiles: int, rng: np.random.Generator
) -> tuple[Float[Tensor, "tile dim"], Int[Tensor, " tile"]]:
    """Return the tiles of several bags one after the other as one matrix, each thinned at random to `max_tiles`."""
    bags = draw(read, patients, max_tiles, rng)
    return torch.cat([bag.block(0, len(bag)).float() for bag in bags]), owners([len(bag) for bag in bags])


def in_blocks(patients: Sequence[str], size: int) -> Iterator[list[str]]:
    """Yield the patients in blocks of at most `size`."""
    for start in range(0, len(patients), size):
        yield list(patients[start : start + size])
