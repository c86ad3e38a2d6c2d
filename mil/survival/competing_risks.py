"""Competing risks: the share that had each kind of event by each time (Aalen and Johansen 1978, Scand J Stat 5:141).

1 less a Kaplan-Meier curve that censors those who died of something else says what would be, if nobody died of anything else; the
curves here say what was, and with Kaplan-Meier's of any event they make 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int, Num

NORMAL_975 = 1.959963984540054


@dataclass(frozen=True)
class Incidence:
    """The cumulative incidence of one kind of event: steps from 0 on, the share by each, its variance, limits of 95 %."""

    times: Float64[np.ndarray, " m"]
    share: Float64[np.ndarray, " m"]
    variance: Float64[np.ndarray, " m"]

    def limits(self) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
        """Return 95 % limits on the scale of log(-log share), so that they stay between 0 and 1; NaN where the share is 0 or 1."""
        low, high = np.full(len(self.share), np.nan), np.full(len(self.share), np.nan)
        known = (self.share > 0) & (self.share < 1)
        logs = np.log(self.share[known])
        half = NORMAL_975 * np.sqrt(self.variance[known]) / np.abs(self.share[known] * logs)
        low[known], high[known] = np.exp(logs * np.exp(half)), np.exp(logs * np.exp(-half))
        return low, high


def aalen_johansen(time: Num[np.ndarray, " n"], kind: Int[np.ndarray, " n"], of: int) -> Incidence:
    """Return the cumulative incidence of one kind of event.

    Args:
        time: follow-up.
        kind: 0 censored, 1 and on the kinds of events.
        of: the kind.

    The variance is that of the delta method, as Greenwood's is (Marubini and Valsecchi 1995, Analysing Survival Data from Clinical
    Trials, section 10.3; Collett 2015, Modelling Survival Data in Medical Research, section 12.2).
    """
    times = np.asarray(time, dtype=np.float64)
    moments, place = np.unique(times, return_inverse=True)
    at_risk = np.cumsum(np.bincount(place, minlength=len(moments))[::-1])[::-1].astype(np.float64)
    died = np.bincount(place, np.asarray(kind) > 0, minlength=len(moments))
    own = np.bincount(place, np.asarray(kind) == of, minlength=len(moments))
    kept = died > 0
    moments, at_risk, died, own = moments[kept], at_risk[kept], died[kept], own[kept]
    survival = np.cumprod(1 - died / at_risk)
    before = np.concatenate([[1.0], survival[:-1]]) if len(survival) else survival
    share = np.cumsum(before * own / at_risk)
    variance = _variance(share, before, at_risk, died, own)
    start = np.zeros(1)
    return Incidence(*(np.concatenate([start, part]) for part in (moments, share, variance)))


def _variance(
    share: Float64[np.ndarray, " m"],
    before: Float64[np.ndarray, " m"],
    n: Float64[np.ndarray, " m"],
    died: Float64[np.ndarray, " m"],
    own: Float64[np.ndarray, " m"],
) -> Float64[np.ndarray, " m"]:
    """Return the variance at each step from running sums: the square of share(t) - share(s) is multiplied out."""
    a = np.divide(
        died, n * (n - died), out=np.zeros(len(n)), where=n > died
    )  # once all are gone no share changes any more
    b = before**2 * own * (n - own) / n**3
    c = before * own / n**2
    first = share**2 * np.cumsum(a) - 2 * share * np.cumsum(a * share) + np.cumsum(a * share**2)
    last = share * np.cumsum(c) - np.cumsum(c * share)
    return np.maximum(first + np.cumsum(b) - 2 * last, 0.0)


def cause_specific(kind: Int[np.ndarray, " n"], of: int) -> Int[np.ndarray, " n"]:
    """Return 1 for events of one kind and 0 for everything else: what a cause-specific hazard is fitted to."""
    return (np.asarray(kind) == of).astype(np.int64)
