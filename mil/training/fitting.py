"""Fitting one fold: a gated attention head on the bags of the training patients.

Subtype: class-balanced cross-entropy, a few patients a step. Survival: one step an epoch with the exact gradient of the
partial likelihood over all training patients, at the memory of one block of bags: risks first, then each block once more
with its patients' coefficients (the chain rule; same dropout in both passes). The inner validation part decides when to
stop, or, without one, training runs to its last epoch. No test patient is ever seen here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from common.failures import StudyError
from mil.bags.bags import Bag
from mil.heads.gated_attention import GatedAttentionHead, HeadShape
from mil.training.partial_likelihood import class_weights, efron_gradient, efron_loss
from mil.training.training_settings import TrainConfig

MIN_STD = 1e-4
SURVIVAL_RATE = 3.0  # one step an epoch: larger steps

ReadBag = Callable[[str], Bag]


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What is known of each patient: class number (subtype), or time and event (survival)."""

    labels: Mapping[str, int] = field(default_factory=dict)
    times: Mapping[str, float] = field(default_factory=dict)
    events: Mapping[str, int] = field(default_factory=dict)
    n_classes: int = 0


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A trained head and how the training went."""

    head: GatedAttentionHead
    best_epoch: int
    stopped_by: str
    history: tuple[dict[str, float | int | None], ...]


def fit(
    read: ReadBag,
    train: Sequence[str],
    val: Sequence[str],
    targets: Targets,
    config: TrainConfig,
    *,
    seed: Sequence[int],
) -> Fitted:
    """Train a head.

    Args:
        read: returns a patient's bag.
        train: the patients to learn from.
        val: the inner validation part; empty for a fixed last epoch.
        targets: labels, or times and events.
        config: the settings; `config.task` chooses the loss.
        seed: the fold's own seeds.

    Raises:
        ValueError: a class without training patient, or no event among them.
        StudyError: the loss became infinite.
    """
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(mode=True)
    rng = np.random.default_rng(seed)
    torch.manual_seed(int(rng.integers(2**31)))
    is_cox = config.task == "survival"
    shape = HeadShape(
        n_inputs=read(train[0]).tiles.shape[1],
        n_outputs=1 if is_cox else targets.n_classes,
        n_hidden=config.hidden,
        n_attention=config.attention,
        dropout=config.dropout,
    )
    head = GatedAttentionHead(shape)
    standardise(head, read, train)
    rate = config.learning_rate * (SURVIVAL_RATE if is_cox else 1)
    optimiser = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=config.weight_decay)
    step = _survival_epoch if is_cox else _subtype_epoch
    judge = _survival_validation if is_cox else _subtype_validation
    best, best_epoch, best_loss, history = copy.deepcopy(head.state_dict()), 0, np.inf, []
    for epoch in range(1, config.epochs + 1):
        head.train()
        train_loss = step(head, optimiser, read, train, targets, config, rng)
        val_loss = judge(head, read, train, val, targets, config) if val else None
        is_sound = all(bool(torch.isfinite(weights).all()) for weights in head.parameters())
        if not (is_sound and np.isfinite(train_loss) and (val_loss is None or np.isfinite(val_loss))):
            raise StudyError(
                f"training diverged in epoch {epoch} (loss {train_loss:g}); give a smaller --learning_rate than "
                f"{config.learning_rate:g}"
            )
        history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss})
        if val_loss is None or val_loss < best_loss:
            best, best_epoch, best_loss = (
                copy.deepcopy(head.state_dict()),
                epoch,
                np.inf if val_loss is None else val_loss,
            )
        elif epoch - best_epoch >= config.patience:
            break
    head.load_state_dict(best)
    head.eval()
    stopped_by = "inner validation" if val else "fixed last epoch"
    return Fitted(head=head, best_epoch=best_epoch, stopped_by=stopped_by, history=tuple(history))


def standardise(head: GatedAttentionHead, read: ReadBag, train: Sequence[str]) -> None:
    """Set the head's input mean and standard deviation from the training patients, each patient counting alike."""
    first, second = 0.0, 0.0
    for patient in train:
        tiles = read(patient).tiles.astype(np.float64)
        first = first + tiles.mean(axis=0) / len(train)
        second = second + (tiles**2).mean(axis=0) / len(train)
    std = np.sqrt(np.maximum(second - np.square(first), MIN_STD**2))
    head.mean.copy_(torch.from_numpy(np.asarray(first)).float())
    head.inverse_std.copy_(torch.from_numpy(1 / std).float())


def predict(head: GatedAttentionHead, read: ReadBag, patients: Sequence[str]) -> Float64[np.ndarray, "n out"]:
    """Return the outputs for whole bags, one patient at a time."""
    head.eval()
    rows = []
    with torch.inference_mode():
        for patient in patients:
            tiles = torch.from_numpy(read(patient).tiles.astype(np.float32))
            rows.append(head(tiles, torch.zeros(len(tiles), dtype=torch.int64), 1)[0].double().numpy())
    return np.stack(rows) if rows else np.empty((0, head.shape.n_outputs))


def _packed(
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


def _blocks(patients: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(patients), size):
        yield list(patients[start : start + size])


def _subtype_epoch(
    head: GatedAttentionHead, optimiser: torch.optim.Optimizer, read: ReadBag, train: Sequence[str], targets: Targets,
    config: TrainConfig, rng: np.random.Generator,
) -> float:  # fmt: skip
    labels = np.array([targets.labels[patient] for patient in train])
    weights = torch.from_numpy(class_weights(labels, targets.n_classes)).float()
    order = [train[index] for index in rng.permutation(len(train))]
    total = 0.0
    for block in _blocks(order, config.batch_patients):
        tiles, bag_of_tile = _packed(read, block, config.max_tiles, rng)
        truth = torch.tensor([targets.labels[patient] for patient in block])
        outputs = head(tiles, bag_of_tile, len(block))
        loss = (weights[truth] * torch.nn.functional.cross_entropy(outputs, truth, reduction="none")).sum() / len(block)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 5.0)
        optimiser.step()
        total += float(loss.detach()) * len(block)
    return total / len(train)


def _subtype_validation(
    head: GatedAttentionHead,
    read: ReadBag,
    train: Sequence[str],
    val: Sequence[str],
    targets: Targets,
    config: TrainConfig,
) -> float:
    """Return the cross-entropy of the validation patients, weighted as in training."""
    labels = np.array([targets.labels[patient] for patient in train])
    weights = torch.from_numpy(class_weights(labels, targets.n_classes))
    truth = torch.tensor([targets.labels[patient] for patient in val])
    outputs = torch.from_numpy(predict(head, read, val))
    losses = torch.nn.functional.cross_entropy(outputs, truth, reduction="none")
    return float((weights[truth] * losses).sum() / weights[truth].sum())


def _survival_epoch(
    head: GatedAttentionHead, optimiser: torch.optim.Optimizer, read: ReadBag, train: Sequence[str], targets: Targets,
    config: TrainConfig, rng: np.random.Generator,
) -> float:  # fmt: skip
    seeds = rng.integers(2**31, size=(len(train), 2))
    optimiser.zero_grad()
    loss = cohort_gradient(head, read, train, targets, config, seeds)
    torch.nn.utils.clip_grad_norm_(head.parameters(), 5.0)
    optimiser.step()
    return loss


def cohort_gradient(
    head: GatedAttentionHead, read: ReadBag, train: Sequence[str], targets: Targets, config: TrainConfig,
    seeds: Int[np.ndarray, "n 2"],
) -> float:  # fmt: skip
    """Add the exact gradient of the whole cohort's Cox loss to the head's parameters, block by block.

    Args:
        head: in training mode.
        read: returns a patient's bag.
        train: the patients of the partial likelihood.
        targets: their times and events.
        config: block size and tile limit.
        seeds: for each block (its first patient's row) the seeds of the drawn tiles and of dropout.

    Returns:
        The loss.
    """

    def forward(start: int, block: list[str]) -> Tensor:
        tiles, bag_of_tile = _packed(read, block, config.max_tiles, np.random.default_rng(seeds[start, 0]))
        torch.manual_seed(int(seeds[start, 1]))  # the same dropout in both passes
        return head(tiles, bag_of_tile, len(block))[:, 0]

    starts = range(0, len(train), config.batch_patients)
    blocks = list(_blocks(train, config.batch_patients))
    with torch.no_grad():
        risks = np.concatenate(
            [forward(start, block).double().numpy() for start, block in zip(starts, blocks, strict=True)]
        )
    if not np.isfinite(risks).all():
        return float("nan")  # `fit` says what to do
    time = np.array([targets.times[patient] for patient in train])
    event = np.array([targets.events[patient] for patient in train])
    coefficients = torch.from_numpy(efron_gradient(risks, time, event)).float()
    for start, block in zip(starts, blocks, strict=True):
        (forward(start, block) * coefficients[start : start + len(block)]).sum().backward()
    return efron_loss(risks, time, event)


def _survival_validation(
    head: GatedAttentionHead,
    read: ReadBag,
    train: Sequence[str],
    val: Sequence[str],
    targets: Targets,
    config: TrainConfig,
) -> float:
    """Return the cross-validated partial likelihood (Verweij and van Houwelingen 1993, Stat Med 12:2305), negative.

    l(training and validation) - l(training): a few validation patients alone have hardly an event to rank.
    """

    def total(patients: Sequence[str], risks: Float64[np.ndarray, " n"]) -> float:
        time = np.array([targets.times[patient] for patient in patients])
        event = np.array([targets.events[patient] for patient in patients])
        return efron_loss(risks, time, event) * event.sum()

    both = [*train, *val]
    risks = predict(head, read, both)[:, 0]
    if not np.isfinite(risks).all():
        return float("nan")
    return float((total(both, risks) - total(train, risks[: len(train)])) / len(val))
