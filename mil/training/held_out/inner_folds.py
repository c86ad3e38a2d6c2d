"""The training patients of a fold dealt to inner folds; the test patients stand in none of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from splits.fold_plan import FoldPlan


def inner_folds(
    plan: FoldPlan, strata: Mapping[str, int], n_folds: int, seed: int, owners: Mapping[str, str] = MappingProxyType({})
) -> list[FoldPlan]:
    """Return plans whose `val` are the held out and whose `train` are the other training patients; nobody is tested.

    Every stratum (class, or event and censored) is dealt evenly. A stratum with one patient is never held out, so that every
    inner model knows every class, and has an event. With fewer than two patients to hold out there are no inner folds.

    Args:
        plan: the fold.
        strata: of its training patients, or slides where bags are slides.
        n_folds: wanted.
        seed: of the dealing.
        owners: slide to patient, where bags are slides: all slides of a patient are held out together.
    """
    rng = np.random.default_rng([seed, plan.repeat, plan.fold, 59])
    bags_of: dict[str, list[str]] = {}
    for bag in plan.train:
        bags_of.setdefault(owners.get(bag, bag), []).append(bag)
    sizes = Counter(strata[bag] for bag in plan.train)
    # a patient of slides of several kinds stands for the rarest
    stratum_of = {
        patient: min((strata[bag] for bag in own), key=lambda k: (sizes[k], k)) for patient, own in bags_of.items()
    }
    dealt: list[str] = []
    for stratum in sorted(set(stratum_of.values())):
        own = [patient for patient in bags_of if stratum_of[patient] == stratum]
        if len(own) > 1:
            dealt += [own[index] for index in rng.permutation(len(own))]
    n_folds = min(n_folds, len(dealt))
    if n_folds < 2:
        return []
    parts = [{bag for patient in dealt[start::n_folds] for bag in bags_of[patient]} for start in range(n_folds)]
    return [
        replace(plan, train=tuple(p for p in plan.train if p not in part), val=tuple(sorted(part)), test=())
        for part in parts
    ]
