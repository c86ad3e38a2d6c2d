"""Survival as a task: one epoch of the whole cohort's exact gradient, validation, rows of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int
from torch import Tensor

from mil.heads.gated_attention import GatedAttentionHead
from mil.training.packed import ReadBag, in_blocks, pack, predict
from mil.training.partial_likelihood import efron_gradient, efron_loss
from mil.training.targets import Targets
from mil.training.training_settings import TrainConfig
from splits.fold_plan import FoldPlan

SURVIVAL_RATE = 3.0  # one step an epoch: larger steps


def survival_epoch(
    head: GatedAttentionHead, optimiser: torch.optim.Optimizer, read: ReadBag, train: Sequence[str], targets: Targets,
    config: TrainConfig, rng: np.random.Generator,
) -> float:  # fmt: skip
    """Train one epoch: a single step along the exact gradient of the whole cohort; return the loss."""
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
        tiles, bag_of_tile = pack(read, block, config.max_tiles, np.random.default_rng(seeds[start, 0]))
        torch.manual_seed(int(seeds[start, 1]))  # the same dropout in both passes
        return head(tiles, bag_of_tile, len(block))[:, 0]

    starts = range(0, len(train), config.batch_patients)
    blocks = list(in_blocks(train, config.batch_patients))
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


def survival_validation(
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


def scale_of(train_risk: Float64[np.ndarray, " n"]) -> dict[str, float]:
    """Return what puts a fold's risks on a common scale, and the cut-off: from its training patients alone."""
    return {
        "mean": float(train_risk.mean()),
        "sd": float(max(train_risk.std(), 1e-9)),
        "cutoff": float(np.median(train_risk)),
    }


def survival_rows(
    plan: FoldPlan,
    patients: Sequence[str],
    targets: Targets,
    risks: Float64[np.ndarray, " n"],
    *,
    model: str,
    scale: dict[str, float],
) -> list[dict[str, Any]]:
    """Return a row a patient: log-hazard, score on the scale of the training patients, and risk group."""
    return [
        {
            "repeat": plan.repeat, "fold": plan.fold, "patient_id": patient, "model": model,
            "time": targets.times[patient], "event": targets.events[patient], "log_hazard": float(risk),
            "score": float((risk - scale["mean"]) / scale["sd"]), "high_risk": int(risk > scale["cutoff"]),
        }
        for patient, risk in zip(patients, risks, strict=True)
    ]  # fmt: skip
