"""Nested parts of each fold's training patients, to see how the result grows with their number.

The inner validation part and the test part stay what they are, so only what is learned from differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from common.failures import StudyError
from splits.fold_plan import FoldPlan


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


def nested_plan(plan: FoldPlan, strata: Mapping[str, int], share: float, seed: int) -> FoldPlan:
    """Return a fold with a share of its training patients, of every stratum (class, or event and censored) alike.

    A smaller share is part of every larger one, and each stratum keeps at least one patient.
    """
    rng = np.random.default_rng([seed, plan.repeat, plan.fold, 83])
    kept: list[str] = []
    for stratum in sorted({strata[patient] for patient in plan.train}):
        own = [patient for patient in plan.train if strata[patient] == stratum]
        order = rng.permutation(len(own))
        kept += [own[index] for index in order[: max(1, round(share * len(own)))]]
    return replace(plan, train=tuple(sorted(kept)))
