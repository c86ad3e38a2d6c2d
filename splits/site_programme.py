"""The quadratic programme of site-preserved folds (Howard et al. 2021, Nat Commun 12:4423), solved exactly with HiGHS.

Minimise, over folds f and categories v (classes, events), the sum of (k * count[f, v] - total[v])^2, where whole sites go to
folds. Counts are whole numbers, so each square equals the largest of its chords between neighbouring whole numbers, and the
programme is a mixed-integer linear one without any error.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

NODE_LIMIT = 300  # the usual end of a search that proves nothing: the same on every machine
SECONDS_LIMIT = 25.0  # only for cohorts so large that their nodes take seconds


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What is known of the best value: no assignment can be below `value`."""

    value: int
    source: str  # "solved", "node limit", "counting" (the solver ran out of time), "impossible" (no such spread)
    fold_of_site: Int64[np.ndarray, " site"] | None  # the solver's own assignment


def site_cost(counts: Int64[np.ndarray, "fold v"], totals: Int64[np.ndarray, " v"]) -> int:
    """Return the value of the programme for counts of each category in each fold."""
    return int(((len(counts) * counts - totals) ** 2).sum())


def counting_bound(counts: Int64[np.ndarray, "site v"], n_folds: int) -> int:
    """Bound the best value category by category: the largest site in one fold, the rest shared out evenly."""
    bound = 0
    for own in counts.T:
        total, largest = int(own.sum()), int(own.max(initial=0))
        even = [total // n_folds + (fold < total % n_folds) for fold in range(n_folds)]
        if largest > max(even):
            rest, others = total - largest, n_folds - 1
            even = [largest, *(rest // others + (fold < rest % others) for fold in range(others))]
        bound += sum((n_folds * count - total) ** 2 for count in even)
    return bound


def programme_bound(
    counts: Int64[np.ndarray, "site v"],
    n_folds: int,
    *,
    everywhere: Int64[np.ndarray, " every"],
    apart: Int64[np.ndarray, " lonely"],
) -> Bound:
    """Solve the programme.

    Args:
        counts: patients of each category at each site, at least as many sites as folds.
        n_folds: number of folds, at least 2.
        everywhere: categories that must be in every fold.
        apart: categories at fewer sites than folds: no two of their sites share a fold.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    order = np.argsort(-counts.sum(axis=1), kind="stable")
    rows = _constraints(counts[order], n_folds, everywhere, apart)
    n_choices, n_squares = len(counts) * n_folds, n_folds * counts.shape[1]
    upper = np.concatenate([np.ones(n_choices), np.full(n_squares, np.inf)])
    for site in range(n_folds):  # folds are alike: the largest site is in the first, the next in the first two
        upper[site * n_folds + site + 1 : (site + 1) * n_folds] = 0
    found = milp(
        np.concatenate([np.zeros(n_choices), np.ones(n_squares)]),
        constraints=LinearConstraint(*rows),
        integrality=np.concatenate([np.ones(n_choices), np.zeros(n_squares)]),
        bounds=Bounds(np.zeros(len(upper)), upper),
        options={"node_limit": NODE_LIMIT, "time_limit": SECONDS_LIMIT, "mip_rel_gap": 0.0},
    )
    simple = counting_bound(counts, n_folds)
    if found.status == 2:
        return Bound(value=simple, source="impossible", fold_of_site=None)
    if "ime limit" in str(found.message) or found.mip_dual_bound is None or not np.isfinite(found.mip_dual_bound):
        return Bound(value=simple, source="counting", fold_of_site=None)
    fold_of_site = None
    if found.x is not None:
        fold_of_site = np.empty(len(counts), dtype=np.int64)
        fold_of_site[order] = found.x[:n_choices].reshape(-1, n_folds).argmax(axis=1)
    value = max(simple, int(np.ceil(found.mip_dual_bound - 1e-6 * max(1.0, found.mip_dual_bound))))
    return Bound(value=value, source="solved" if found.status == 0 else "node limit", fold_of_site=fold_of_site)


def _constraints(
    counts: Int64[np.ndarray, "site v"],
    n_folds: int,
    everywhere: Int64[np.ndarray, " every"],
    apart: Int64[np.ndarray, " lonely"],
) -> tuple[object, np.ndarray, np.ndarray]:
    """Return the matrix and both limits; columns are choices (site, fold), then squares (fold, category)."""
    from scipy.sparse import coo_array, csr_array, vstack

    n_sites, n_categories = counts.shape
    totals, n_choices = counts.sum(axis=0), n_sites * n_folds
    width = n_choices + n_folds * n_categories
    blocks, low, high = [], [], []

    def add(values: np.ndarray, columns: np.ndarray, least: np.ndarray, most: np.ndarray) -> None:
        """Add one row for each row of values (or the one row of values for each row of columns)."""
        columns, values = np.broadcast_arrays(columns, values)
        rows = np.broadcast_to(np.arange(len(columns))[:, None], columns.shape)
        blocks.append(coo_array((values.ravel(), (rows.ravel(), columns.ravel())), shape=(len(columns), width)))
        low.append(np.broadcast_to(least, len(columns)))
        high.append(np.broadcast_to(most, len(columns)))

    choice = np.arange(n_choices).reshape(n_sites, n_folds)
    one, never = np.ones((1, 1)), np.array(np.inf)
    add(one, choice, np.array(1.0), np.array(1.0))  # each site in one fold
    add(one, choice.T, np.array(1.0), never)  # each fold with a site
    for category in everywhere:
        add(one, choice[counts[:, category] > 0].T, np.array(1.0), never)
    for category in apart:
        add(one, choice[counts[:, category] > 0].T, np.array(-np.inf), np.array(1.0))
    for category, total in enumerate(totals):
        at = np.flatnonzero(counts[:, category])
        counted = np.arange(total)
        slope = n_folds * (n_folds * (2 * counted + 1) - 2 * total)  # of (k c - N)^2 from c to c + 1
        start = (n_folds * counted - total) ** 2 - slope * counted
        for fold in range(n_folds):
            columns = np.concatenate([[n_choices + fold * n_categories + category], choice[at, fold]])
            values = np.concatenate([np.ones((total, 1)), -slope[:, None] * counts[at, category][None]], axis=1)
            add(values, columns[None], start.astype(float), never)
    return csr_array(vstack(blocks)), np.concatenate(low), np.concatenate(high)
