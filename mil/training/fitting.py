"""Fitting one fold: a head on the bags of its training patients, by the epochs of its task, over a fixed schedule.

All epochs are run and the last weights are kept. Only where it is asked for (`patience`) does an inner validation part choose
among the later epochs. No test patient is ever seen here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from common.failures import StudyError
from mil.heads.head import Head
from mil.heads.registry import make_head
from mil.runs.facts import Epoch
from mil.training.packed import standardise
from mil.training.recipe.epoch_store import EpochKeeper, Progress
from mil.training.recipe.learning import check_learnt, loss_of_training
from mil.training.recipe.schedule import EPOCHS, first_choice, rate_at
from mil.training.task import FoldInputs, FollowsCohort, TrainingTask, learnt_targets
from mil.training.training_settings import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A trained head and how the training went."""

    head: Head
    best_epoch: int  # whose weights it has: the last one, unless inner validation chose
    stopped_by: str
    history: tuple[Epoch, ...]
    untrained_loss: float  # on the training patients, see recipe/learning.py
    trained_loss: float


def fit(
    task: TrainingTask[Any], fold: FoldInputs[Any], *, seed: Sequence[int], keeper: EpochKeeper | None = None
) -> Fitted:
    """Train a head, or go on where a killed training of it came to.

    Args:
        task: how to learn.
        fold: whom to learn from, and the settings.
        seed: the fold's own seeds.
        keeper: keeps the state between epochs; None: a killed training begins anew.

    Raises:
        ValueError: a class without training patient, or no event among them.
        StudyError: the loss became infinite, or did not fall.
    """
    config = fold.config.with_widths(task.hidden)
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(mode=True)
    rng = np.random.default_rng(seed)
    torch.manual_seed(int(rng.integers(2**31)))
    fold = replace(fold, config=config, targets=learnt_targets(task, fold.targets, fold.train))
    n_inputs = fold.read(fold.train[0]).tiles.shape[1]
    head = make_head(config.head, config, n_inputs=n_inputs, n_outputs=task.n_outputs(fold.targets))
    standardise(head, fold.read, fold.train)
    head.prepare(lambda patient: fold.read(patient).tiles, fold.train, rng)
    before = loss_of_training(task, head, fold)
    n_epochs = epochs_of(task, config, len(fold.train))
    rate = config.learning_rate * task.learning_rate_factor
    optimiser = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=config.weight_decay, fused=True)
    progress = Progress() if keeper is None else keeper.restore(head, optimiser, rng)
    while not progress.is_over(n_epochs, config.patience):
        progress = _next_epoch(task, fold, progress, (head, optimiser, rng), n_epochs=n_epochs)
        if keeper is not None:
            is_over = progress.is_over(n_epochs, config.patience)
            keeper.offer(progress, head, optimiser, rng, is_over=is_over)
    if progress.best is not None:
        head.load_state_dict(progress.best)
    epoch = progress.epoch
    kept = progress.best_epoch or epoch
    head.eval()
    after = loss_of_training(task, head, fold)
    check_learnt(head, fold, before, after, kept=f"epoch {kept} of {n_epochs}")
    stopped_by = "fixed last epoch" if not fold.val else "epoch limit" if epoch == n_epochs else "inner validation"
    return Fitted(
        head=head, best_epoch=kept, stopped_by=stopped_by, history=progress.history, untrained_loss=before,
        trained_loss=after,
    )  # fmt: skip


def _next_epoch(
    task: TrainingTask[Any], fold: FoldInputs[Any], progress: Progress,
    trained: tuple[Head, torch.optim.Optimizer, np.random.Generator], *, n_epochs: int,
) -> Progress:  # fmt: skip
    """Train one more epoch at its own rate, and return the progress."""
    head, optimiser, rng = trained
    epoch, config = progress.epoch + 1, fold.config
    for group in optimiser.param_groups:
        group["lr"] = config.learning_rate * task.learning_rate_factor * rate_at(epoch, n_epochs)
    head.train()
    head.progress = (epoch - 1) / n_epochs
    train_loss = task.train_epoch(head, optimiser, fold, rng)
    val_loss = task.validation_loss(head, fold) if fold.val else None
    _check_sound(head, epoch, train_loss, val_loss, learning_rate=config.learning_rate)
    measured = Epoch(epoch=epoch, train_loss=train_loss, val_loss=val_loss)
    return progress.after(measured, head, may_choose=bool(config.patience) and epoch >= first_choice(n_epochs))


def epochs_of(task: TrainingTask[Any], config: TrainConfig, n_train: int) -> int:
    """Return how many epochs are run: what the user named, else what follows from the number of training patients."""
    if config.epochs:
        return config.epochs
    return task.epochs_for(n_train, config) if isinstance(task, FollowsCohort) else EPOCHS


def _check_sound(head: Head, epoch: int, train_loss: float, val_loss: float | None, *, learning_rate: float) -> None:
    is_sound = all(bool(torch.isfinite(weights).all()) for weights in head.parameters())
    if not (is_sound and np.isfinite(train_loss) and (val_loss is None or np.isfinite(val_loss))):
        raise StudyError(
            f"training diverged in epoch {epoch} (loss {train_loss:g}); give a smaller --learning_rate than "
            f"{learning_rate:g}"
        )
