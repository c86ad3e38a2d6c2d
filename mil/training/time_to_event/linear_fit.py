"""The linear head of a survival task fitted exactly: Cox regression on the mean of each patient's tiles, by Newton's method.

A linear head on one vector a patient is Cox regression, whose loss is convex: steps with a rate and a schedule would only come near
to what Newton's method finds. Without a penalty (`--ridge 0`) it equals Cox regression; else the weights of the standardised
inputs have a normal prior.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from common.failures import StudyError
from mil.heads.head import Head
from mil.heads.library.linear import LinearHead
from mil.survival.ridge_regression import ridge_coefficients
from mil.training.packed import ReadBag
from mil.training.task import FoldInputs
from mil.training.time_to_event.survival_targets import SurvivalTargets

MAX_LOG_HAZARD_SPAN = 50.0  # beyond it there is nothing that holds the weights


def is_linear(name: str) -> bool:
    """Return whether a head of this name is the linear one."""
    return name == LinearHead.name


def fit_linear(head: Head, fold: FoldInputs[SurvivalTargets]) -> None:
    """Set the weights of a linear head to the optimum of its (penalised) partial likelihood.

    Args:
        head: the linear head, its inputs standardised by the training patients.
        fold: whom to learn from; `ridge` of its settings is the penalty, None one for each input.

    Raises:
        StudyError: without a penalty there is no optimum.
    """
    assert isinstance(head, LinearHead), "only the linear head is fitted so"
    sets = fold.targets.risk_sets(fold.train)
    assert sets is not None, "a fold has an event among its training patients"
    inputs = _means(head, fold.read, fold.train)
    ridge = float(head.n_inputs) if fold.config.ridge is None else fold.config.ridge
    weights = ridge_coefficients(inputs, sets, ridge)
    span = float(np.ptp(inputs @ weights))
    if not ridge and not span < MAX_LOG_HAZARD_SPAN:
        raise StudyError(
            f"Cox regression on {head.n_inputs} inputs of {len(fold.train)} patients with {len(sets.events)} events has no "
            "optimum: the inputs tell the order of all events; give a --ridge above 0, or leave it out"
        )
    with torch.no_grad():
        head.output.weight.copy_(torch.from_numpy(weights)[None].float())
        # the level is left open by the likelihood: a mean of 0 keeps single precision fine
        head.output.bias.fill_(-float((inputs @ weights).mean()))


def _means(head: LinearHead, read: ReadBag, patients: Sequence[str]) -> np.ndarray:
    with torch.inference_mode():
        rows = [head.mean_of_bag(torch.from_numpy(read(patient).tiles)).double().numpy() for patient in patients]
    return np.stack(rows)
