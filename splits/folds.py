"""Patients to folds: stratified, repeated, with an inner validation part; a patient is never on two sides.

Pure: codes and generators in, fold numbers out. Patients are dealt like cards, class by class and inside a class by
event, so class counts differ by at most one between folds, and so do fold sizes.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

MIN_PATIENTS_TO_SHARE = 3  # a class with fewer training patients gives none to the inner validation part


def deal(strata: Int[np.ndarray, "n keys"], n_parts: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Return a part (0 to n_parts - 1) for each patient.

    Args:
        strata: codes of each patient, the most important first (class, then event); equal rows are one stratum.
        n_parts: how many parts, at least 1.
        rng: decides who goes where inside a stratum.

    Counts of the first code differ by at most one between parts, as do the sizes of the parts.
    """
    if n_parts < 1:
        raise ValueError(f"patients are dealt to at least 1 part, got {n_parts}")
    n_patients = len(strata)
    chance = rng.permutation(n_patients)
    order = np.lexsort((chance, *strata.T[::-1]))
    part_of_position = rng.permutation(n_parts)[np.arange(n_patients) % n_parts]
    parts = np.empty(n_patients, dtype=np.int64)
    parts[order] = part_of_position
    return parts


def inner_validation(
    strata: Int[np.ndarray, "n keys"],
    is_train: Bool[np.ndarray, " n"],
    fraction: float,
    rng: np.random.Generator,
) -> Bool[np.ndarray, " n"]:
    """Choose the inner validation part out of the training patients.

    Args:
        strata: as in `deal`; a class (first code) with fewer than 3 training patients gives none away.
        is_train: the patients to choose from.
        fraction: share of the training patients, 0 (none) to 0.5.
        rng: the generator.
    """
    if not 0 <= fraction <= 0.5:
        raise ValueError(f"the inner validation part is a fraction from 0 to 0.5, got {fraction}")
    is_val = np.zeros(len(strata), dtype=bool)
    if fraction == 0:
        return is_val
    classes, counts = np.unique(strata[is_train, 0], return_counts=True)
    shared = classes[counts >= MIN_PATIENTS_TO_SHARE]
    candidates = np.flatnonzero(is_train & np.isin(strata[:, 0], shared))
    parts = deal(strata[candidates], max(2, round(1 / fraction)), rng)
    is_val[candidates[parts == 0]] = True
    return is_val


def k_fold_sets(
    strata: Int[np.ndarray, "n keys"], *, n_folds: int, n_repeats: int, val_fraction: float, seed: int
) -> list[tuple[int, int, np.ndarray]]:
    """Return (repeat, fold, set of each patient) for every fold; sets are "train", "val" and "test".

    In each repeat every patient is in the test set of exactly one fold.

    Raises:
        ValueError: fewer than 2 folds, or fewer patients than folds.
    """
    if n_folds < 2:
        raise ValueError(f"cross-validation needs at least 2 folds, got {n_folds}")
    if len(strata) < n_folds:
        raise ValueError(f"{len(strata)} patients cannot fill {n_folds} folds")
    folds = []
    for repeat in range(n_repeats):
        fold_of = deal(strata, n_folds, np.random.default_rng([seed, repeat]))
        for fold in range(n_folds):
            is_test = fold_of == fold
            rng = np.random.default_rng([seed, repeat, fold, 1])
            folds.append((repeat, fold, _named(is_test, inner_validation(strata, ~is_test, val_fraction, rng))))
    return folds


def given_sets(
    strata: Int[np.ndarray, "n keys"], given: Sequence[str], *, val_fraction: float, seed: int
) -> list[tuple[int, int, np.ndarray]]:
    """Return the one fold that a table's own sets make; without "val" patients an inner part is dealt from "train"."""
    names = np.asarray(given)
    is_test, is_val = names == "test", names == "val"
    if not is_val.any():
        is_val = inner_validation(strata, names == "train", val_fraction, np.random.default_rng([seed, 0, 0, 1]))
    return [(0, 0, _named(is_test, is_val))]


def _named(is_test: Bool[np.ndarray, " n"], is_val: Bool[np.ndarray, " n"]) -> np.ndarray:
    return np.where(is_test, "test", np.where(is_val, "val", "train"))
