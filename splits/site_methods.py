"""Folds that keep sites whole: site-preserved and leave-one-site-out, with the classes they cannot spread named.

A site is never divided. A class that lives at fewer sites than there are folds is absent from some test parts (pooled out of
fold it is evaluated all the same); one that lives at a single site is absent from the training part of the fold that tests
it, and training on the subtype refuses that fold. Both are named in the record. `auto` keeps sites whole only where every
class, without its largest site, leaves patients enough to train on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from common.cohort import Cohort
from common.failures import StudyError
from splits.cohort_strata import NOT_NAMED, categories, strata_of
from splits.folds import Fold, Strata, inner_sets, named_sets
from splits.site_folds import assign_sites, best_bound, inner_sites
from splits.split_settings import SplitConfig

if TYPE_CHECKING:
    import pandas as pd

MAX_NAMED = 10
LARGE_FOLD = 1.5  # times the even share: named
MIN_LEFT = 3  # patients of a class without its largest site: enough for training and an inner validation part


def site_obstacle(patients: pd.DataFrame, n_folds: int) -> str | None:
    """Return why sites cannot be kept whole with every class in every training part, or None where they can."""
    hard = _hard_obstacle(patients)
    if hard is not None:
        return hard
    n_sites = patients["site"].nunique()
    if n_sites < n_folds:
        return f"{n_sites} site(s) cannot fill {n_folds} folds"
    scarce = []
    for each in classes_at_few_sites(patients, len(patients) + 1):
        left = sum(each["sites"].values()) - max(each["sites"].values())
        if left < MIN_LEFT:
            scarce.append(f"{_lives_at(each)}; without the largest, {left} patient(s) are left to train on")
    return "; ".join(scarce) or None


def _hard_obstacle(patients: pd.DataFrame) -> str | None:
    if "site" not in patients.columns:
        return "the table has no column site"
    unknown = sorted(patients.index[patients["site"].isna()])
    if unknown:
        return f"{len(unknown)} patient(s) have no site: {', '.join(unknown[:5])}{' ...' if len(unknown) > 5 else ''}"
    return None


def classes_at_few_sites(patients: pd.DataFrame, n_folds: int) -> list[dict[str, Any]]:
    """Return the classes, and the events of a survival study, that live at fewer sites than there are folds."""
    found = []
    for name, members in categories(patients).items():
        at = patients.loc[members, "site"].value_counts().sort_index()
        if name not in NOT_NAMED and 0 < len(at) < n_folds:
            found.append({"class": name, "sites": {str(site): int(count) for site, count in at.items()}})
    return found


def _lives_at(each: Mapping[str, Any]) -> str:
    sites = ", ".join(f"{site} ({count})" for site, count in list(each["sites"].items())[:MAX_NAMED])
    sites += " ..." if len(each["sites"]) > MAX_NAMED else ""
    return f"{each['class']} lives at {len(each['sites'])} site(s): {sites}"


def _site_counts(cohort: Cohort) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the sites, the site of each patient, and patients of each category at each site."""
    patients = cohort.patients
    obstacle = _hard_obstacle(patients)
    if obstacle is not None:
        raise StudyError(f"{cohort.path}: sites cannot be kept whole: {obstacle}; add sites, or use --method k_fold")
    names, site_of = np.unique(patients["site"].to_numpy(dtype=str), return_inverse=True)
    counts = np.stack(
        [np.bincount(site_of[mask], minlength=len(names)) for mask in categories(patients).values()], axis=1
    )
    return [str(name) for name in names], site_of.astype(np.int64), counts.astype(np.int64)


def site_preserved(cohort: Cohort, config: SplitConfig) -> tuple[list[Fold], dict[str, Any]]:
    """Deal whole sites to folds (see site_folds.py).

    Raises:
        StudyError: a patient without site, or fewer sites than folds.
    """
    names, site_of, counts = _site_counts(cohort)
    if len(names) < config.folds:
        raise StudyError(
            f"{cohort.path}: {len(names)} site(s) cannot fill {config.folds} folds; use --folds {max(2, len(names))}, "
            f"--method leave_one_site_out, or --method k_fold"
        )
    bound = best_bound(counts, config.folds)
    folds: list[Fold] = []
    by_patient: list[list[int]] = []
    assigned = [
        assign_sites(counts, config.folds, np.random.default_rng([config.seed, repeat, 2]), bound=bound)
        for repeat in range(config.repeats)
    ]
    for repeat, assignment in enumerate(assigned):
        made, dealt = _site_fold_sets(cohort, config, site_of, assignment.fold_of_site, repeat)
        folds, by_patient = folds + made, by_patient + dealt
    worst = max(assigned, key=lambda each: each.cost)
    facts = {
        "sites": {
            "n": len(names), "objective": [each.cost for each in assigned], "bound": worst.bound,
            "gap": round(worst.gap, 6), "bound_from": worst.bound_source,
            "fold_of_site": [dict(zip(names, each.fold_of_site.tolist(), strict=True)) for each in assigned],
        },
        **_named(cohort.patients, folds, config, by_patient),
    }  # fmt: skip
    return folds, facts


def leave_one_site_out(cohort: Cohort, config: SplitConfig) -> tuple[list[Fold], dict[str, Any]]:
    """Make every site the test part of one fold; sites in the order of their names.

    Raises:
        StudyError: a patient without site, or fewer than two sites.
    """
    names, site_of, _ = _site_counts(cohort)
    if len(names) < 2:
        raise StudyError(f"{cohort.path}: all patients are of one site, {names[0]}; use --method k_fold")
    folds, by_patient = _site_fold_sets(cohort, config, site_of, np.arange(len(names)), 0)
    facts = {"sites": {"n": len(names), "fold_of_site": [{name: fold for fold, name in enumerate(names)}]}}
    return folds, facts | _named(cohort.patients, folds, config, by_patient)


def _site_fold_sets(
    cohort: Cohort, config: SplitConfig, site_of: np.ndarray, fold_of_site: np.ndarray, repeat: int
) -> tuple[list[Fold], list[list[int]]]:
    """Return the folds of one repeat, and those whose inner validation part had to divide sites."""
    strata = strata_of(cohort.patients)
    masks = list(categories(cohort.patients).values())
    folds: list[Fold] = []
    by_patient = []
    for fold in range(int(fold_of_site.max()) + 1):
        is_test = fold_of_site[site_of] == fold
        sets = _inner_by_site(strata, site_of, is_test, masks, config, [config.seed, repeat, fold, 1])
        if sets is None:
            sets = inner_sets(strata, is_test, config.val_fraction, [config.seed, repeat, fold, 1])
            by_patient.append([repeat, fold])
        folds.append((repeat, fold, sets))
    return folds, by_patient


def _inner_by_site(
    strata: Strata, site_of: np.ndarray, is_test: np.ndarray, masks: Sequence[np.ndarray], config: SplitConfig,
    seed: Sequence[int],
) -> np.ndarray | None:  # fmt: skip
    if config.val_fraction == 0:
        return named_sets(is_test, np.zeros(len(strata), dtype=bool))
    n_sites = int(site_of.max()) + 1
    counts = np.stack([np.bincount(site_of[mask & ~is_test], minlength=n_sites) for mask in masks], axis=1)
    training = np.flatnonzero(np.isin(np.arange(n_sites), site_of[~is_test]))
    chosen = inner_sites(counts[training].astype(np.int64), config.val_fraction, np.random.default_rng(seed))
    if chosen is None:
        return None
    return named_sets(is_test, np.isin(site_of, training[chosen]) & ~is_test)


def _named(
    patients: pd.DataFrame, folds: Sequence[Fold], config: SplitConfig, by_patient: list[list[int]]
) -> dict[str, Any]:
    """Return what the record names: classes at few sites, large folds, inner validation parts that divide sites."""
    n_needed = 2 if config.method == "leave_one_site_out" else config.folds
    masks, few = categories(patients), classes_at_few_sites(patients, n_needed)
    notes: list[str] = []
    for each in few:
        members = masks[each["class"]]
        each["folds_without_test"] = [[r, f] for r, f, sets in folds if not (members & (sets == "test")).any()]
        each["folds_without_training"] = [[r, f] for r, f, sets in folds if not (members & (sets != "test")).any()]
        text = f"{_lives_at(each)}; {len(each['folds_without_test'])} fold(s) test none of it"
        if each["folds_without_training"]:
            where = ", ".join(f"repeat {r} fold {f}" for r, f in each["folds_without_training"])
            text += (
                f"; {where} has none to train on, so a subtype model cannot be trained there: leave the class out "
                "(--where), unite it with another, or use --method k_fold"
            )
        notes.append(text)
    n_folds = len({fold for _, fold, _ in folds})
    sizes = {(repeat, fold): int((sets == "test").sum()) for repeat, fold, sets in folds}
    (repeat, fold), size = max(sizes.items(), key=lambda item: (item[1], item[0]))
    if config.method != "leave_one_site_out" and size > LARGE_FOLD * len(patients) / n_folds:
        notes.append(
            f"repeat {repeat} fold {fold} tests {size} of {len(patients)} patients, since one site is that large: its model "
            f"learns from {len(patients) - size} only"
        )
    if by_patient:
        named = ", ".join(f"repeat {r} fold {f}" for r, f in by_patient[:10]) + (" ..." if len(by_patient) > 10 else "")
        notes.append(f"no choice of whole sites makes a sound inner validation part; drawn by patient in {named}")
    inner = "none" if config.val_fraction == 0 else "patients" if len(by_patient) == len(folds) else "sites"
    return {
        "classes_at_few_sites": few, "inner_validation": {"by": inner, "by_patient_in": by_patient}, "notes": notes,
    }  # fmt: skip
