"""Tiles of a bag taken away in an order, and how the output follows: measures of one bag's map.

A map is right where taking away what it calls most relevant lowers the output soon, and what it calls least relevant late
(pixel flipping: Samek et al. 2017, IEEE TNNLS 28:2660; both orders together, so that no order wins by odd bags alone: Blücher
et al. 2024, arXiv 2401.06654; for bags of tiles: Hense et al. 2024, arXiv 2406.04280). To keep the k most relevant is to drop the
others, least relevant first: one curve tells both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Num

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # of the tiles that are taken away
TOP = 0.05  # of the tiles: is it enough alone, and is the rest less without it?
N_RANDOM = 3  # orders drawn
OfRows = Callable[[Int64[np.ndarray, " chosen"]], Float64[np.ndarray, " out"]]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The told output over SHARES taken away: the most relevant first, and the least relevant first."""

    most_first: Float64[np.ndarray, " share"]
    least_first: Float64[np.ndarray, " share"]

    @property
    def gain(self) -> float:
        """The area between the two: 0 for an order that knows nothing, the larger the better."""
        return float(np.trapezoid(self.least_first - self.most_first, SHARES))


@dataclass(frozen=True, kw_only=True)
class BagFaithfulness:
    """What one bag shows: curves of each order by name, and the outputs of all tiles, the top tiles alone, and without them."""

    curves: dict[str, Curves]
    whole: Float64[np.ndarray, " out"]
    top_alone: Float64[np.ndarray, " out"]
    without_top: Float64[np.ndarray, " out"]
    told: int  # the output that is followed


def flip(
    outputs_of: OfRows, scores: dict[str, Num[np.ndarray, " tile"]], told: int, rng: np.random.Generator
) -> BagFaithfulness:
    """Measure the maps of one bag.

    Args:
        outputs_of: what the model says of some of its tiles.
        scores: maps by name, higher is more relevant to the told output; the first is the one whose top is tried alone.
        told: place of the output.
        rng: draws the order of `random`.
    """
    n = len(next(iter(scores.values())))
    curves = {name: curves_of(outputs_of, order_of(own), told) for name, own in scores.items()}
    drawn = [curves_of(outputs_of, rng.permutation(n), told) for _ in range(N_RANDOM)]
    curves["random"] = Curves(
        most_first=np.mean([own.most_first for own in drawn], axis=0),
        least_first=np.mean([own.least_first for own in drawn], axis=0),
    )
    ranked, n_top = order_of(next(iter(scores.values()))), max(1, round(TOP * n))
    return BagFaithfulness(
        curves=curves, whole=outputs_of(np.arange(n)), top_alone=outputs_of(np.sort(ranked[:n_top])),
        without_top=outputs_of(np.sort(ranked[n_top:] if n > n_top else ranked)), told=told,
    )  # fmt: skip


def order_of(scores: Num[np.ndarray, " tile"]) -> Int64[np.ndarray, " tile"]:
    """Return the tiles, the most relevant first; tiles alike in their order."""
    return np.argsort(-np.asarray(scores, np.float64), kind="stable").astype(np.int64)


def curves_of(outputs_of: OfRows, ranked: Int64[np.ndarray, " tile"], told: int) -> Curves:
    """Return the curves of an order; one tile at least stays."""
    n, most, least = len(ranked), [], []
    for share in SHARES:
        n_gone = min(round(share * n), n - 1)
        most.append(outputs_of(np.sort(ranked[n_gone:]))[told])
        least.append(outputs_of(np.sort(ranked[: n - n_gone]))[told])
    return Curves(most_first=np.array(most), least_first=np.array(least))
