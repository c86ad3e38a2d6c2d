"""How a head learns one log-hazard: Cox's partial likelihood of event-stratified batches, or of the whole cohort at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float64, Int
from torch import Tensor

from mil.heads.head import Head
from mil.survival.partial_likelihood import loss, loss_and_gradient
from mil.training.packed import draw, in_blocks, predict
from mil.training.recipe.batches import risk_set_size, stratified_batches
from mil.training.task import FoldInputs
from mil.training.time_to_event.linear_fit import fit_linear, is_linear
from mil.training.time_to_event.survival_targets import SurvivalTargets

MAX_GRADIENT = 5.0


def cox_epoch(
    head: Head, optimiser: torch.optim.Optimizer, fold: FoldInputs[SurvivalTargets], rng: np.random.Generator
) -> float:
    """Train one epoch: a step for each batch of patients at risk together, or one for the whole cohort; return the loss.

    Every patient is in one batch; events are spread evenly over them, and each has one.
    """
    if is_linear(head.name):
        fit_linear(head, fold)
        return _loss_of(fold.targets, fold.train, predict(head, fold.read, fold.train)[:, 0])
    if not fold.config.risk_set_patients:
        return _exact_step(head, optimiser, fold, rng)
    events, total, weight = fold.targets.events, 0.0, 0.0
    size = risk_set_size(fold.config.risk_set_patients, len(fold.train), sum(events[each] for each in fold.train))
    for batch in stratified_batches(fold.train, events, size, rng):
        sets = fold.targets.risk_sets(batch)
        if sets is None:
            continue
        outputs, extra = head.taught(draw(fold.read, batch, fold.config.max_tiles, rng), None)
        risks = outputs[:, 0].detach().double().numpy()
        if not np.isfinite(risks).all():
            return float("nan")
        own, gradient = loss_and_gradient(risks, sets)
        optimiser.zero_grad()
        ((outputs[:, 0] * torch.from_numpy(gradient).to(outputs.dtype)).sum() + extra).backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), MAX_GRADIENT)
        optimiser.step()
        total, weight = total + own * sets.total_weight, weight + sets.total_weight
    return total / weight


def cox_validation_loss(head: Head, fold: FoldInputs[SurvivalTargets]) -> float:
    """Return the cross-validated partial likelihood (Verweij and van Houwelingen 1993, Stat Med 12:2305), negative.

    l(training and validation) - l(training): a few validation patients alone have hardly an event to rank. Without
    training patients it is that of the validation patients by themselves.
    """

    def total(patients: Sequence[str], risks: Float64[np.ndarray, " n"]) -> float:
        sets = fold.targets.risk_sets(patients)
        return 0.0 if sets is None else loss(risks, sets) * sets.total_weight

    both = [*fold.train, *fold.val]
    risks = predict(head, fold.read, both)[:, 0]
    if not np.isfinite(risks).all():
        return float("nan")
    return float((total(both, risks) - total(fold.train, risks[: len(fold.train)])) / len(fold.val))


def _loss_of(targets: SurvivalTargets, patients: Sequence[str], risks: Float64[np.ndarray, " n"]) -> float:
    sets = targets.risk_sets(patients)
    return float("nan") if sets is None or not np.isfinite(risks).all() else loss(risks, sets)


def _exact_step(
    head: Head, optimiser: torch.optim.Optimizer, fold: FoldInputs[SurvivalTargets], rng: np.random.Generator
) -> float:
    """Take one step along the exact gradient of the whole cohort."""
    seeds = rng.integers(2**31, size=(len(fold.train), 2))
    optimiser.zero_grad()
    loss = cohort_gradient(head, fold, seeds)
    torch.nn.utils.clip_grad_norm_(head.parameters(), MAX_GRADIENT)
    optimiser.step()
    return loss


def cohort_gradient(head: Head, fold: FoldInputs[SurvivalTargets], seeds: Int[np.ndarray, "n 2"]) -> float:
    """Add the exact gradient of the whole cohort's Cox loss to the head's parameters, block by block.

    Args:
        head: in training mode.
        fold: its training patients are those of the partial likelihood.
        seeds: for each block (its first patient's row) the seeds of the drawn tiles and of dropout.

    Returns:
        The loss.
    """
    train, config = fold.train, fold.config

    def forward(start: int, block: list[str]) -> Tensor:
        bags = draw(fold.read, block, config.max_tiles, np.random.default_rng(seeds[start, 0]))
        torch.manual_seed(int(seeds[start, 1]))  # the same dropout in both passes
        return head.of_bags(bags)[:, 0]

    starts = range(0, len(train), config.batch_patients)
    blocks = list(in_blocks(train, config.batch_patients))
    with torch.no_grad():
        risks = np.concatenate(
            [forward(start, block).double().numpy() for start, block in zip(starts, blocks, strict=True)]
        )
    if not np.isfinite(risks).all():
        return float("nan")  # `fit` says what to do
    sets = fold.targets.risk_sets(train)
    assert sets is not None, "a fold has an event among its training patients"
    own, gradient = loss_and_gradient(risks, sets)
    coefficients = torch.from_numpy(gradient).float()
    for start, block in zip(starts, blocks, strict=True):
        (forward(start, block) * coefficients[start : start + len(block)]).sum().backward()
    return own
