"""How a head learns the chance of the event in each interval of time, and what its outputs say: `--loss logistic_hazard`.

The intervals and the log-odds of the cohort in each are learnt of the training patients of the head; its outputs are added to
these, so that a head that says nothing says what the life table does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64

from mil.heads.head import Head
from mil.survival.discrete_hazard import Exposure, exposure_of, log_mean_hazard, loss_and_gradient
from mil.training.packed import draw, predict
from mil.training.recipe.batches import stratified_batches
from mil.training.task import FoldInputs
from mil.training.time_to_event.cox_steps import MAX_GRADIENT
from mil.training.time_to_event.survival_targets import SurvivalTargets


def interval_epoch(
    head: Head, optimiser: torch.optim.Optimizer, fold: FoldInputs[SurvivalTargets], rng: np.random.Generator
) -> float:
    """Train one epoch, a step for every few patients, and return the mean loss a patient.

    The likelihood is a sum over patients, so that a step needs nobody to compare with; events are spread evenly over the steps.
    """
    targets, config = fold.targets.learnt_of(fold.train), fold.config
    total, weight = 0.0, 0.0
    for batch in stratified_batches(fold.train, targets.events, config.batch_patients, rng):
        exposure, weights = _known(targets, batch)
        if not weights.sum():
            continue
        outputs, extra = head.taught(draw(fold.read, batch, config.max_tiles, rng), None)
        said = outputs.detach().double().numpy()
        if not np.isfinite(said).all():
            return float("nan")
        own, gradient = loss_and_gradient(log_odds_of(said, targets), exposure, weights)
        optimiser.zero_grad()
        ((outputs * torch.from_numpy(gradient).to(outputs.dtype)).sum() + extra).backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), MAX_GRADIENT)
        optimiser.step()
        total, weight = total + own * float(weights.sum()), weight + float(weights.sum())
    return total / weight


def interval_validation_loss(head: Head, fold: FoldInputs[SurvivalTargets]) -> float:
    """Return the negative log-likelihood of the inner validation part, a patient, in the intervals of the training patients."""
    targets = fold.targets.learnt_of(fold.train)
    exposure, weights = _known(targets, fold.val)
    outputs = predict(head, fold.read, fold.val)
    if not np.isfinite(outputs).all():
        return float("nan")
    return loss_and_gradient(log_odds_of(outputs, targets), exposure, weights)[0] if weights.sum() else 0.0


def log_odds_of(outputs: Float[np.ndarray, "n k"], targets: SurvivalTargets) -> Float64[np.ndarray, "n k"]:
    """Return the log-odds of the event in each interval by a head's outputs."""
    assert targets.intervals is not None, "learnt of the training patients"
    return np.asarray(outputs, dtype=np.float64) + targets.intervals.base  # type: ignore[no-any-return]


def interval_risks(outputs: Float[np.ndarray, "n k"], targets: SurvivalTargets) -> Float64[np.ndarray, " n"]:
    """Return the one number that patients are ranked by (`log_mean_hazard`)."""
    return log_mean_hazard(log_odds_of(outputs, targets))


def _known(targets: SurvivalTargets, patients: Sequence[str]) -> tuple[Exposure, Float64[np.ndarray, " n"]]:
    """Return the intervals that count of each patient, and their weights."""
    assert targets.intervals is not None, "learnt of the training patients"
    time, event = targets.of(patients)
    entry = np.array([targets.entries[patient] for patient in patients]) if targets.entries else None
    weights = np.array([targets.weights.get(patient, 1.0) for patient in patients], dtype=np.float64)
    return exposure_of(time, event, targets.intervals.ends, entry), weights
