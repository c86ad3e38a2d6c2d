"""Risk groups: cut-offs out of training patients, the group of a log-hazard, what groups are called, what heads agree on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

BY_QUANTILES = {"median": 2, "tertiles": 3, "quartiles": 4}
MOST_GIVEN = 8


def n_groups(wanted: str) -> int:
    """Return how many risk groups there are.

    Args:
        wanted: "median", "tertiles", "quartiles", or rising scores with commas, in standard deviations of the training
            patients' log-hazards from their mean.

    Raises:
        ValueError: it is none of these.
    """
    return BY_QUANTILES.get(wanted) or 1 + len(_given(wanted))


def cut_offs(train_risk: Float[np.ndarray, " n"], wanted: str) -> tuple[float, ...]:
    """Return the cut-offs of risk groups from training patients alone, as log-hazards.

    Args:
        train_risk: log-hazards of training patients by models that never saw them.
        wanted: see `n_groups`.

    Raises:
        ValueError: as there.
    """
    parts = BY_QUANTILES.get(wanted)
    if parts:
        return tuple(map(float, np.quantile(train_risk, np.arange(1, parts) / parts)))
    mean, sd = float(train_risk.mean()), float(train_risk.std())
    return tuple(mean + sd * score for score in _given(wanted))


def _given(wanted: str) -> tuple[float, ...]:
    try:
        given = tuple(float(part) for part in wanted.split(","))
    except ValueError:
        given = ()
    if not 1 <= len(given) <= MOST_GIVEN or not np.isfinite(given).all() or any(np.diff(given) <= 0):
        raise ValueError(
            f"--risk_groups is median, tertiles, quartiles, or 1 to {MOST_GIVEN} rising scores with commas (in SD of the training "
            f"patients), got {wanted!r}"
        )
    return given


def group_of(log_hazard: float, cuts: Sequence[float]) -> int:
    """Return the risk group of a patient, 0 the lowest; who is at a cut-off is in the lower group."""
    return int(np.searchsorted(np.asarray(cuts, dtype=np.float64), log_hazard, side="left"))


def agreed_groups(mean_group: Float[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return the group nearest to the mean of several heads' or repeats'; half-way, the upper where the score is above 0.

    Args:
        mean_group: of each patient.
        score: the mean score of each, in standard deviations of training patients.
    """
    below = np.floor(mean_group)
    share = mean_group - below
    is_upper = (share > 0.5) | ((share == 0.5) & (score > 0))
    return (below + is_upper).astype(np.int64)  # type: ignore[no-any-return]


def group_names(n: int) -> tuple[str, ...]:
    """Return what the groups are called, the lowest first."""
    if n == 2:
        return ("low risk", "high risk")
    if n == 3:
        return ("low risk", "middle risk", "high risk")
    return ("lowest risk", *(f"risk group {index + 1} of {n}" for index in range(1, n - 1)), "highest risk")
