"""Patients to folds: stratified, repeated, with an inner validation part; a patient is never on two sides.

Pure: codes and generators in, sets out. Patients are dealt like cards, class by class, inside a class by event, inside that
by time, so counts of a class, and of a class's events, differ by at most one between folds, and so do fold sizes.

The outer dealing looks at the labels and times of all patients, since it only says who goes where. The inner validation
part is training: its time quantiles come from the fold's own training patients.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

MIN_PATIENTS_TO_SHARE = 3  # a class with fewer training patients gives none to the inner validation part
DEALINGS = 20  # tried to even out events over all classes
QUANTILES = (0.25, 0.5, 0.75)  # of the event times: the time strata of a survival study
TRAIN, VAL, TEST = "train", "val", "test"

Fold = tuple[int, int, np.ndarray]  # repeat, fold, set of each patient


@dataclass(frozen=True, kw_only=True)
class Strata:
    """What is kept even between parts, most important first: class, then event, then time."""

    classes: Int64[np.ndarray, " n"]  # codes from 0; all 0 where there are no classes
    events: Int64[np.ndarray, " n"]  # 1 event, 0 censored, -1 unknown; all -1 where there is no survival
    times: Float64[np.ndarray, " n"]  # NaN where unknown

    def __len__(self) -> int:
        return len(self.classes)

    def codes(self, reference: Bool[np.ndarray, " n"]) -> Int64[np.ndarray, "n 3"]:
        """Return class, event and time bin of each patient; the bins' edges come from the reference patients alone."""
        return np.stack([self.classes, self.events, time_bins(self.times, self.events, reference)], axis=1)


def time_bins(
    times: Float64[np.ndarray, " n"], events: Int64[np.ndarray, " n"], reference: Bool[np.ndarray, " n"]
) -> Int64[np.ndarray, " n"]:
    """Return the quarter each time falls into, of the event times of the reference patients; -1 for unknown times."""
    known = times[reference & (events == 1) & np.isfinite(times)]
    edges = np.quantile(known, QUANTILES) if len(known) else np.empty(0)
    return np.where(np.isfinite(times), np.searchsorted(edges, times, side="left"), -1).astype(np.int64)


def _shuffled_by_stratum(strata: Int[np.ndarray, "n keys"], rng: np.random.Generator) -> Int64[np.ndarray, " n"]:
    """Return the patients' positions, stratum after stratum, in random order inside each.

    Classes come in random order and every other one runs backwards, so that the events of two of them lie side by side.
    """
    if not strata.shape[1]:
        return rng.permutation(len(strata))
    classes = np.unique(strata[:, 0], return_inverse=True)[1]
    place = rng.permutation(classes.max(initial=0) + 1)[classes]
    inner = np.where(place % 2, -1, 1)[:, None] * strata[:, 1:]
    return np.lexsort((rng.permutation(len(strata)), *inner.T[::-1], place))


def deal(strata: Int[np.ndarray, "n keys"], n_parts: int, rng: np.random.Generator) -> Int64[np.ndarray, " n"]:
    """Return a part (0 to n_parts - 1) for each patient.

    Args:
        strata: codes of each patient, the most important first (class, then event); equal rows are one stratum.
        n_parts: how many parts, at least 1.
        rng: decides who goes where inside a stratum.

    Counts of each value of the first code, of the first two, and so on, differ by at most one between parts, as do the
    sizes of the parts. Of several such dealings that is taken in which the second code (the event) is most even by itself.
    """
    if n_parts < 1:
        raise ValueError(f"patients are dealt to at least 1 part, got {n_parts}")
    best, best_spread = np.empty(0, dtype=np.int64), np.inf
    for _ in range(DEALINGS if strata.shape[1] > 1 else 1):
        parts = np.empty(len(strata), dtype=np.int64)
        order = _shuffled_by_stratum(strata, rng)
        parts[order] = rng.permutation(n_parts)[np.arange(len(strata)) % n_parts]
        spread = _spread(strata[:, 1], parts, n_parts) if strata.shape[1] > 1 else 0
        if spread < best_spread:
            best, best_spread = parts, spread
    return best


def _spread(codes: Int[np.ndarray, " n"], parts: Int64[np.ndarray, " n"], n_parts: int) -> int:
    """Return the largest difference between parts in the count of any code."""
    counts = [np.bincount(parts[codes == code], minlength=n_parts) for code in np.unique(codes)]
    return max((int(own.max() - own.min()) for own in counts), default=0)


def draw(strata: Int[np.ndarray, "n keys"], fraction: float, rng: np.random.Generator) -> Bool[np.ndarray, " n"]:
    """Choose a fraction of the patients by systematic sampling, stratum after stratum (Madow 1949).

    The number drawn from each stratum of `deal` is less than one away from the fraction of its size.
    """
    order = _shuffled_by_stratum(strata, rng)
    steps = np.floor(rng.random() + fraction * np.arange(len(strata) + 1))
    is_drawn = np.zeros(len(strata), dtype=bool)
    is_drawn[order[np.diff(steps) > 0]] = True
    return is_drawn


def inner_validation(
    strata: Strata, is_train: Bool[np.ndarray, " n"], fraction: float, rng: np.random.Generator
) -> Bool[np.ndarray, " n"]:
    """Choose the inner validation part out of the training patients.

    Args:
        strata: a class with fewer than 3 training patients gives none away; time bins come from the training patients.
        is_train: the patients to choose from.
        fraction: share of the training patients, 0 (none: training runs to a fixed last epoch) to 0.5.
        rng: the generator.
    """
    if not 0 <= fraction <= 0.5:
        raise ValueError(f"the inner validation part is a fraction from 0 to 0.5, got {fraction}")
    is_val = np.zeros(len(strata), dtype=bool)
    classes, counts = np.unique(strata.classes[is_train], return_counts=True)
    shared = classes[counts >= MIN_PATIENTS_TO_SHARE]
    candidates = np.flatnonzero(is_train & np.isin(strata.classes, shared))
    if fraction > 0 and len(candidates):
        is_val[candidates[draw(strata.codes(is_train)[candidates], fraction, rng)]] = True
    return is_val


def k_fold_sets(strata: Strata, *, n_folds: int, n_repeats: int, val_fraction: float, seed: int) -> list[Fold]:
    """Return (repeat, fold, set of each patient) for every fold; sets are "train", "val" and "test".

    In each repeat every patient is in the test set of exactly one fold.

    Raises:
        ValueError: fewer than 2 folds, or fewer patients than folds.
    """
    if n_folds < 2:
        raise ValueError(f"cross-validation needs at least 2 folds, got {n_folds}")
    if len(strata) < n_folds:
        raise ValueError(f"{len(strata)} patients cannot fill {n_folds} folds")
    codes = strata.codes(np.ones(len(strata), dtype=bool))
    folds: list[Fold] = []
    for repeat in range(n_repeats):
        fold_of = deal(codes, n_folds, np.random.default_rng([seed, repeat]))
        for fold in range(n_folds):
            is_test = fold_of == fold
            folds.append((repeat, fold, inner_sets(strata, is_test, val_fraction, [seed, repeat, fold, 1])))
    return folds


def monte_carlo_sets(
    strata: Strata, *, n_draws: int, test_fraction: float, val_fraction: float, seed: int
) -> list[Fold]:
    """Return independent random divisions, each a repeat of one fold; a patient may be tested in none or in several.

    Raises:
        ValueError: the fraction is not between 0 and 1, or leaves no patient to test or to train on.
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"the test part is a fraction between 0 and 1, got {test_fraction}")
    codes = strata.codes(np.ones(len(strata), dtype=bool))
    folds: list[Fold] = []
    for repeat in range(n_draws):
        is_test = draw(codes, test_fraction, np.random.default_rng([seed, repeat, 3]))
        if is_test.all() or not is_test.any():
            raise ValueError(f"a test part of {test_fraction} leaves one side of {len(strata)} patients empty")
        folds.append((repeat, 0, inner_sets(strata, is_test, val_fraction, [seed, repeat, 0, 1])))
    return folds


def given_sets(strata: Strata, given: Sequence[str], *, val_fraction: float, seed: int) -> list[Fold]:
    """Return the one fold that a table's own sets make; without "val" patients an inner part is drawn from "train"."""
    names = np.asarray(given)
    is_test, is_val = names == TEST, names == VAL
    if not is_val.any():
        return [(0, 0, inner_sets(strata, is_test, val_fraction, [seed, 0, 0, 1]))]
    return [(0, 0, named_sets(is_test, is_val))]


def inner_sets(strata: Strata, is_test: Bool[np.ndarray, " n"], val_fraction: float, seed: Sequence[int]) -> np.ndarray:
    """Return the set of each patient for a test part, with an inner validation part drawn from the rest."""
    return named_sets(is_test, inner_validation(strata, ~is_test, val_fraction, np.random.default_rng(seed)))


def named_sets(is_test: Bool[np.ndarray, " n"], is_val: Bool[np.ndarray, " n"]) -> np.ndarray:
    """Return "train", "val" or "test" for each patient."""
    return np.where(is_test, TEST, np.where(is_val, VAL, TRAIN))
