"""Patient bootstrap: patients are drawn anew inside each stratum (class, or event and not), so none can vanish."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int, Int64

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A figure with its percentile interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


def resamples(
    strata: Int[np.ndarray, " n"], n_bootstrap: int, rng: np.random.Generator
) -> Iterator[Int64[np.ndarray, " n"]]:
    """Yield indices of patients, drawn with replacement inside each stratum."""
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    for _ in range(n_bootstrap):
        yield np.concatenate([rng.choice(own, len(own)) for own in members])


def interval(value: float, draws: Float64[np.ndarray, " b"]) -> Interval:
    """Return a figure with the percentiles of its bootstrap draws; undefined draws are left out."""
    known = draws[np.isfinite(draws)]
    if not np.isfinite(value):
        return Interval(None, None, None)
    if len(known) < len(draws) / 2:
        return Interval(value, None, None)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def draw(
    figure: Callable[[Int64[np.ndarray, " n"]], float], indices: list[Int64[np.ndarray, " n"]]
) -> Float64[np.ndarray, " b"]:
    """Return a figure on every resample."""
    return np.array([figure(index) for index in indices], dtype=np.float64)
