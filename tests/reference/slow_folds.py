"""Folds the slow, obvious way: every assignment of sites tried, every stratum counted by hand."""

import itertools
from collections import Counter


def slow_draw_counts(strata, is_drawn):
    """Return size and number drawn of every stratum."""
    sizes, drawn = Counter(map(tuple, strata)), Counter()
    for stratum, was_drawn in zip(map(tuple, strata), is_drawn, strict=True):
        drawn[stratum] += was_drawn
    return [(size, drawn[stratum]) for stratum, size in sizes.items()]


def slow_site_cost(counts, fold_of_site, n_folds):
    """Return the sum over classes and folds of (k * count - N)^2, as Howard et al. 2021 write it."""
    cost = 0
    for category in range(len(counts[0])):
        total = sum(site[category] for site in counts)
        for fold in range(n_folds):
            inside = sum(site[category] for site, own in zip(counts, fold_of_site, strict=True) if own == fold)
            cost += (n_folds * inside - total) ** 2
    return cost


def slow_absences(counts, fold_of_site, n_folds):
    """Count folds without a category beyond those that its number of sites forces, and empty folds."""
    absent = n_folds - len(set(fold_of_site))
    for category in range(len(counts[0])):
        at = [own for site, own in zip(counts, fold_of_site, strict=True) if site[category]]
        absent += min(len(at), n_folds) - len(set(at))
    return absent


def slow_best_assignment(counts, n_folds):
    """Return fewest absences and, among those assignments, the least cost, out of all n_folds ** n_sites."""
    everything = itertools.product(range(n_folds), repeat=len(counts))
    return min((slow_absences(counts, each, n_folds), slow_site_cost(counts, each, n_folds)) for each in everything)
