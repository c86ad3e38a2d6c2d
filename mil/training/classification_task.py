"""Classes as a task: one epoch, validation, rows of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int

from mil.heads.gated_attention import GatedAttentionHead
from mil.training.packed import ReadBag, in_blocks, pack, predict
from mil.training.targets import Targets
from mil.training.training_settings import TrainConfig
from splits.fold_plan import FoldPlan


def subtype_epoch(
    head: GatedAttentionHead, optimiser: torch.optim.Optimizer, read: ReadBag, train: Sequence[str], targets: Targets,
    config: TrainConfig, rng: np.random.Generator,
) -> float:  # fmt: skip
    """Train one epoch: class-balanced cross-entropy, a few patients a step; return the mean loss."""
    labels = np.array([targets.labels[patient] for patient in train])
    weights = torch.from_numpy(class_weights(labels, targets.n_classes)).float()
    order = [train[index] for index in rng.permutation(len(train))]
    total = 0.0
    for block in in_blocks(order, config.batch_patients):
        tiles, bag_of_tile = pack(read, block, config.max_tiles, rng)
        truth = torch.tensor([targets.labels[patient] for patient in block])
        outputs = head(tiles, bag_of_tile, len(block))
        loss = (weights[truth] * torch.nn.functional.cross_entropy(outputs, truth, reduction="none")).sum() / len(block)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 5.0)
        optimiser.step()
        total += float(loss.detach()) * len(block)
    return total / len(train)


def subtype_validation(
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


def class_weights(labels: Int[np.ndarray, " n"], n_classes: int) -> Float64[np.ndarray, " k"]:
    """Return weights that make every class count alike: n / (k * n_class), so their mean over patients is 1.

    Raises:
        ValueError: a class has no patient.
    """
    counts = np.bincount(labels, minlength=n_classes)
    if (counts == 0).any():
        raise ValueError(f"class number {int(counts.argmin())} has no training patient")
    return len(labels) / (n_classes * counts)


def softmax(outputs: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
    """Return probabilities of logits."""
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(axis=1, keepdims=True)


def subtype_rows(
    plan: FoldPlan,
    patients: Sequence[str],
    targets: Targets,
    probabilities: Float64[np.ndarray, "n k"],
    *,
    model: str,
    classes: Sequence[str],
) -> list[dict[str, Any]]:
    """Return a row a patient: class probabilities beside the truth."""
    return [
        {
            "repeat": plan.repeat, "fold": plan.fold, "patient_id": patient, "model": model,
            "truth": classes[targets.labels[patient]],
            **{f"p_{name}": float(value) for name, value in zip(classes, row, strict=True)},
        }
        for patient, row in zip(patients, probabilities, strict=True)
    ]  # fmt: skip
