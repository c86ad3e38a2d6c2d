"""The training patients of a fold dealt to inner folds; the test patients stand in none of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from splits.fold_plan import FoldPlan


def inner_folds(plan: FoldPlan, strata: Mapping[str, int], n_folds: int, seed: int) -> list[FoldPlan]:
    """Return plans whose `val` are the held out and whose `train` are the other training patients; nobody is tested.

    Every stratum (class, or event and censored) is dealt evenly. A stratum with one patient is never held out, so that every
    inner model knows every class, and has an event. With fewer than two patients to hold out there are no inner folds.

    Args:
        plan: the fold.
        strata: of its training patients.
        n_folds: wanted.
        seed: of the dealing.
    """
    rng = np.random.default_rng([seed, plan.repeat, plan.fold, 59])
    dealt: list[str] = []
    for stratum in sorted({strata[patient] for patient in plan.train}):
        own = [patient for patient in plan.train if strata[patient] == stratum]
        if len(own) > 1:
            dealt += [own[index] for index in rng.permutation(len(own))]
    n_folds = min(n_folds, len(dealt))
    if n_folds < 2:
        return []
    parts = [tuple(sorted(dealt[start::n_folds])) for start in range(n_folds)]
    return [
        replace(plan, train=tuple(p for p in plan.train if p not in set(part)), val=part, test=()) for part in parts
    ]
