"""Concordance of risks with follow-up, in a form that bootstraps fast.

Harrell's C (1982, JAMA 247:2543): of the pairs in which one patient is known to have had the event first, the share where
that patient's risk is higher; equal risks count half. A patient censored at the time of another's event outlived it.
"""

import numpy as np
from jaxtyping import Float, Float64, Int, Num

from mil.metrics.classification import Weights


def concordance_sums(
    risk: Float[np.ndarray, " n"],
    time: Num[np.ndarray, " n"],
    event: Num[np.ndarray, " n"],
    weights: Weights,
    pair_weight: Float64[np.ndarray, " n"] | None = None,
) -> tuple[Float64[np.ndarray, " b"], Float64[np.ndarray, " b"]]:
    """Return the sums over comparable pairs, and over those in the right order, for each column of weights.

    Patients enter a Fenwick tree over the ranks of risk, the longest follow-up first, so each event meets those who
    outlived it: O(n log n) for all columns at once. Two draws of one patient are no pair that could be compared.

    Args:
        risk: higher is worse.
        time: follow-up.
        event: 1 event, 0 censored.
        weights: how often each patient occurs in each cohort.
        pair_weight: what the pairs of each event count (1 when left out).
    """
    is_event = np.asarray(event).astype(bool)
    _, rank = np.unique(risk, return_inverse=True)
    n_ranks = int(rank.max(initial=0)) + 1
    tree = np.zeros((n_ranks + 1, weights.shape[1]))
    inside, total, right = np.zeros(weights.shape[1]), np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
    up, down = _tree_paths(n_ranks)
    order = np.lexsort((is_event, -np.asarray(time, dtype=np.float64)))  # at one time, the censored come first
    position = 0
    while position < len(order):
        last = position
        while last < len(order) and (time[order[last]], is_event[order[last]]) == (
            time[order[position]],
            is_event[order[position]],
        ):
            last += 1
        group = order[position:last]
        for patient in group if is_event[order[position]] else ():
            own = weights[patient] * (1.0 if pair_weight is None else pair_weight[patient])
            below, not_above = tree[down[rank[patient]]].sum(axis=0), tree[down[rank[patient] + 1]].sum(axis=0)
            right += own * (below + not_above) / 2
            total += own * inside
        for patient in group:
            tree[up[rank[patient]]] += weights[patient]
            inside += weights[patient]
        position = last
    return total, right


def _tree_paths(n_ranks: int) -> tuple[list[list[int]], list[list[int]]]:
    """Return the nodes that hold each rank, and the nodes whose sum is that of all ranks below each (Fenwick 1994)."""
    up, down = [], []
    for rank in range(n_ranks + 1):
        node, path = rank + 1, []
        while node <= n_ranks:
            path.append(node)
            node += node & -node
        up.append(path)
        node, path = rank, []
        while node > 0:
            path.append(node)
            node -= node & -node
        down.append(path)
    return up, down


def concordances(
    risk: Float[np.ndarray, " n"], time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"], weights: Weights
) -> Float64[np.ndarray, " b"]:
    """Return Harrell's C of each cohort; NaN when no pair can be compared."""
    total, right = concordance_sums(risk, time, event, weights)
    return np.divide(right, total, out=np.full(len(total), np.nan), where=total > 0)


def concordances_within(
    risk: Float[np.ndarray, " n"],
    time: Num[np.ndarray, " n"],
    event: Num[np.ndarray, " n"],
    stratum: Int[np.ndarray, " n"],
    weights: Weights,
) -> Float64[np.ndarray, " b"]:
    """Return C over the pairs inside a stratum (a fold of a repeat, say), whose risks need no common scale.

    A patient may stand in several strata, each time with its own row.
    """
    total, right = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
    for name in np.unique(stratum):
        own = stratum == name
        part = concordance_sums(risk[own], time[own], event[own], weights[own])
        total, right = total + part[0], right + part[1]
    return np.divide(right, total, out=np.full(len(total), np.nan), where=total > 0)


def c_index(risk: Float[np.ndarray, " n"], time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"]) -> float:
    """Return Harrell's C of a cohort; NaN when no pair can be compared."""
    return float(concordances(risk, time, event, np.ones((len(risk), 1)))[0])
