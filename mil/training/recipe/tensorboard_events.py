"""The losses of every epoch as TensorBoard events, for whoever asks (--tensorboard): the one output with clock times.

TensorBoard is imported only then; nothing reads the events back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from common.failures import StudyError
from common.guards.own_files import own_folder, remove_own_files
from mil.runs.facts import FoldFacts

EVENTS = re.compile(r"events\.out\.tfevents\..+")


def check_installed() -> None:
    """Refuse before hours of training what cannot be written after them.

    Raises:
        StudyError: TensorBoard is not installed.
    """
    if find_spec("tensorboard") is None:
        raise StudyError("--tensorboard needs TensorBoard, which is not installed: pip install -e '.[tensorboard]'")


def write_events(folder: Path, folds: Sequence[FoldFacts], *, below: Path) -> None:
    """Write the events of every fold in a folder of its own, in the place of older ones.

    Args:
        folder: of the events.
        folds: with their epochs.
        below: the run's folder; a link in between is refused.
    """
    from torch.utils.tensorboard import SummaryWriter

    for fold in folds:
        own = own_folder(folder / f"repeat{fold.repeat}_fold{fold.fold}", below=below)
        remove_own_files(own, EVENTS)
        writer = SummaryWriter(log_dir=str(own))
        for epoch in fold.history:
            writer.add_scalar("loss/training", epoch.train_loss, epoch.epoch)
            if epoch.val_loss is not None:
                writer.add_scalar("loss/inner validation", epoch.val_loss, epoch.epoch)
        writer.close()
