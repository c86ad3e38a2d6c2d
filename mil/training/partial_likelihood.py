"""Cox's partial likelihood with Efron's ties, in closed form.

The loss and its gradient are exact over the whole cohort, in float64 and in log space throughout, so log-hazards of
any size stay finite; O(n log n).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int, Num

LogHazards = Float[np.ndarray, " n"]


@dataclass(frozen=True)
class _RiskSets:
    """Patients sorted by falling time, and for each event the logarithm of Efron's denominator."""

    order: np.ndarray  # (n,) positions of patients by falling time
    group_of_event: np.ndarray  # (e,) index of the event's time among distinct event times, falling
    share: np.ndarray  # (e,) Efron's l / d of each event
    log_denominator: np.ndarray  # (e,)
    n_times: int
    events_sorted: np.ndarray  # (n,) is_event in the order of falling time
    last_time_at: np.ndarray  # (n,) index of the latest event time not after the own time


def efron_loss(log_hazard: LogHazards, time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"]) -> float:
    """Return the mean negative log partial likelihood an event (Efron 1977, J Am Stat Assoc 72:557).

    Args:
        log_hazard: risk of each patient, any size.
        time: follow-up.
        event: 1 event, 0 censored. A patient censored at the time of an event is at risk then.

    Raises:
        ValueError: no event, or values that are not finite.
    """
    eta, sets = _risk_sets(log_hazard, time, event)
    is_event = np.asarray(event).astype(bool)
    return float((sets.log_denominator.sum() - eta[is_event].sum()) / is_event.sum())


def efron_gradient(
    log_hazard: LogHazards, time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """Return the derivative of `efron_loss` with respect to each log-hazard."""
    eta, sets = _risk_sets(log_hazard, time, event)
    sorted_eta = eta[sets.order]
    # sum over the l of each event time of 1 / denominator, and of (l / d) / denominator, as logarithms
    inverse = _log_sums(-sets.log_denominator, sets.group_of_event, sets.n_times)
    with np.errstate(divide="ignore"):
        weighted = _log_sums(np.log(sets.share) - sets.log_denominator, sets.group_of_event, sets.n_times)
    # a patient is at risk at every event time up to its own: accumulate from the earliest time on
    at_risk = np.logaddexp.accumulate(inverse[::-1])[::-1]
    padded = np.append(at_risk, -np.inf)  # nobody has died by then
    gradient = np.exp(sorted_eta + padded[sets.last_time_at])
    is_event = sets.events_sorted
    gradient[is_event] -= 1 + np.exp(sorted_eta[is_event] + weighted[sets.last_time_at[is_event]])
    unsorted = np.empty_like(gradient)
    unsorted[sets.order] = gradient
    return unsorted / is_event.sum()


def _risk_sets(
    log_hazard: LogHazards, time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, " n"], _RiskSets]:
    eta, times = np.asarray(log_hazard, dtype=np.float64), np.asarray(time, dtype=np.float64)
    is_event = np.asarray(event).astype(bool)
    if not is_event.any():
        raise ValueError("the partial likelihood needs at least one event")
    if not (np.isfinite(eta).all() and np.isfinite(times).all()):
        raise ValueError("log-hazards and times must be finite")
    # the order within a tied time must not depend on the row order: sums below are over sorted values
    order = np.lexsort((eta, ~is_event, -times))
    t, d, e = times[order], is_event[order], eta[order]
    log_at_risk = np.logaddexp.accumulate(e)
    end_of_time = np.searchsorted(-t, -t, side="right") - 1  # last patient of the same time
    event_positions = np.flatnonzero(d)
    distinct, group, n_tied = np.unique(-t[event_positions], return_inverse=True, return_counts=True)
    first = np.concatenate([[0], np.cumsum(n_tied)[:-1]])
    share = (np.arange(len(event_positions)) - first[group]) / n_tied[group]
    log_tied = _log_sums(e[event_positions], group, len(distinct))
    log_risk_set = log_at_risk[end_of_time[event_positions]]
    ratio = np.exp(np.minimum(log_tied[group] - log_risk_set, 0.0))
    log_denominator = log_risk_set + np.log1p(-share * ratio)
    # index of the latest event time that is not after a patient's own time (len(distinct) when there is none)
    last_time_at = np.searchsorted(distinct, -t, side="left")
    return eta, _RiskSets(order, group, share, log_denominator, len(distinct), d, last_time_at)


def _log_sums(
    values: Float[np.ndarray, " e"], group: Int[np.ndarray, " e"], n_groups: int
) -> Float64[np.ndarray, " g"]:
    """Return log(sum(exp(values))) of each group."""
    top = np.full(n_groups, -np.inf)
    np.maximum.at(top, group, values)
    safe_top = np.where(np.isfinite(top), top, 0.0)
    total = np.zeros(n_groups)
    np.add.at(total, group, np.exp(values - safe_top[group]))
    with np.errstate(divide="ignore"):
        return np.log(total) + safe_top
