"""How unlike the training cohort something is: a distance from the middle of the training slides, and its limit.

Training slides are points (the mean embedding of a slide, or its stain fit). They are taken for one cloud: a Gaussian with a
few long axes and one width for all other directions (probabilistic principal components; Tipping and Bishop 1999, J R Stat
Soc B 61:611), so that its distance exists with fewer slides than numbers, and what leaves the axes counts most. The limit is
that of slides of training patients whom the cloud was fitted without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from mil.models.record import Limits

LEVEL = 0.975  # of the slides of training patients within the limit: two measures, 5 % together
MOST_AXES = 16
SLIDES_AN_AXIS = 4  # fewer would follow single slides
MOST_PARTS = 40  # patients are left out one by one, in larger cohorts some at a time
LEAST_POINTS = 5
LEAST_VARIANCE = 0.01  # of a direction, beside 1 a number: what never varied among few sites is no proof of anything


@dataclass(frozen=True)
class Cloud:
    """A Gaussian: its middle, scale of each number, long axes with their variances, and the variance of all others."""

    mean: Float64[np.ndarray, " dim"]
    scale: Float64[np.ndarray, " dim"]
    axes: Float64[np.ndarray, "axis dim"]
    variances: Float64[np.ndarray, " axis"]
    rest: float

    def distances(self, points: Float[np.ndarray, "n dim"]) -> Float64[np.ndarray, " n"]:
        """Return each point's distance, in standard deviations a number: about 1 inside the cloud."""
        centred = (np.asarray(points, np.float64) - self.mean) / self.scale
        along = centred @ self.axes.T
        others = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        squared = (along**2 / self.variances).sum(axis=1) + others / self.rest
        return np.sqrt(squared / len(self.mean))


def fit_cloud(points: Float[np.ndarray, "n dim"]) -> Cloud:
    """Fit a cloud to points; there are at least two."""
    points = np.asarray(points, np.float64)
    n, dim = points.shape
    mean, scale = points.mean(axis=0), points.std(axis=0)
    scale = np.maximum(
        scale, 1e-3 * max(float(np.median(scale)), 1e-9)
    )  # a number that never varied is no proof of anything
    _, sizes, right = np.linalg.svd((points - mean) / scale, full_matrices=False)
    variances = sizes**2 / (n - 1)
    n_axes = int(min(MOST_AXES, n // SLIDES_AN_AXIS, dim - 1))
    rest = float(max(variances[n_axes:].sum() / (dim - n_axes), LEAST_VARIANCE))
    return Cloud(mean=mean, scale=scale, axes=right[:n_axes], variances=np.maximum(variances[:n_axes], rest), rest=rest)


def fit_limits(points: Float[np.ndarray, "n dim"], patients: Sequence[str]) -> Limits | None:
    """Return the limits, from the distances of patients whom a cloud was fitted without; None with too few of them.

    Args:
        points: a row a slide.
        patients: whose each slide is.
    """
    names = sorted(set(patients))
    if len(names) < LEAST_POINTS:
        return None
    part_of = {name: index % min(len(names), MOST_PARTS) for index, name in enumerate(names)}
    part = np.array([part_of[name] for name in patients])
    distances = np.empty(len(points))
    for index in range(part.max() + 1):
        distances[part == index] = fit_cloud(points[part != index]).distances(points[part == index])
    owners = np.array(patients)
    furthest = np.array([distances[owners == name].max() for name in names])
    rank = min(len(names), int(np.ceil((len(names) + 1) * LEVEL)))
    return Limits(
        slide=_ranked(distances), patient=_ranked(furthest), level=min(LEVEL, rank / (len(names) + 1)),
        n_slides=len(points), n_patients=len(names),
    )  # fmt: skip


def _ranked(distances: Float64[np.ndarray, " n"]) -> float:
    """Return the finite-sample quantile, or the largest where they are too few for it."""
    rank = min(len(distances), int(np.ceil((len(distances) + 1) * LEVEL)))
    return float(np.sort(distances)[rank - 1])
