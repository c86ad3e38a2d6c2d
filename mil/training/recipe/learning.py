"""Whether a head learnt anything: its loss on the patients it was trained on, before and after.

Losses are without dropout and of the same tiles of each bag (all, or as many as an epoch draws, evenly spaced), so that they can
be compared; passes over whole large bags would cost a third of a training. A head whose loss did not fall, or that says the same
of everybody, is a failure with a name: it would pass for a result, since a mean over the tiles in random directions is not at
chance.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from common.failures import StudyError
from mil.bags.bags import Bag
from mil.heads.head import Head
from mil.training.packed import ReadBag, predict
from mil.training.task import FoldInputs, TrainingTask

LEAST_FALL = 1e-4  # of the loss without training
LEAST_SPREAD = 1e-3  # between the outputs of two patients, logits or log-hazards


def loss_of_training(task: TrainingTask[Any], head: Head, fold: FoldInputs[Any]) -> float:
    """Return a head's loss on the training patients of a fold, of `looked_at` tiles."""
    return task.validation_loss(head, replace(fold, read=looked_at(fold), train=(), val=fold.train))


def looked_at(fold: FoldInputs[Any]) -> ReadBag:
    """Return a reader of the bags of a fold with at most `max_tiles` evenly spaced tiles each: all slides have their share."""
    most = fold.config.max_tiles

    def read(patient: str) -> Bag:
        bag = fold.read(patient)
        n = len(bag.tiles)
        return bag if n <= most else bag.with_tiles(np.arange(most) * n // most)

    return read


def check_learnt(head: Head, fold: FoldInputs[Any], before: float, after: float, *, kept: str) -> None:
    """Refuse a head whose loss did not fall, or that says the same of all its training patients.

    Args:
        head: as trained.
        fold: what it was trained on.
        before: the loss of the untrained head on the training patients.
        after: the loss of the head.
        kept: the epoch of its weights, in words.

    Raises:
        StudyError: says both losses and what to look at.
    """
    outputs = predict(head, looked_at(fold), fold.train)
    is_alike = len(outputs) > 1 and (outputs.max(axis=0) - outputs.min(axis=0)).max() < LEAST_SPREAD
    if is_alike or not after < before - LEAST_FALL * abs(before):
        found = "it says the same of every patient, and " if is_alike else ""
        raise StudyError(
            f"the head learnt nothing: {found}its loss on its own training patients is {after:.4f} with the weights of "
            f"{kept}, {before:.4f} untrained. It is no result. Give a larger --learning_rate or more "
            "--epochs; if that changes nothing, look at whether the features of all patients are alike"
        )
