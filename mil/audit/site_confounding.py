"""How far the site gives the class away, and the embeddings the site.

Pure. Cramér's V corrected for its bias (Bergsma 2013, J Korean Stat Soc 42:323), a permutation test of independence, and a
penalised multinomial logistic regression from mean embeddings to sites, out of fold. Site signatures survive colour
normalisation (Howard et al. 2021), so a site that leans towards a class can pass for skill.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from mil.metrics.support import ALIKE, clopper_pearson

N_PERMUTATIONS = 2000
N_BOOTSTRAPS = 1000
MIN_SITE_PATIENTS = 5  # a site with fewer is not predicted
N_COMPONENTS = 64  # principal components of the training patients that the regression sees
LOGIT_SD = 3.0  # prior on standardised inputs, as for the mean-pool baseline: nothing is tuned
CONCENTRATED, BEYOND_CHANCE = (
    0.5,
    0.1,
)  # a class is concentrated if a site gave this share of it, and so much more than of all


def cross_table(rows: Int64[np.ndarray, " n"], columns: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, "r c"]:
    """Count pairs of codes (from 0)."""
    table = np.zeros((rows.max() + 1, columns.max() + 1), dtype=np.int64)
    np.add.at(table, (rows, columns), 1)
    return table


def chi_square(table: Int64[np.ndarray, "r c"]) -> float:
    """Return Pearson's statistic of a table without empty rows or columns."""
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return float(((table - expected) ** 2 / expected).sum())


def cramers_v(table: Int64[np.ndarray, "r c"]) -> float | None:
    """Return Cramér's V from 0 (independent) to 1, corrected for bias (Bergsma 2013, equations 7 to 10).

    None where it is not defined: one row, one column, or as many rows as patients.
    """
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    n, (r, c) = int(table.sum()), table.shape
    if min(r, c) < 2 or n < 2:
        return None
    phi2 = max(0.0, chi_square(table) / n - (r - 1) * (c - 1) / (n - 1))
    smaller = min(r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)) - 1
    return float(min(1.0, np.sqrt(phi2 / smaller))) if smaller > 1e-12 else None


def permutation_p(table: Int64[np.ndarray, "r c"], rng: np.random.Generator) -> float:
    """Return the p-value of independence: tables of the same margins at random (Patefield 1981), the found one among them."""
    from scipy.stats import random_table

    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    if min(table.shape) < 2:
        return 1.0
    drawn = random_table(table.sum(axis=1), table.sum(axis=0)).rvs(N_PERMUTATIONS, random_state=rng)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    statistics = ((drawn - expected) ** 2 / expected).sum(axis=(1, 2))
    as_extreme = int((statistics >= chi_square(table) * (1 - 1e-9)).sum())
    return (1 + as_extreme) / (1 + N_PERMUTATIONS)


def concentrated_classes(table: Int64[np.ndarray, "site k"]) -> list[tuple[int, int]]:
    """Return (site, class) where one site gave at least half of a class, more than chance would.

    More than chance: the site's patients of the class are in the upper tail of the hypergeometric distribution, at 5 %
    divided by the number of classes.
    """
    from scipy.stats import hypergeom

    n, of_site, of_class = table.sum(), table.sum(axis=1), table.sum(axis=0)
    concentrated = []
    for name, site in enumerate(table.argmax(axis=0)):
        count = table[site, name]
        tail = hypergeom.sf(count - 1, n, of_class[name], of_site[site])
        if count >= CONCENTRATED * of_class[name] and tail < 0.05 / table.shape[1]:
            concentrated.append((int(site), name))
    return concentrated


@dataclass(frozen=True, kw_only=True)
class SitePrediction:
    """How well a regression on mean embeddings names the site of patients it did not see."""

    balanced_accuracy: float
    low: float  # 95 % interval, patients drawn inside their site
    high: float
    chance: float
    n_sites: int
    n_patients: int


def predict_sites(
    features: Float64[np.ndarray, "n dim"],
    sites: Int64[np.ndarray, " n"],
    folds: Sequence[tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]],
    rng: np.random.Generator,
) -> SitePrediction | None:
    """Predict sites out of fold.

    Args:
        features: mean embedding of each patient.
        sites: code of each patient's site.
        folds: training and test patients of each fold; of the training patients alone come scale, components and model.
        rng: of the bootstrap.

    Returns:
        None where fewer than two sites have enough patients, or where no test patient's site can be in training.
    """
    from threadpoolctl import threadpool_limits

    counts = np.bincount(sites)
    is_used = (counts >= MIN_SITE_PATIENTS)[sites]
    if len(np.unique(sites[is_used])) < 2:
        return None
    truths, guesses = [], []
    with threadpool_limits(1):  # small matrices, and the same sums whatever the number of processors
        for is_train, is_test in folds:
            fitted = is_train & is_used
            tested = is_test & is_used & np.isin(sites, sites[fitted])
            if len(np.unique(sites[fitted])) > 1 and tested.any():
                guesses.append(_fit_and_guess(features[fitted], sites[fitted], features[tested]))
                truths.append(sites[tested])
    if not truths:
        return None
    truth, guess = np.concatenate(truths), np.concatenate(guesses)
    return _judged(truth, (truth == guess).astype(np.float64), rng)


def _fit_and_guess(
    train: Float64[np.ndarray, "n dim"], sites: Int64[np.ndarray, " n"], test: Float64[np.ndarray, "m dim"]
) -> Int64[np.ndarray, " m"]:
    from sklearn.linear_model import LogisticRegression

    centre, spread = train.mean(axis=0), train.std(axis=0)
    spread = np.where(spread > 1e-8, spread, 1.0)
    _, sizes, axes = np.linalg.svd((train - centre) / spread, full_matrices=False)
    axes = axes[sizes > max(sizes.max(initial=0) * 1e-8, 1e-12)][:N_COMPONENTS]
    if not len(axes):
        return np.full(len(test), np.bincount(sites).argmax(), dtype=np.int64)
    strength = LOGIT_SD**2 / train.shape[1]
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    model.fit((train - centre) / spread @ axes.T, sites)
    return model.predict((test - centre) / spread @ axes.T).astype(np.int64)


def _judged(
    truth: Int64[np.ndarray, " n"], is_right: Float64[np.ndarray, " n"], rng: np.random.Generator
) -> SitePrediction:
    names, codes, counts = np.unique(truth, return_inverse=True, return_counts=True)
    rights = np.bincount(codes, weights=is_right)
    recalls = rights / counts
    draws = np.stack(  # drawing patients inside a site: the number that are right is binomial
        [rng.binomial(count, recall, N_BOOTSTRAPS) / count for count, recall in zip(counts, recalls, strict=True)]
    ).mean(axis=0)
    low, high = np.quantile(draws, [0.025, 0.975])
    if np.ptp(draws) <= ALIKE:  # every site always right, or never: exact limits of each, averaged
        limits = [clopper_pearson(int(right), int(count)) for right, count in zip(rights, counts, strict=True)]
        low, high = np.mean(limits, axis=0)
    return SitePrediction(
        balanced_accuracy=float(recalls.mean()), low=float(low), high=float(high), chance=1 / len(names),
        n_sites=len(names), n_patients=len(truth),
    )  # fmt: skip
