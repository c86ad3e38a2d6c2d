"""Synthetic bags whose truth is known: where the signal of a class or of a hazard lies, what looks like it, how sites differ.

Five classes (42, 23, 20, 10 and 5 %). A tile is a tissue's mean, a shift of its patient and its site, heavy-tailed noise (Student,
4 degrees of freedom) and, on informative tiles, a direction of the patient's class; rectified like the output of a network.
Look-alikes are tiles with half of another class's signal. Compositions of tissues are random, unless they are the signal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHARES = (0.42, 0.23, 0.20, 0.10, 0.05)
N_TISSUES, N_SITES = 6, 5


@dataclass(frozen=True)
class Kind:
    """A family: share of informative tiles, strength of the signal, and what makes it hard."""

    informative: tuple[float, float]
    strength: float
    site_shift: float = 0.3
    look_alikes: float = 0.03
    wrong_labels: float = 0.0  # of the training patients
    composition: float = 0.0  # how far classes differ in tissues


KINDS = {
    "needle": Kind((0.02, 0.06), 8.0),
    "hot": Kind((0.05, 0.30), 6.0),
    "sites": Kind((0.05, 0.30), 6.0, site_shift=0.9),
    "alike": Kind((0.05, 0.30), 6.0, look_alikes=0.15),
    "noisy": Kind((0.05, 0.30), 6.0, wrong_labels=0.15),
    "diffuse": Kind((0.50, 0.90), 1.2),
    "mix": Kind((0.0, 0.0), 0.0, composition=1.0),
}
SURVIVAL_KINDS = {"hot": Kind((0.10, 0.35), 6.0), "mean": Kind((0.0, 0.0), 0.0, composition=1.0)}


@dataclass(frozen=True)
class Bags:
    """Tiles of each patient, training patients first, and what is known of them."""

    tiles: list[np.ndarray]  # (tile, dim) float16 each
    n_train: int
    labels: np.ndarray  # as a clinical table has them
    times: np.ndarray
    events: np.ndarray
    informative: (
        np.ndarray
    )  # (patient, dim) mean of the truly informative tiles, or of all where composition is the signal


def make_bags(
    name: str, seed: int, *, n_train: int, n_test: int, dim: int, tiles: tuple[int, int], is_survival: bool = False
) -> Bags:
    """Make a cohort of a kind; the number of tiles of a patient is log-uniform in `tiles`."""
    kind = (SURVIVAL_KINDS if is_survival else KINDS)[name]
    rng = np.random.default_rng([seed, sum(map(ord, name)), dim])
    tissues = rng.normal(size=(N_TISSUES, dim)) * 0.7
    sites = rng.normal(size=(N_SITES, dim)) * kind.site_shift
    signals = rng.normal(size=(len(SHARES), dim))
    signals *= kind.strength / np.linalg.norm(signals, axis=1, keepdims=True)
    profiles = rng.normal(size=(len(SHARES), N_TISSUES))
    n = n_train + n_test
    labels = np.concatenate([_labels(n_train, rng), rng.choice(len(SHARES), n_test, p=SHARES)])
    risks = rng.normal(size=n)
    bags, informative = [], np.zeros((n, dim))
    for patient in range(n):
        n_tiles = int(np.exp(rng.uniform(*np.log(tiles))))
        of_signal = risks[patient] * profiles[0] if is_survival else profiles[labels[patient]]
        tilt = np.exp(0.7 * kind.composition * of_signal)
        tissue = rng.choice(N_TISSUES, n_tiles, p=rng.dirichlet(1.5 * tilt))
        own = tissues[tissue] + sites[rng.integers(N_SITES)] + 0.3 * rng.normal(size=dim)
        own += rng.standard_t(4, size=(n_tiles, dim))
        share = rng.uniform(*kind.informative)
        is_informative = rng.random(n_tiles) < share
        if kind.strength:
            is_informative[rng.integers(n_tiles)] = True
        if is_survival:
            own[is_informative] += signals[1] + 0.5 * risks[patient] * signals[0]
        else:
            own[is_informative] += signals[labels[patient]]
            is_alike = ~is_informative & (rng.random(n_tiles) < kind.look_alikes)
            own[is_alike] += 0.5 * signals[rng.integers(len(SHARES))]
        features = np.maximum(own, 0).astype(np.float16)
        bags.append(features)
        informative[patient] = features[is_informative if kind.strength else slice(None)].mean(axis=0, dtype=np.float64)
    is_wrong = (rng.random(n) < kind.wrong_labels) & (np.arange(n) < n_train)
    labels = np.where(is_wrong, rng.choice(len(SHARES), n, p=SHARES), labels)
    to_event, to_end = 20 * rng.exponential(size=n) * np.exp(-1.2 * risks), rng.uniform(5, 50, n)
    times, events = np.ceil(np.minimum(to_event, to_end)), (to_event <= to_end).astype(int)
    return Bags(bags, n_train, labels, times, events, informative)


def _labels(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return training labels in fixed shares, two patients of each class at least."""
    counts = np.maximum(2, np.round(np.array(SHARES) * n).astype(int))
    counts[0] += n - counts.sum()
    return rng.permutation(np.repeat(np.arange(len(SHARES)), counts))
