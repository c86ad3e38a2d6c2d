"""Concordance of risks with follow-up, in a form that bootstraps fast, and Kaplan-Meier curves of two groups.

Harrell's C (1982, JAMA 247:2543): of the pairs in which one patient is known to have had the event first, the share where
that patient's risk is higher; equal risks count half. A patient censored at the time of another's event outlived it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Num


@dataclass(frozen=True)
class Pairs:
    """For every ordered pair (i before j): whether it can be compared, and how right the risks are (0, 0.5 or 1)."""

    comparable: Float64[np.ndarray, "n n"]
    concordant: Float64[np.ndarray, "n n"]


def concordance_pairs(
    risk: Float[np.ndarray, " n"],
    time: Num[np.ndarray, " n"],
    event: Num[np.ndarray, " n"],
    stratum: Int[np.ndarray, " n"] | None = None,
) -> Pairs:
    """Return all pairs.

    Args:
        risk: higher is worse.
        time: follow-up.
        event: 1 event, 0 censored.
        stratum: pairs are compared only inside a stratum (a fold, say).
    """
    is_event = np.asarray(event).astype(bool)
    earlier = (time[:, None] < time[None, :]) | ((time[:, None] == time[None, :]) & ~is_event[None, :])
    comparable = is_event[:, None] & earlier
    if stratum is not None:
        comparable &= stratum[:, None] == stratum[None, :]
    np.fill_diagonal(comparable, val=False)
    right = (risk[:, None] > risk[None, :]) + 0.5 * (risk[:, None] == risk[None, :])
    return Pairs(comparable.astype(np.float64), comparable * right)


def concordance(pairs: Pairs, weights: Float64[np.ndarray, " n"] | None = None) -> float:
    """Return C; with weights (how often a bootstrap drew each patient) that of the resampled cohort; NaN without pairs.

    Two draws of one patient are no pair that could be compared, so the diagonal never counts.
    """
    if weights is None:
        total, right = pairs.comparable.sum(), pairs.concordant.sum()
    else:
        total, right = weights @ pairs.comparable @ weights, weights @ pairs.concordant @ weights
    return float(right / total) if total > 0 else float("nan")


def c_index(risk: Float[np.ndarray, " n"], time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"]) -> float:
    """Return Harrell's C of a cohort; NaN when no pair can be compared."""
    return concordance(concordance_pairs(risk, time, event))


def kaplan_meier(
    time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Return the steps of the survival curve: times (from 0) and the share surviving from each on."""
    is_event = np.asarray(event).astype(bool)
    moments = np.unique(np.asarray(time, dtype=np.float64)[is_event])
    at_risk = np.array([(time >= moment).sum() for moment in moments])
    died = np.array([((time == moment) & is_event).sum() for moment in moments])
    survival = np.cumprod(1 - died / at_risk) if len(moments) else np.empty(0)
    return np.concatenate([[0.0], moments]), np.concatenate([[1.0], survival])


def log_rank_p(
    time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"], is_high: Bool[np.ndarray, " n"]
) -> float | None:
    """Return the log-rank test's p between two groups; None when a group is empty or nobody had the event."""
    if is_high.all() or not is_high.any() or not np.asarray(event).any():
        return None
    from lifelines.statistics import logrank_test

    result = logrank_test(time[is_high], time[~is_high], event[is_high], event[~is_high])
    return float(result.p_value)
