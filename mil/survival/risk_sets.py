"""Who is at risk when: follow-up sorted once, sums over risk sets and the sums back to patients.

A patient is at risk at a time t of the own stratum when entry < t <= time; one censored at the time of an event is at risk then.

Sums over risk sets must not subtract: a patient with a log-hazard of 500 who has not entered yet would leave nothing of the others.
Without entry and strata a risk set is everybody up to a place in the order of falling time, and its sum a running one.
With them a patient is at risk in a run of event times, and the sums go over the nodes of a binary tree that make up
the run (a segment tree): O(n log n), in numbers or in logarithms, by the same code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64, Num

WHOLE_LIMIT = 65_535  # whole times up to it are sorted by counting


@dataclass(frozen=True)
class RiskSets:
    """Follow-up of patients, sorted for sums over risk sets: by stratum, then by falling time.

    The event times ("moments") of all strata stand one after the other in the same order.

    Attributes:
        n: patients, those of weight 0 among them.
        order: positions of the patients that count.
        is_event: of each, sorted.
        weight: of each, sorted; None where all are 1.
        first: the first moment at which each is at risk.
        past: the moment behind the last one; None: at risk to the end, and the moments are of one stratum.
        last: for each moment how many sorted patients are at risk, less one; None with `past`.
        events: places of the events among the sorted.
        start: for each moment its first event among `events`.
        n_tied: events of each moment.
        share: Efron's l / d of each event; all 0 for Breslow.
        event_weight: the mean weight of the events of each moment.
        is_efron: how ties are handled.
    """

    n: int
    order: Int64[np.ndarray, " m"]
    is_event: Bool[np.ndarray, " m"]
    weight: Float64[np.ndarray, " m"] | None
    first: Int64[np.ndarray, " m"]
    past: Int64[np.ndarray, " m"] | None
    last: Int64[np.ndarray, " k"] | None
    events: Int64[np.ndarray, " e"]
    start: Int64[np.ndarray, " k"]
    n_tied: Int64[np.ndarray, " k"]
    share: Float64[np.ndarray, " e"]
    event_weight: Float64[np.ndarray, " k"]
    is_efron: bool

    @property
    def moment_of_event(self) -> Int64[np.ndarray, " e"]:
        """The moment of each event."""
        return self.first[self.events]

    @property
    def total_weight(self) -> float:
        """The weight of all events."""
        return float((self.event_weight * self.n_tied).sum())

    def sums(self, values: Float64[np.ndarray, " m"], plus: np.ufunc, zero: float) -> Float64[np.ndarray, " k"]:
        """Return the sum of sorted patients' values over the risk set of each moment."""
        if self.last is not None:
            running: Float64[np.ndarray, " m"] = plus.accumulate(values)
            return running[self.last]
        return _scattered(values, self.first, self._past, len(self.start), plus, zero)

    def sums_back(self, values: Float64[np.ndarray, " k"], plus: np.ufunc, zero: float) -> Float64[np.ndarray, " m"]:
        """Return the sum of moments' values over those at which each sorted patient is at risk: the transpose of `sums`."""
        if self.last is not None:
            return np.append(plus.accumulate(values[::-1])[::-1], zero)[self.first]
        return _gathered(values, self.first, self._past, plus, zero)

    def sums_of_events(self, values: Float64[np.ndarray, " e"], plus: np.ufunc) -> Float64[np.ndarray, " k"]:
        """Return the sum of values of events at each moment."""
        return plus.reduceat(values, self.start)  # type: ignore[no-any-return]

    @property
    def _past(self) -> Int64[np.ndarray, " m"]:
        assert self.past is not None, "either `last` or `past` is there"
        return self.past


def risk_sets(
    time: Num[np.ndarray, " n"],
    event: Num[np.ndarray, " n"],
    *,
    ties: str = "efron",
    entry: Num[np.ndarray, " n"] | None = None,
    stratum: Num[np.ndarray, " n"] | None = None,
    weight: Num[np.ndarray, " n"] | None = None,
) -> RiskSets:
    """Sort follow-up for Cox's partial likelihood.

    Args:
        time: follow-up.
        event: 1 event, 0 censored.
        ties: "efron" or "breslow".
        entry: when each patient came under observation (left truncation), before the own time; None: all from the start.
        stratum: a number for each stratum; only patients of one stratum are compared; None: one stratum.
        weight: of each patient, not negative; a patient of weight 0 counts for nothing; None: 1.

    Raises:
        ValueError: no event, values that are not finite, an entry not before the own time, a negative weight.
    """
    if ties not in ("efron", "breslow"):
        raise ValueError(f"ties are handled by 'efron' or 'breslow', not {ties!r}")
    times, is_event = np.asarray(time, dtype=np.float64), np.asarray(event).astype(bool)
    counted = _counted(times, is_event, entry, weight)
    kept = None if counted is None else np.flatnonzero(counted)
    times, is_event = (own if kept is None else own[kept] for own in (times, is_event))
    if not is_event.any():
        raise ValueError("the partial likelihood needs at least one event")
    if entry is None and (stratum is None or len(np.unique(stratum)) < 2):
        order, moments = _by_time(times, is_event)
    else:
        at, of = (
            None if own is None else np.asarray(own) if kept is None else np.asarray(own)[kept]
            for own in (entry, stratum)
        )  # fmt: skip
        order, moments = _by_stratum(times, is_event, at, of)
    place = order if kept is None else kept[order]
    known = None if weight is None else np.asarray(weight, dtype=np.float64)[place]
    events = np.flatnonzero(is_event[order])
    n_tied, start = moments.n_tied, np.cumsum(moments.n_tied) - moments.n_tied
    own = np.ones(len(events)) if known is None else known[events]
    share = (np.arange(len(events)) - np.repeat(start, n_tied)) / np.repeat(n_tied, n_tied)
    return RiskSets(
        n=len(np.asarray(time)), order=place, is_event=is_event[order], weight=known, first=moments.first,
        past=moments.past, last=moments.last, events=events, start=start, n_tied=n_tied,
        share=share if ties == "efron" else np.zeros(len(events)),
        event_weight=np.add.reduceat(own, start) / n_tied, is_efron=ties == "efron",
    )  # fmt: skip


def _counted(
    times: Float64[np.ndarray, " n"],
    is_event: Bool[np.ndarray, " n"],
    entry: Num[np.ndarray, " n"] | None,
    weight: Num[np.ndarray, " n"] | None,
) -> Bool[np.ndarray, " n"] | None:
    """Check the values; return who has a weight above 0, None where everybody has."""
    if not np.isfinite(times).all():
        raise ValueError("log-hazards and times must be finite")
    if entry is not None and not (np.asarray(entry) < times).all():
        where = int(np.flatnonzero(~(np.asarray(entry) < times))[0])
        raise ValueError(
            f"patients come under observation before their follow-up ends; number {where} enters at "
            f"{float(np.asarray(entry)[where]):g} and is followed to {times[where]:g}"
        )
    if weight is None:
        return None
    if not (np.isfinite(weight).all() and (np.asarray(weight) >= 0).all()):
        raise ValueError("weights must be finite and not negative")
    if is_event.any() and not (is_event & (np.asarray(weight) > 0)).any():
        raise ValueError("the partial likelihood needs at least one event of a weight above 0")
    return None if (np.asarray(weight) > 0).all() else np.asarray(weight) > 0


@dataclass(frozen=True)
class _Moments:
    """The moments at which sorted patients are at risk, as `RiskSets` has them."""

    first: Int64[np.ndarray, " m"]
    past: Int64[np.ndarray, " m"] | None
    last: Int64[np.ndarray, " k"] | None
    n_tied: Int64[np.ndarray, " k"]


def _by_time(
    times: Float64[np.ndarray, " m"], is_event: Bool[np.ndarray, " m"]
) -> tuple[Int64[np.ndarray, " m"], _Moments]:
    """Return the order of falling time; patients of one stratum, at risk from the start."""
    order = _falling(times)
    t = times[order]
    ends = np.append(np.flatnonzero(t[1:] != t[:-1]), len(t) - 1)  # the last patient of each time
    seen = np.cumsum(is_event[order])
    n_events = np.diff(seen[ends], prepend=0)
    is_moment = n_events > 0
    earlier = np.cumsum(is_moment) - is_moment
    first = np.repeat(earlier, np.diff(ends, prepend=-1))
    return order, _Moments(first, None, ends[is_moment], n_events[is_moment])


def _falling(times: Float64[np.ndarray, " m"]) -> Int64[np.ndarray, " m"]:
    """Return the order of falling time; whole days or months are sorted by counting, which is faster."""
    low, high = times.min(), times.max()
    if high - low <= WHOLE_LIMIT:
        whole = (high - times).astype(np.uint16)
        if (whole == high - times).all():
            return np.argsort(whole, kind="stable")
    return np.argsort(-times)


def _by_stratum(
    times: Float64[np.ndarray, " m"],
    is_event: Bool[np.ndarray, " m"],
    entry: Num[np.ndarray, " m"] | None,
    stratum: Num[np.ndarray, " m"] | None,
) -> tuple[Int64[np.ndarray, " m"], _Moments]:
    """Return the order of strata and falling times, and the runs of moments at which patients are at risk."""
    n = len(times)
    both = times if entry is None else np.concatenate([times, np.asarray(entry, dtype=np.float64)])
    distinct, rank = np.unique(both, return_inverse=True)
    of = np.zeros(n, dtype=np.int64) if stratum is None else np.unique(stratum, return_inverse=True)[1]
    width = len(distinct) + 1
    key = of * width + len(distinct) - 1 - rank[:n]
    order = np.argsort(key, kind="stable")
    moments, n_tied = np.unique(key[is_event], return_counts=True)
    behind = (of + 1) * width - 1 if entry is None else of * width + len(distinct) - 1 - rank[n:]
    first, past = np.searchsorted(moments, key[order]), np.searchsorted(moments, behind[order])
    return order, _Moments(first, past, None, n_tied)


def _scattered(
    values: Float64[np.ndarray, " m"],
    first: Int64[np.ndarray, " m"],
    past: Int64[np.ndarray, " m"],
    n: int,
    plus: np.ufunc,
    zero: float,
) -> Float64[np.ndarray, " k"]:
    """Add each value to all moments of its run: to the nodes that make it up, then down to the leaves."""
    size = 1 << max(0, int(n - 1).bit_length())
    nodes = np.full(2 * size, zero)
    low, high = first + size, past + size
    while (is_open := low < high).any():
        odd = is_open & (low & 1 == 1)
        plus.at(nodes, low[odd], values[odd])
        even = is_open & (high & 1 == 1)
        plus.at(nodes, high[even] - 1, values[even])
        low, high = (low + 1) >> 1, high >> 1
    level = 1
    while level < size:
        nodes[2 * level : 4 * level] = plus(nodes[2 * level : 4 * level], np.repeat(nodes[level : 2 * level], 2))
        level *= 2
    return nodes[size : size + n]


def _gathered(
    values: Float64[np.ndarray, " k"],
    first: Int64[np.ndarray, " m"],
    past: Int64[np.ndarray, " m"],
    plus: np.ufunc,
    zero: float,
) -> Float64[np.ndarray, " m"]:
    """Return the sum of values over each run."""
    size = 1 << max(0, int(len(values) - 1).bit_length())
    nodes = np.full(2 * size, zero)
    nodes[size : size + len(values)] = values
    level = size // 2
    while level:
        nodes[level : 2 * level] = plus(nodes[2 * level : 4 * level : 2], nodes[2 * level + 1 : 4 * level : 2])
        level //= 2
    total = np.full(len(first), zero)
    low, high = first + size, past + size
    while (is_open := low < high).any():
        odd = is_open & (low & 1 == 1)
        total[odd] = plus(total[odd], nodes[low[odd]])
        even = is_open & (high & 1 == 1)
        total[even] = plus(total[even], nodes[high[even] - 1])
        low, high = (low + 1) >> 1, high >> 1
    return total
