"""Patient bootstrap: patients are drawn anew inside each stratum (class, or event and not), so no stratum can vanish.

A resample is a column of a weights matrix (how often each patient was drawn), so metrics that take weights are computed
on many resamples at once. Intervals are BCa (Efron 1987, J Am Stat Assoc 82:171) where bias and acceleration are defined,
else percentiles; each says which it is. Where no resample differs, or too few patients were tested, `mil.metrics.support` says
what stands in its place. Figures of several models that share training patients get wider intervals (`cross_validated`):
resamples are moved away from the figure by that factor, so that intervals, paired differences and p values follow alike.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float64, Int, Int64

from mil.metrics.classification import Weights
from mil.metrics.cross_validated import range_of
from mil.metrics.support import ALIKE, LEVEL, Support

TOO_FEW = "too few"
MAX_JACKKNIFE = 500  # beyond it patients are left out in groups
CELLS = 2_000_000  # weights in memory at a time

Metrics = Callable[[Weights], Mapping[str, Float64[np.ndarray, " b"]]]


@dataclass(frozen=True, slots=True)
class Interval:
    """A metric with its interval; None where it is not defined.

    `method` is "BCa" or "percentile" (of the bootstrap), "exact" (limits that hold where no resample differs), "too few" (no
    interval: too few patients or events), or "none".
    """

    value: float | None
    low: float | None
    high: float | None
    method: str = "none"


@dataclass(frozen=True)
class Resampling:
    """Who is drawn how often in each bootstrap, and the groups that the jackknife leaves out one by one.

    `widening` is how many times further from the figure its resamples lie because models of folds share training patients.
    """

    counts: Int[np.ndarray, "n b"]
    group_of: Int64[np.ndarray, " n"]
    stratum_of_group: Int64[np.ndarray, " g"]
    widening: float = 1.0


@dataclass(frozen=True)
class Resamples:
    """Metrics on the cohort as it is, on every bootstrap, and with each jackknife group left out; what they rest on."""

    value: Mapping[str, float]
    bootstrap: Mapping[str, Float64[np.ndarray, " b"]]
    jackknife: Mapping[str, Float64[np.ndarray, " g"]]
    stratum_of_group: Int64[np.ndarray, " g"]
    support: Mapping[str, Support] = field(default_factory=dict)
    is_difference: bool = False

    def minus(self, other: "Resamples") -> "Resamples":
        """Return the paired difference to another model on the same resamples, for the metrics both have."""
        names = [name for name in self.value if name in other.value]
        return Resamples(
            {name: self.value[name] - other.value[name] for name in names},
            {name: self.bootstrap[name] - other.bootstrap[name] for name in names},
            {name: self.jackknife[name] - other.jackknife[name] for name in names},
            self.stratum_of_group,
            {name: Support(_support(self, name).is_enough and _support(other, name).is_enough) for name in names},
            is_difference=True,
        )


def _support(samples: Resamples, name: str) -> Support:
    return samples.support.get(name, Support())


def supported(samples: Resamples, support: Mapping[str, Support]) -> Resamples:
    """Return the resamples with what their metrics rest on, by name; without it, a metric has a bootstrap interval or none."""
    return replace(samples, support=support)


def resamples(strata: Int[np.ndarray, " n"], n_bootstrap: int, rng: np.random.Generator) -> Int64[np.ndarray, "b n"]:
    """Return indices of patients, drawn with replacement inside each stratum, a row a bootstrap.

    In each bootstrap one patient of every stratum, chosen anew, cannot be drawn (the bootknife, Hesterberg 2004, Proc Am Stat
    Assoc): a plain bootstrap of m patients shows (m - 1) / m of the variance, too little for a subtype of six.
    """
    indices = []
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        picks = rng.integers(max(1, len(own) - 1), size=(n_bootstrap, len(own)))
        if len(own) > 1:
            picks += picks >= rng.integers(len(own), size=(n_bootstrap, 1))
        indices.append(own[picks])
    return np.concatenate(indices, axis=1)


def plan_resampling(
    strata: Int[np.ndarray, " n"], n_bootstrap: int, rng: np.random.Generator, widening: float = 1.0
) -> Resampling:
    """Draw the bootstraps as counts, and deal patients to jackknife groups inside their stratum."""
    n = len(strata)
    cells = resamples(strata, n_bootstrap, rng) + n * np.arange(n_bootstrap)[:, None]
    counts = np.bincount(cells.ravel(), minlength=n * n_bootstrap).reshape(n_bootstrap, n).T.astype(np.int32)
    group_of = np.empty(n, dtype=np.int64)
    stratum_of_group: list[int] = []
    for stratum in np.unique(strata):
        own = rng.permutation(np.flatnonzero(strata == stratum))
        n_groups = len(own) if n <= MAX_JACKKNIFE else int(np.clip(round(MAX_JACKKNIFE * len(own) / n), 1, len(own)))
        group_of[own] = len(stratum_of_group) + np.arange(len(own)) % n_groups
        stratum_of_group += [int(stratum)] * n_groups
    return Resampling(counts, group_of, np.array(stratum_of_group, dtype=np.int64), widening)


def resample(metrics: Metrics, plan: Resampling) -> Resamples:
    """Compute metrics on the cohort, on all bootstraps and on all jackknife cohorts, a block of columns at a time."""
    n, n_bootstrap = plan.counts.shape
    width = max(1, CELLS // n)
    value = {name: float(own[0]) for name, own in metrics(np.ones((n, 1))).items()}
    groups = np.arange(len(plan.stratum_of_group))
    bootstrap = [
        metrics(plan.counts[:, start : start + width].astype(np.float64)) for start in range(0, n_bootstrap, width)
    ]
    jackknife = [
        metrics((plan.group_of[:, None] != groups[None, start : start + width]).astype(np.float64))
        for start in range(0, len(groups), width)
    ]
    draws, left_out = _joined(bootstrap), _joined(jackknife)
    if plan.widening != 1:
        draws, left_out = (
            {name: value[name] + plan.widening * (each - value[name]) for name, each in own.items()}
            for own in (draws, left_out)
        )
    return Resamples(value, draws, left_out, plan.stratum_of_group)


def _joined(parts: list[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:  # blocks may differ in width
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def intervals(samples: Resamples) -> dict[str, Interval]:
    """Return each metric with its 95 % interval, inside what the metric lies between."""
    found = {}
    for name, value in samples.value.items():
        accelerated = acceleration(samples.jackknife[name], samples.stratum_of_group)
        own = interval(value, samples.bootstrap[name], accelerated, _support(samples, name))
        least, most = range_of(name)
        least, most = (least - most, most - least) if samples.is_difference else (least, most)
        found[name] = replace(own, low=_inside(own.low, least, most), high=_inside(own.high, least, most))
    return found


def _inside(end: float | None, least: float, most: float) -> float | None:
    return None if end is None else float(min(max(end, least), most))


def named_intervals(samples: Resamples, names: Collection[str]) -> dict[str, Interval]:
    """Return the metrics of these names with their 95 % intervals."""
    return {name: own for name, own in intervals(samples).items() if name in names}


def acceleration(left_out: Float64[np.ndarray, " g"], stratum_of: Int64[np.ndarray, " g"]) -> float:
    """Return BCa's acceleration from jackknife values, patients left out inside strata; NaN when it is not defined.

    a = sum u^3 / (6 (sum u^2)^1.5), where u is (g - 1) / g times the difference of a stratum's mean jackknife value and
    one of its g values (Davison and Hinkley 1997, Bootstrap Methods and their Application, section 5.3.2).
    """
    influence = np.concatenate(
        [
            (own.mean() - own) * (len(own) - 1) / len(own)
            for own in (left_out[stratum_of == stratum] for stratum in np.unique(stratum_of))
        ]
    )
    spread = float((influence**2).sum())
    if not np.isfinite(spread) or spread <= 1e-24:  # a metric that leaving anyone out does not change
        return float("nan")
    return float((influence**3).sum() / (6 * spread**1.5))


def interval(
    value: float,
    draws: Float64[np.ndarray, " b"],
    accelerated: float = float("nan"),
    support: Support = Support(),  # noqa: B008  a frozen value
) -> Interval:
    """Return a metric with its 95 % interval; undefined draws are left out, and with half of them there is no interval.

    With too few patients, or where no draw differs, the limits of the support stand in the bootstrap's place, if it has some.

    BCa's ends are the quantiles Phi(z0 + (z0 + z) / (1 - a (z0 + z))), with z0 from the share of draws below the value
    (equal ones count half) and the acceleration a.
    """
    from scipy.special import ndtr, ndtri

    known = draws[np.isfinite(draws)]
    if not np.isfinite(value):
        return Interval(None, None, None)
    if not support.is_enough or (len(known) and np.ptp(known) <= ALIKE):
        method = "exact" if support.low is not None else "none" if support.is_enough else TOO_FEW
        return Interval(float(value), support.low, support.high, method)
    if len(known) < len(draws) / 2 or not len(known):
        return Interval(float(value), None, None)
    ends, method = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2]), "percentile"
    share = ((known < value).mean() + (known <= value).mean()) / 2
    if np.isfinite(accelerated) and 0 < share < 1:
        shifted = ndtri(share) + ndtri(ends)
        if (1 - accelerated * shifted > 0).all():
            ends, method = ndtr(ndtri(share) + shifted / (1 - accelerated * shifted)), "BCa"
    low, high = np.quantile(known, ends)
    return Interval(float(value), float(low), float(high), method)
