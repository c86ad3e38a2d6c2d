"""Cox's partial likelihood in closed form: loss, gradient, Hessian products and means over risk sets, from one sort.

Exact over the whole cohort, in float64. Where log-hazards span less than `LINEAR_SPAN` the sums are of hazards, relative to the
largest; where they span more, of logarithms, by the same formulas: log-hazards of any size stay finite.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from mil.survival.risk_sets import RiskSets

LINEAR_SPAN = 500.0  # e**-500 is 7e-218: products of two still have an inverse of full precision

LogHazards = Float[np.ndarray, " n"]


@dataclass(frozen=True)
class _Numbers:
    """Positive numbers as they are."""

    plus = np.add
    zero = 0.0

    def of_logs(self, logs: Float64[np.ndarray, " a"]) -> Float64[np.ndarray, " a"]:
        return np.exp(logs)

    def of(self, numbers: Float64[np.ndarray, " a"]) -> Float64[np.ndarray, " a"]:
        return numbers

    def logs(self, own: Float64[np.ndarray, " a"]) -> Float64[np.ndarray, " a"]:
        return np.log(own)

    def numbers(self, own: Float64[np.ndarray, " a"]) -> Float64[np.ndarray, " a"]:
        return own

    def product(self, one: Float64[np.ndarray, " a"], other: Float64[np.ndarray, " a"]) -> Float64[np.ndarray, " a"]:
        return one * other

    def ratio(self, one: Float64[np.ndarray, " a"], other: Float64[np.ndarray, " a"]) -> Float64[np.ndarray, " a"]:
        return one / other

    def less(
        self, whole: Float64[np.ndarray, " a"], share: Float64[np.ndarray, " a"], part: Float64[np.ndarray, " a"]
    ) -> Float64[np.ndarray, " a"]:
        return whole - share * part


@dataclass(frozen=True)
class _Logarithms:
    """Positive numbers by their logarithms; 0 is -inf."""

    plus = np.logaddexp
    zero = -np.inf

    def of_logs(self, logs: Float64[np.ndarray, " a"]) -> Float64[np.ndarray, " a"]:
        return logs

    def of(self, numbers: Float64[np.ndarray, " a"]) -> Float64[np.ndarray, " a"]:
        with np.errstate(divide="ignore"):
            return np.log(numbers)

    def logs(self, own: Float64[np.ndarray, " a"]) -> Float64[np.ndarray, " a"]:
        return own

    def numbers(self, own: Float64[np.ndarray, " a"]) -> Float64[np.ndarray, " a"]:
        return np.exp(own)

    def product(self, one: Float64[np.ndarray, " a"], other: Float64[np.ndarray, " a"]) -> Float64[np.ndarray, " a"]:
        return one + other

    def ratio(self, one: Float64[np.ndarray, " a"], other: Float64[np.ndarray, " a"]) -> Float64[np.ndarray, " a"]:
        return one - other

    def less(
        self, whole: Float64[np.ndarray, " a"], share: Float64[np.ndarray, " a"], part: Float64[np.ndarray, " a"]
    ) -> Float64[np.ndarray, " a"]:
        gap = np.subtract(part, whole, out=np.full(len(whole), -np.inf), where=np.isfinite(whole))
        return whole + np.log1p(-share * np.exp(np.minimum(gap, 0.0)))


_Arithmetic = _Numbers | _Logarithms


@dataclass(frozen=True)
class _Sums:
    """Hazards of the sorted patients and the denominators of the events, in one of the two arithmetics."""

    by: _Arithmetic
    log_hazard: Float64[np.ndarray, " m"]  # sorted, less the largest
    hazard: Float64[np.ndarray, " m"]  # weighted
    denominator: Float64[np.ndarray, " e"]


def _sums(log_hazard: LogHazards, sets: RiskSets) -> _Sums:
    eta = np.asarray(log_hazard, dtype=np.float64)
    if not np.isfinite(eta).all():
        raise ValueError("log-hazards and times must be finite")
    eta = eta[sets.order]
    eta = eta - eta.max()
    scaled = eta if sets.weight is None else eta + np.log(sets.weight)
    by: _Arithmetic = _Numbers() if np.ptp(scaled) < LINEAR_SPAN else _Logarithms()
    hazard = by.of_logs(scaled)
    return _Sums(by, eta, hazard, _event_sums(hazard, sets, by))


def _event_sums(values: Float64[np.ndarray, " m"], sets: RiskSets, by: _Arithmetic) -> Float64[np.ndarray, " e"]:
    """Return for each event the sum over its risk set, less Efron's share of the events tied with it."""
    moment, whole = sets.moment_of_event, sets.sums(values, by.plus, by.zero)
    if not sets.is_efron or len(moment) == len(sets.start):  # no ties: the first event of each moment has share 0
        return whole[moment]
    tied = sets.sums_of_events(values[sets.events], by.plus)
    return by.less(whole[moment], sets.share, tied[moment])


def loss(log_hazard: LogHazards, sets: RiskSets) -> float:
    """Return the negative log partial likelihood, divided by the weight of the events.

    Ties by Efron (1977, J Am Stat Assoc 72:557) or Breslow (1974, Biometrics 30:89); with weights, tied events share their mean
    weight, as in Therneau and Grambsch (2000, Modeling Survival Data, section 3.3).

    Args:
        log_hazard: of each patient, any size; of those of weight 0 nothing is asked but that they are finite.
        sets: the follow-up of the same patients.

    Raises:
        ValueError: values that are not finite.
    """
    return _loss(_sums(log_hazard, sets), sets)


def _loss(sums: _Sums, sets: RiskSets) -> float:
    logs, own = sums.by.logs(sums.denominator), sums.log_hazard[sets.events]
    if sets.weight is None:
        return float((logs.sum() - own.sum()) / len(own))
    total = sets.event_weight[sets.moment_of_event] @ logs - sets.weight[sets.events] @ own
    return float(total / sets.total_weight)


def loss_and_gradient(log_hazard: LogHazards, sets: RiskSets) -> tuple[float, Float64[np.ndarray, " n"]]:
    """Return `loss` and its derivative with respect to each log-hazard, from the same sums."""
    sums = _sums(log_hazard, sets)
    whole, tied = _inverses(sums, sets, None)
    gradient = _spread(sums, sets, whole, tied)
    gradient[sets.events] -= 1.0 if sets.weight is None else sets.weight[sets.events]
    unsorted = np.zeros(sets.n)
    unsorted[sets.order] = gradient / sets.total_weight
    return _loss(sums, sets), unsorted


def _inverses(
    sums: _Sums, sets: RiskSets, mean: Float64[np.ndarray, " e"] | None
) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """Return for each moment the sum over its events of weight / denominator, and of share * weight / denominator.

    With `mean` each event's part is multiplied by it (not negative).
    """
    by, moment = sums.by, sets.moment_of_event
    part = by.ratio(by.of(sets.event_weight[moment]), sums.denominator)
    part = part if mean is None else by.product(part, by.of(mean))
    return sets.sums_of_events(part, by.plus), sets.sums_of_events(by.product(by.of(sets.share), part), by.plus)


def _spread(
    sums: _Sums, sets: RiskSets, whole: Float64[np.ndarray, " k"], tied: Float64[np.ndarray, " k"]
) -> Float64[np.ndarray, " m"]:
    """Return each sorted patient's hazard times the sum of `whole` where at risk, less `tied` at the own event."""
    by, events = sums.by, sets.events
    spread = by.numbers(by.product(sums.hazard, sets.sums_back(whole, by.plus, by.zero)))
    spread[events] -= by.numbers(by.product(sums.hazard[events], tied[sets.moment_of_event]))
    return spread


def hessian_product(
    log_hazard: LogHazards, sets: RiskSets, vector: Float[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """Return the Hessian of `loss` with respect to the log-hazards, times a vector.

    A constant vector gives 0, so the vector may be shifted: from 0 upwards all sums are of positive numbers.
    """
    sums = _sums(log_hazard, sets)
    v = np.asarray(vector, dtype=np.float64)[sets.order]
    v = v - v.min()
    by = sums.by
    mean = by.numbers(by.ratio(_event_sums(by.product(sums.hazard, by.of(v)), sets, by), sums.denominator))
    product = v * _spread(sums, sets, *_inverses(sums, sets, None)) - _spread(sums, sets, *_inverses(sums, sets, mean))
    unsorted = np.zeros(sets.n)
    unsorted[sets.order] = product / sets.total_weight
    return unsorted


def means_at_events(
    log_hazard: LogHazards, sets: RiskSets, inputs: Float[np.ndarray, "n d"]
) -> Float64[np.ndarray, "e d"]:
    """Return for each event (in the order of `sets.events`) the mean of the inputs over its risk set, weighted by hazard.

    With Efron's ties the mean is that of the event's own reduced risk set.
    """
    sums = _sums(log_hazard, sets)
    by, columns = sums.by, []
    for column in np.asarray(inputs, dtype=np.float64)[sets.order].T:
        low = column.min()
        own = _event_sums(by.product(sums.hazard, by.of(column - low)), sets, by)
        columns.append(by.numbers(by.ratio(own, sums.denominator)) + low)
    return np.stack(columns, axis=1) if columns else np.empty((len(sets.events), 0))
