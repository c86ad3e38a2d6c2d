"""Tests of paired differences: Holm's correction, bootstrap p, corrected resampled t."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64


@dataclass(frozen=True, kw_only=True, slots=True)
class ResampledT:
    """The corrected resampled t over folds; None where it is not defined."""

    n_folds: int
    mean: float | None
    t: float | None = None
    p: float | None = None


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's adjusted p values; undefined ones take no part and stay undefined."""
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[index] = largest
    return adjusted


def bootstrap_p(draws: Float64[np.ndarray, " b"]) -> float | None:
    """Return the two-sided p of no difference: twice the smaller share of draws on one side of 0, the cohort counted in.

    (k + 1) / (b + 1) keeps it above 0 (Davison and Hinkley 1997, section 4.2); None without draws.
    """
    known = draws[np.isfinite(draws)]
    if not len(known):
        return None
    tails = [((known <= 0).sum() + 1) / (len(known) + 1), ((known >= 0).sum() + 1) / (len(known) + 1)]
    return float(min(1.0, 2 * min(tails)))


def corrected_resampled_t(
    differences: Float[np.ndarray, " r"], train_sizes: Float[np.ndarray, " r"], test_sizes: Float[np.ndarray, " r"]
) -> ResampledT:
    """Test the mean difference over folds with the variance that overlapping training parts ask for.

    t = mean / sqrt((1 / R + n_test / n_train) s^2) on R - 1 degrees of freedom (Nadeau and Bengio 2003, Mach Learn 52:239;
    repeats as in Bouckaert and Frank 2004, PAKDD). Not defined with one fold, or when all folds differ alike.
    """
    from scipy.special import stdtr

    n_folds = len(differences)
    mean = float(np.mean(differences)) if n_folds else None
    spread = float(np.var(differences, ddof=1)) if n_folds > 1 else 0.0
    if spread <= 1e-24:
        return ResampledT(n_folds=n_folds, mean=mean)
    ratio = float(np.mean(test_sizes) / np.mean(train_sizes))
    t = float(np.mean(differences)) / float(np.sqrt((1 / n_folds + ratio) * spread))
    return ResampledT(n_folds=n_folds, mean=mean, t=t, p=float(2 * stdtr(n_folds - 1, -abs(t))))
