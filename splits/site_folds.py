"""Whole sites to folds: site-preserved cross-validation (Howard et al. 2021, Nat Commun 12:4423).

A model can read the hospital off a slide; where hospitals differ in their patients, that passes for skill. So the patients
of a site stay together. A seeded local search finds the assignment, counted in steps and not in seconds, so that every
machine finds the same; the programme of `site_programme` says how far from the best it can be, and helps where its own
answer is better and does not hang on a clock. (Machines could differ only where the search misses the best and the solver,
on the slower one, runs out of time: the record then says that the bound is by counting.)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from splits.site_programme import Bound, programme_bound, site_cost

KICKS, KICKS_WORK = 3000, 10_000_000  # perturbations of the search; fewer where sites are many
KICKED_SITES = 3
STARTS_OF_INNER_SEARCH = 12
LEAST_GAIN = 1e-6  # below lies rounding


@dataclass(frozen=True, kw_only=True)
class SiteAssignment:
    """Sites in folds: the value of the programme, and how far it can be from the best."""

    fold_of_site: Int64[np.ndarray, " site"]
    cost: int
    bound: int
    bound_source: str

    @property
    def gap(self) -> float:
        """The share of the value that a better assignment could save at most; 0 is proven best."""
        return max(0, self.cost - self.bound) / self.cost if self.cost else 0.0


def assign_sites(
    counts: Int64[np.ndarray, "site v"], n_folds: int, rng: np.random.Generator, *, bound: Bound | None = None
) -> SiteAssignment:
    """Return the assignment of sites to folds.

    Args:
        counts: patients of each category (class, event) at each site.
        n_folds: number of folds, from 2 to the number of sites.
        rng: decides between assignments of one value.
        bound: from `best_bound`, where it is known already.

    First no category is absent from more folds than its number of sites forces, then the programme's value is least. Folds
    are numbered by size, the largest first.

    Raises:
        ValueError: fewer sites than folds.
    """
    if not 2 <= n_folds <= len(counts):
        raise ValueError(f"{len(counts)} sites cannot fill {n_folds} folds")
    search = _Search(counts, n_folds)
    bound = best_bound(counts, n_folds) if bound is None else bound
    fold_of_site = search.run(rng, stop_at=bound.value)
    if bound.fold_of_site is not None and search.value(bound.fold_of_site) < search.value(fold_of_site):
        fold_of_site = bound.fold_of_site
    fold_of_site = _numbered_by_size(fold_of_site, counts.sum(axis=1), n_folds)
    cost = site_cost(search.fold_counts(fold_of_site), counts.sum(axis=0))
    return SiteAssignment(fold_of_site=fold_of_site, cost=cost, bound=bound.value, bound_source=bound.source)


def best_bound(counts: Int64[np.ndarray, "site v"], n_folds: int) -> Bound:
    """Return a bound on the programme's value, and the programme's own assignment where it has one.

    Categories are spread as `assign_sites` spreads them; where that is impossible for all at once, the bound is that of
    the programme without it, which is below.
    """
    n_sites_with = (counts > 0).sum(axis=0)
    everywhere = np.flatnonzero(n_sites_with >= n_folds)
    apart = np.flatnonzero((n_sites_with > 1) & (n_sites_with < n_folds))
    bound = programme_bound(counts, n_folds, everywhere=everywhere, apart=apart)
    if bound.source == "impossible":
        nothing = np.empty(0, dtype=np.int64)
        return programme_bound(counts, n_folds, everywhere=nothing, apart=nothing)
    return bound


class _Search:
    """Iterated local search over moves of one site and exchanges of two."""

    def __init__(self, counts: Int64[np.ndarray, "site v"], n_folds: int) -> None:
        self.counts, self.n_folds, self.totals = counts, n_folds, counts.sum(axis=0)
        self.wanted = np.minimum((counts > 0).sum(axis=0), n_folds)  # folds that can have the category
        self.penalty = int(n_folds * ((n_folds * self.totals) ** 2).sum()) + 1  # an absence outweighs any balance

    def fold_counts(self, fold_of_site: Int64[np.ndarray, " site"]) -> Int64[np.ndarray, "fold v"]:
        """Return the patients of each category in each fold."""
        found = np.zeros((self.n_folds, self.counts.shape[1]), dtype=np.int64)
        np.add.at(found, fold_of_site, self.counts)
        return found

    def value(self, fold_of_site: Int64[np.ndarray, " site"]) -> int:
        """Return the programme's value, and above it what absences cost."""
        inside = self.fold_counts(fold_of_site)
        absent = (self.wanted - (inside > 0).sum(axis=0)).sum()
        empty = self.n_folds - len(np.unique(fold_of_site))
        return site_cost(inside, self.totals) + self.penalty * int(absent + empty)

    def run(self, rng: np.random.Generator, *, stop_at: int) -> Int64[np.ndarray, " site"]:
        """Descend from a greedy start, then again from perturbations of where the walk stands."""
        current = self.descend(self.greedy(rng))
        value = self.value(current)
        best, best_value = current, value
        for _ in range(int(np.clip(KICKS_WORK // len(current) ** 2, 20, KICKS))):
            if best_value <= stop_at:
                break
            kicked = current.copy()
            moved = rng.choice(len(kicked), min(KICKED_SITES, len(kicked)), replace=False)
            kicked[moved] = rng.integers(self.n_folds, size=len(moved))
            kicked = self.descend(kicked)
            kicked_value = self.value(kicked)
            if kicked_value <= value:
                current, value = kicked, kicked_value
            if value < best_value:
                best, best_value = current, value
        return best

    def greedy(self, rng: np.random.Generator) -> Int64[np.ndarray, " site"]:
        """Give site after site, the largest first, to the fold where it costs least."""
        order = np.lexsort((rng.permutation(len(self.counts)), -self.counts.sum(axis=1)))
        fold_of_site, inside = np.zeros(len(self.counts), dtype=np.int64), np.zeros_like(self.fold_counts(order * 0))
        for site in order:
            before = ((self.n_folds * inside - self.totals) ** 2).sum(axis=1)
            after = ((self.n_folds * (inside + self.counts[site]) - self.totals) ** 2).sum(axis=1)
            fold_of_site[site] = np.argmin(after - before)
            inside[fold_of_site[site]] += self.counts[site]
        return fold_of_site

    def descend(self, fold_of_site: Int64[np.ndarray, " site"]) -> Int64[np.ndarray, " site"]:
        """Take the best move or exchange until none helps."""
        fold_of_site = fold_of_site.copy()
        while True:
            moves, exchanges = self.changes(fold_of_site)
            if min(moves.min(), exchanges.min()) >= 0:
                return fold_of_site
            if moves.min() <= exchanges.min():
                site, fold = np.unravel_index(moves.argmin(), moves.shape)
                fold_of_site[site] = fold
            else:
                one, other = np.unravel_index(exchanges.argmin(), exchanges.shape)
                fold_of_site[[one, other]] = fold_of_site[[other, one]]

    def changes(
        self, fold_of_site: Int64[np.ndarray, " site"]
    ) -> tuple[Int64[np.ndarray, "site fold"], Int64[np.ndarray, "site site"]]:
        """Return what each move of a site to a fold, and each exchange of two sites, adds to the value."""
        inside, n_sites = self.fold_counts(fold_of_site), np.bincount(fold_of_site, minlength=self.n_folds)
        own = inside[fold_of_site]
        moves = self.change(own[:, None], inside[None], -self.counts[:, None])
        is_emptied = (n_sites[fold_of_site] == 1)[:, None]
        moves += self.penalty * (is_emptied.astype(np.int64) - (n_sites == 0)[None])
        moves[np.arange(len(moves)), fold_of_site] = 0
        exchanges = self.change(own[:, None], own[None], self.counts[None] - self.counts[:, None])
        exchanges[fold_of_site[:, None] == fold_of_site[None]] = 0
        return moves, exchanges

    def change(
        self,
        giver: Int64[np.ndarray, "... v"],
        taker: Int64[np.ndarray, "... v"],
        difference: Int64[np.ndarray, "... v"],
    ) -> Int64[np.ndarray, "..."]:
        """Return the change of value when one fold gains `difference` and another loses it."""
        k, totals = self.n_folds, self.totals
        gives, takes = giver + difference, taker - difference
        change = (k * gives - totals) ** 2 - (k * giver - totals) ** 2
        change = change + (k * takes - totals) ** 2 - (k * taker - totals) ** 2
        gained = (gives > 0) * 1 - (giver > 0) + (takes > 0) - (taker > 0)
        return (change - self.penalty * gained).sum(axis=-1)


def _numbered_by_size(
    fold_of_site: Int64[np.ndarray, " site"], sizes: Int64[np.ndarray, " site"], n_folds: int
) -> Int64[np.ndarray, " site"]:
    """Number folds by their size, the largest first, then by their first site."""
    first = np.array([np.flatnonzero(fold_of_site == fold)[0] for fold in range(n_folds)])
    order = np.lexsort((first, -np.bincount(fold_of_site, weights=sizes, minlength=n_folds)))
    return np.argsort(order)[fold_of_site]


def inner_sites(
    counts: Int64[np.ndarray, "site v"], fraction: float, rng: np.random.Generator
) -> Bool[np.ndarray, " site"] | None:
    """Choose whole training sites for the inner validation part, or None where no choice is sound.

    Args:
        counts: patients of each category at each training site.
        fraction: the share of patients wanted, 0 to 0.5.
        rng: the starts of the search.

    Least squares of counts to the fraction, category by category. A choice is sound if it holds between half and one and a
    half times the wanted patients of all categories together, and leaves at least half of each category to train on.
    """
    totals = counts.sum(axis=0)
    wanted, most = fraction * totals, totals // 2
    weight = float(totals.sum()) ** 2 + 1

    def value(chosen: Int64[np.ndarray, "... v"]) -> Any:  # one number a choice
        excess = np.maximum(chosen - most, 0).sum(axis=-1)
        return ((chosen - wanted) ** 2).sum(axis=-1) + weight * excess

    best, best_value = np.zeros(len(counts), dtype=bool), float(value(totals * 0))
    for _ in range(STARTS_OF_INNER_SEARCH):
        is_in = rng.random(len(counts)) < fraction
        while True:
            now = counts[is_in].sum(axis=0)
            sign = np.where(is_in, -1, 1)[:, None] * counts
            flips = value(now + sign)
            exchanges = np.where(is_in[:, None] & ~is_in[None], value(now + sign[:, None] + sign[None]), np.inf)
            if min(flips.min(), exchanges.min()) >= value(now) - LEAST_GAIN:
                break
            is_flip = flips.min() <= exchanges.min()
            changed = [flips.argmin()] if is_flip else np.unravel_index(exchanges.argmin(), exchanges.shape)
            is_in[np.asarray(changed)] ^= True
        if value(now) < best_value:
            best, best_value = is_in.copy(), float(value(now))
    chosen, ideal = counts[best].sum(), wanted.sum()
    return best if 0.5 * ideal <= chosen <= 1.5 * ideal and best_value < weight else None
