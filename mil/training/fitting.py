"""Fitting one fold: a gated attention head on the bags of the training patients.

Subtype: class-balanced cross-entropy, a few patients a step. Survival: one step an epoch with the exact gradient of the
partial likelihood over all training patients, at the memory of one block of bags: risks first, then each block once more
with its patients' coefficients (the chain rule; same dropout in both passes). The inner validation part decides when to
stop, or, without one, training runs to its last epoch. No test patient is ever seen here.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from common.failures import StudyError
from mil.heads.gated_attention import GatedAttentionHead
from mil.heads.head import HeadShape
from mil.training.classification_task import subtype_epoch, subtype_validation
from mil.training.packed import ReadBag, standardise
from mil.training.survival_task import SURVIVAL_RATE, survival_epoch, survival_validation
from mil.training.targets import Targets
from mil.training.training_settings import TrainConfig


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
    step = survival_epoch if is_cox else subtype_epoch
    judge = survival_validation if is_cox else subtype_validation
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
    stopped_by = "fixed last epoch" if not val else "epoch limit" if epoch == config.epochs else "inner validation"
    return Fitted(head=head, best_epoch=best_epoch, stopped_by=stopped_by, history=tuple(history))
