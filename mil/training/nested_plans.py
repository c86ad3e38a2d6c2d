"""How the result grows with the number of training patients: nested parts of each fold's training patients.

The inner validation part and the test part stay what they are, so only what is learned from differs. Each share is a run of
its own below learning_curve/, with its own models and records, so it goes on where it was stopped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.failures import StudyError
from common.own_files import remove_if_empty, remove_own_files
from mil.runs.run_store import CURVE, FOLLOW_UP, PREDICTIONS, VALIDATION, share_folder
from mil.training.cross_validation import FOLD_FILE
from mil.training.targets import Targets
from splits.fold_plan import FoldPlan

SHARE = re.compile(r"0\.\d+|\de-\d+|\d\.\d+e-\d+")
SHARE_TABLE = re.compile("|".join(map(re.escape, (PREDICTIONS, VALIDATION, FOLLOW_UP))))


def parse_shares(text: str | None) -> tuple[float, ...]:
    """Read shares of the training patients, such as "0.25,0.5".

    Raises:
        StudyError: one is no number between 0 and 1.
    """
    if text is None:
        return ()
    try:
        shares = sorted({float(part) for part in text.split(",") if part.strip()})
    except ValueError as error:
        raise StudyError(f"--learning_curve wants shares with commas, such as 0.25,0.5,0.75, got {text!r}") from error
    if not shares or not all(0 < share < 1 for share in shares):
        raise StudyError(f"--learning_curve wants shares between 0 and 1 (1 is the run itself), got {text!r}")
    return tuple(shares)


def nested_plan(plan: FoldPlan, targets: Targets, share: float, seed: int) -> FoldPlan:
    """Return a fold with a share of its training patients, of every class (or of events and the censored) alike.

    A smaller share is part of every larger one, and each class keeps at least one patient.
    """
    rng = np.random.default_rng([seed, plan.repeat, plan.fold, 83])
    code = targets.labels or targets.events
    kept: list[str] = []
    for stratum in sorted({code[patient] for patient in plan.train}):
        own = [patient for patient in plan.train if code[patient] == stratum]
        order = rng.permutation(len(own))
        kept += [own[index] for index in order[: max(1, round(share * len(own)))]]
    return replace(plan, train=tuple(sorted(kept)))


def drop_other_shares(run_dir: Path, shares: Sequence[float]) -> None:
    """Remove the parts of a learning curve that are no longer wanted."""
    wanted, curve = {share_folder(run_dir, share).name for share in shares}, run_dir / CURVE
    if curve.is_symlink():
        return  # what lies behind a link is not ours; where shares are wanted, it is refused
    for folder in sorted(curve.glob("*")):
        if folder.name not in wanted and SHARE.fullmatch(folder.name) and not folder.is_symlink():
            remove_own_files(folder / "models", FOLD_FILE)
            remove_if_empty(folder / "models")
            remove_own_files(folder, SHARE_TABLE)
            remove_if_empty(folder)
    remove_if_empty(curve)
