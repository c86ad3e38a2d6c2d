"""Time to an event in intervals: a log-odds of the event for each, its likelihood, and what it means over time (logistic hazard).

The hazard of an interval is the chance of the event in it of those who came to its start without: 1 / (1 + exp(-log-odds));
survival to the end of an interval is the product of 1 - hazard (Brown 1975, Biometrics 31:863; for networks Gensheimer and
Narasimhan 2019, PeerJ 7:e6257; Kvamme and Borgan 2021, Lifetime Data Anal 27:710). Every interval has a log-odds of its own, so the
hazards of two patients need not be proportional, and the level is part of the model: no baseline is estimated afterwards.

Interval k is (end of the one before, own end], the first from 0 on. Who is censored inside an interval counts up to the last one
survived as a whole, and who comes under observation inside one counts from the next one on. Nothing is said beyond the last end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Num

LEAST_EVENTS = 5  # of an interval
HALF = 0.5  # added to events and non-events of an interval, so that log-odds are finite (Haldane 1956, Ann Hum Genet 20:309)
FAR = 30.0  # log-odds below -FAR: the cumulative hazard is exp of it, to double precision


@dataclass(frozen=True, eq=False)
class Intervals:
    """The ends of the intervals, rising and above 0, and the log-odds of the event in each among those it was learnt from."""

    ends: Float64[np.ndarray, " k"]
    base: Float64[np.ndarray, " k"]

    def __len__(self) -> int:
        """Return the number of intervals."""
        return len(self.ends)


@dataclass(frozen=True, eq=False)
class Exposure:
    """For each patient the intervals that count, and that of the event among them."""

    at_risk: Bool[np.ndarray, "n k"]
    event: Bool[np.ndarray, "n k"]


def n_intervals(n_events: int, wanted: int, *, least_events: int = LEAST_EVENTS) -> int:
    """Return how many intervals so many events carry: those wanted, but not more than one for `least_events`, and one at least."""
    return max(1, min(wanted, n_events // least_events))


def interval_ends(
    time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"], wanted: int, *, least_events: int = LEAST_EVENTS
) -> Float64[np.ndarray, " k"]:
    """Return the ends of intervals that hold about as many events each: quantiles of the times of events, the last one the latest.

    Each end is the time of an event. Ends that fall together are one; an end at 0 is none.

    Args:
        time: follow-up.
        event: 1 event, 0 censored.
        wanted: intervals; fewer where events are few (`n_intervals`).
        least_events: that an interval shall have.

    Raises:
        ValueError: there is no event after time 0.
    """
    died = np.sort(np.asarray(time, dtype=np.float64)[np.asarray(event).astype(bool)])
    if not len(died) or died[-1] <= 0:
        raise ValueError("intervals of time need an event after time 0, and there is none")
    k = n_intervals(len(died), wanted, least_events=least_events)
    places = [-(-number * len(died) // k) - 1 for number in range(1, k + 1)]
    ends = np.unique(died[places])
    return ends[ends > 0]


def exposure_of(
    time: Num[np.ndarray, " n"],
    event: Num[np.ndarray, " n"],
    ends: Float[np.ndarray, " k"],
    entry: Num[np.ndarray, " n"] | None = None,
) -> Exposure:
    """Return which intervals count of each patient.

    An event counts in its interval, and with it all before; one after the last end is survival of all. Of a patient who came
    late only intervals that begin at the entry or after it count: an event in the interval of the entry itself says nothing of
    those who came to its start, and counts as little as a censoring inside an interval does.

    Args:
        time: follow-up.
        event: 1 event, 0 censored.
        ends: of the intervals.
        entry: when each patient came under observation; None: all from the start.

    Raises:
        ValueError: a time or an entry is not finite.
    """
    times, is_event = np.asarray(time, dtype=np.float64), np.asarray(event).astype(bool)
    starts = np.concatenate([[0.0], ends[:-1]])
    if not np.isfinite(times).all() or not (entry is None or np.isfinite(entry).all()):
        raise ValueError("times and entries must be finite")
    own = is_event[:, None] & (np.searchsorted(ends, times, side="left")[:, None] == np.arange(len(ends)))
    at_risk = (times[:, None] >= ends) | own
    if entry is not None:
        at_risk &= starts >= np.asarray(entry, dtype=np.float64)[:, None]
    return Exposure(at_risk=at_risk, event=own & at_risk)


def life_table(
    exposure: Exposure, weight: Num[np.ndarray, " n"] | None = None
) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """Return the events of each interval, and the patients who count in it, weighted; their ratio is the hazard of all."""
    own = np.ones(len(exposure.at_risk)) if weight is None else np.asarray(weight, dtype=np.float64)
    return own @ exposure.event, own @ exposure.at_risk


def intervals_of(
    time: Num[np.ndarray, " n"],
    event: Num[np.ndarray, " n"],
    wanted: int,
    *,
    entry: Num[np.ndarray, " n"] | None = None,
    weight: Num[np.ndarray, " n"] | None = None,
) -> Intervals:
    """Return intervals learnt from patients: ends from those with an event and a weight, log-odds from the life table of all.

    Half an event and half a survivor are added to each interval, so that one in which all or none had the event is finite.

    Args:
        time: follow-up.
        event: 1 event, 0 censored.
        wanted: intervals; fewer where events are few.
        entry: when each patient came under observation; None: all from the start.
        weight: of each patient, not negative; None: 1.

    Raises:
        ValueError: there is no event after time 0 with a weight.
    """
    counts = np.asarray(event).astype(bool) & (np.ones(len(time)) if weight is None else np.asarray(weight) > 0).astype(
        bool
    )
    ends = interval_ends(time, counts.astype(np.int64), wanted)
    died, followed = life_table(exposure_of(time, event, ends, entry), weight)
    return Intervals(ends=ends, base=np.log((died + HALF) / (followed - died + HALF)))


def loss_and_gradient(
    log_odds: Float[np.ndarray, "n k"], exposure: Exposure, weight: Num[np.ndarray, " n"] | None = None
) -> tuple[float, Float64[np.ndarray, "n k"]]:
    """Return the negative log-likelihood a patient, and its derivative with respect to each log-odds.

    Each interval that counts is a yes or no: the sum of log(1 + exp(log-odds)) over them, less the log-odds of the interval of the
    event. Finite for log-odds of any size.

    Args:
        log_odds: of each patient and interval.
        exposure: of the same patients.
        weight: of each, not negative; None: 1. The loss is divided by their sum.

    Raises:
        ValueError: a log-odds is not finite, or no patient has a weight.
    """
    own = np.asarray(log_odds, dtype=np.float64)
    if not np.isfinite(own).all():
        raise ValueError("log-odds must be finite")
    weights = np.ones(len(own)) if weight is None else np.asarray(weight, dtype=np.float64)
    total = float(weights.sum())
    if total <= 0:
        raise ValueError("a likelihood needs a patient with a weight above 0")
    share = (weights / total)[:, None]
    parts = np.where(exposure.at_risk, np.logaddexp(0.0, own), 0.0) - np.where(exposure.event, own, 0.0)
    gradient = np.where(exposure.at_risk, hazards(own) - exposure.event, 0.0)
    return float((share * parts).sum()), share * gradient


def hazards(log_odds: Float[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
    """Return the hazard of each interval, 0 to 1."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(log_odds, dtype=np.float64)))  # type: ignore[no-any-return]


def cumulative_hazard(
    log_odds: Float[np.ndarray, "n k"], ends: Float[np.ndarray, " k"], moments: Float[np.ndarray, "... t"]
) -> Float64[np.ndarray, "n t"]:
    """Return each patient's cumulative hazard at times; survival is exp(-it).

    At the end of an interval survival is the product of 1 - hazard. In between the rate is taken as constant (Kvamme and Borgan
    2021: constant hazard interpolation), so that the cumulative hazard is a line; beyond the last end nothing is known and it
    stays, as Breslow's does.

    Args:
        log_odds: of each patient and interval.
        ends: of the intervals.
        moments: times, the same for all or a row a patient.
    """
    starts = np.concatenate([[0.0], ends[:-1]])
    passed = np.clip((np.asarray(moments, dtype=np.float64)[..., None] - starts) / (ends - starts), 0.0, 1.0)
    own = np.logaddexp(0.0, np.asarray(log_odds, dtype=np.float64))  # -log(1 - hazard)
    return (passed * own[:, None, :]).sum(axis=-1)  # type: ignore[no-any-return]


def log_mean_hazard(log_odds: Float[np.ndarray, "n k"]) -> Float64[np.ndarray, " n"]:
    """Return the one number that patients are ranked by: the logarithm of the cumulative hazard, averaged over the ends.

    Ends are quantiles of the times of events, so this is the logarithm of the number of events that there would be if all were
    like the patient, but for a factor: the mortality of Ishwaran et al. (2008, Ann Appl Stat 2:841). It ranks without a choice of
    one time; where hazards are proportional it is Cox's log-hazard but for a constant, and enters a Cox regression as that does.
    Finite for log-odds of any size.
    """
    own = np.asarray(log_odds, dtype=np.float64)
    k = own.shape[1]
    logs = np.where(own < -FAR, own, np.log(np.logaddexp(0.0, np.maximum(own, -FAR))))
    return np.logaddexp.reduce(logs + np.log((k - np.arange(k)) / k), axis=1)  # type: ignore[no-any-return]
