"""How far predicted probabilities can be taken at their word, and temperature scaling. Pure NumPy and SciPy.

As in `classification`, `weights` has one column a cohort: the patients as they are, or a resample.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from mil.metrics.classification import Weights

N_BINS, MIN_PATIENTS_A_BIN = 10, 10
LEAST = float(np.finfo(np.float64).eps)  # the clip of scikit-learn's log loss
TEMPERATURES = (0.05, 20.0)
LOG_TEMPERATURE_SD = 0.5  # prior: two SD are a temperature of 0.37 or 2.7
MAX_STEPS, MAX_SLOPE = 60, 50.0
LEAST_CURVATURE = 1e-12  # smallest over largest eigenvalue of a Hessian that is not singular


def log_losses(probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Return each patient's negative log probability of the true class, clipped as in scikit-learn."""
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.clip(own, LEAST, 1 - LEAST))


def brier_losses(probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Return each patient's squared distance from the truth over all classes, 0 to 2 (Brier 1950, Mon Weather Rev 78:1)."""
    return ((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1)


def n_bins_for(n_patients: int) -> int:
    """Return how many bins of equal mass a cohort fills: 10, fewer when a bin would have under 10 patients."""
    return int(np.clip(n_patients // MIN_PATIENTS_A_BIN, 1, N_BINS))


def bin_of(
    confidence: Float[np.ndarray, " n"], weights: Weights, n_bins: int
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, "m b"]]:
    """Return each patient's place among the distinct confidences, and the bin of each of those in each cohort.

    Bins of equal mass: a confidence falls in the bin in which the middle of the patients that have it lies, so equal
    confidences are never parted, and neither row order nor drawing a patient twice matters.
    """
    _, place = np.unique(confidence, return_inverse=True)
    mass = np.zeros((int(place.max()) + 1, weights.shape[1]))
    np.add.at(mass, place, weights)
    middle = np.cumsum(mass, axis=0) - mass / 2
    return place, np.minimum((middle * n_bins / np.maximum(mass.sum(axis=0), 1)).astype(np.int64), n_bins - 1)


def calibration_error(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], weights: Weights, n_bins: int
) -> Float64[np.ndarray, " b"]:
    """Return the expected calibration error of the predicted class, with bins of equal mass.

    The mean over patients of |accuracy - mean confidence| of their bin (Naeini et al. 2015, AAAI; equal mass as in Nixon
    et al. 2019, arXiv 1904.01685).
    """
    confidence = probabilities.max(axis=1)
    gap = (probabilities.argmax(axis=1) == labels) - confidence
    place, bins = bin_of(confidence, weights, n_bins)
    n_cohorts = weights.shape[1]
    gaps = np.zeros(bins.shape)
    np.add.at(gaps, place, weights * gap[:, None])
    cells = (bins * n_cohorts + np.arange(n_cohorts)).ravel()
    sums = np.bincount(cells, gaps.ravel(), minlength=n_bins * n_cohorts).reshape(n_bins, n_cohorts)
    return np.abs(sums).sum(axis=0) / weights.sum(axis=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """Patients of like confidence: how many, how sure the model was and how often it was right."""

    n: int
    confidence: float
    accuracy: float


def reliability(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], n_bins: int
) -> tuple[ReliabilityBin, ...]:
    """Return the bins of `calibration_error` for a picture."""
    confidence, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    place, bins = bin_of(confidence, np.ones((len(labels), 1)), n_bins)
    own = bins[place, 0]
    return tuple(
        ReliabilityBin(
            n=int((own == index).sum()),
            confidence=float(confidence[own == index].mean()),
            accuracy=float(is_right[own == index].mean()),
        )
        for index in np.unique(own)
    )


def log_odds(probabilities: Float[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
    """Return log probabilities less their mean over classes: a softmax of them gives the probabilities back."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), LEAST))
    return logs - logs.mean(axis=1, keepdims=True)


@dataclass(frozen=True)
class Recalibration:
    """The slope and the intercept of each class (they sum to 0) that would calibrate the predictions of each cohort."""

    slope: Float64[np.ndarray, " b"]
    intercept: Float64[np.ndarray, "b k"]


def recalibrate(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], weights: Weights, *, is_slope_free: bool
) -> Recalibration:
    """Fit the multinomial recalibration logit_c = intercept_c + slope * log p_c by maximum likelihood.

    The multinomial form of Cox's (1958, Biometrika 45:562) calibration (Van Hoorde et al. 2014, Stat Med 33:2585) with
    one slope for all classes: 1 is right, below 1 is over-confident. For two classes it is logistic recalibration. With
    the slope fixed at 1 the intercepts are calibration in the large: above 0, the class is under-predicted. Classes
    without patients take no part. NaN where the likelihood has no maximum (perfect separation, constant predictions).
    """
    present = np.flatnonzero(np.bincount(labels, minlength=probabilities.shape[1]))
    n_cohorts, n_classes = weights.shape[1], probabilities.shape[1]
    slope, intercept = np.full(n_cohorts, np.nan), np.full((n_cohorts, n_classes), np.nan)
    if len(present) < 2:
        return Recalibration(slope, intercept)
    inputs = log_odds(probabilities[:, present])
    truth = (labels[:, None] == present).astype(np.float64)
    chunk = max(1, 2_000_000 // inputs.size)
    for start in range(0, n_cohorts, chunk):
        part = slice(start, start + chunk)
        theta = _newton(inputs, truth, np.ascontiguousarray(weights[:, part].T), is_slope_free=is_slope_free)
        own = np.concatenate([theta[:, :-1], np.zeros((len(theta), 1))], axis=1)
        intercept[part, present] = own - own.mean(axis=1, keepdims=True)
        slope[part] = theta[:, -1]
    return Recalibration(slope, intercept)


def _newton(
    inputs: Float64[np.ndarray, "n k"],
    truth: Float64[np.ndarray, "n k"],
    weights: Float64[np.ndarray, "b n"],
    *,
    is_slope_free: bool,
) -> Float64[np.ndarray, "b k"]:
    """Return k - 1 intercepts (the last class's is 0) and the slope of each cohort by Newton's method."""
    n_free = inputs.shape[1] - 1
    theta = np.zeros((len(weights), n_free + 1))
    theta[:, -1] = 1.0
    active, n_fitted = np.arange(len(weights)), n_free + is_slope_free
    for _ in range(MAX_STEPS):
        slope, hessian = _derivatives(inputs, truth, weights[active], theta[active])
        slope, hessian = slope[:, :n_fitted], hessian[:, :n_fitted, :n_fitted]
        is_sound = _has_maximum(hessian)
        theta[active[~is_sound]] = np.nan
        active, slope, hessian = active[is_sound], slope[is_sound], hessian[is_sound]
        step = np.linalg.solve(hessian, slope[..., None])[..., 0]
        size = np.abs(step).max(axis=1, initial=0)
        theta[active, :n_fitted] += step * np.minimum(1, 2 / np.maximum(size, 1e-300))[:, None]
        theta[active[np.abs(theta[active]).max(axis=1, initial=0) > MAX_SLOPE]] = np.nan
        is_flat = np.abs(slope).max(axis=1, initial=0) < 1e-13 * weights[active].sum(axis=1)  # nothing but rounding
        active = active[(size > np.where(is_flat, 1e-3, 1e-10)) & np.isfinite(theta[active, -1])]
        if not len(active):
            return theta
    theta[active] = np.nan
    return theta


def _has_maximum(hessian: Float64[np.ndarray, "b k k"]) -> Bool[np.ndarray, " b"]:
    """Return where the likelihood curves in every direction.

    Judged by the ratio of the eigenvalues: of certain and right predictions every curvature is small (1e-4 a class for
    p = 0.9999), and their product, a determinant, cannot be told from 0.
    """
    curvature = np.linalg.eigvalsh(hessian)
    return curvature[:, 0] > np.maximum(LEAST_CURVATURE * curvature[:, -1], np.finfo(np.float64).tiny)


def _derivatives(
    inputs: Float64[np.ndarray, "n k"],
    truth: Float64[np.ndarray, "n k"],
    weights: Float64[np.ndarray, "b n"],
    theta: Float64[np.ndarray, "b k"],
) -> tuple[Float64[np.ndarray, "b k"], Float64[np.ndarray, "b k k"]]:
    """Return the log likelihood's gradient, and the negative of its Hessian."""
    n_free = inputs.shape[1] - 1
    logits = inputs * theta[:, None, -1:]
    logits[..., :n_free] += theta[:, None, :n_free]
    powers = np.exp(logits - logits.max(axis=2, keepdims=True))
    predicted = powers / powers.sum(axis=2, keepdims=True)
    rest = truth - predicted
    weighted = weights[:, :, None] * predicted
    mean_input = np.einsum("bnk,nk->bn", predicted, inputs)
    slope = np.concatenate(
        [np.einsum("bn,bnk->bk", weights, rest)[:, :n_free], np.einsum("bn,bnk,nk->b", weights, rest, inputs)[:, None]],
        axis=1,
    )
    hessian = np.empty((len(theta), n_free + 1, n_free + 1))
    hessian[:, :n_free, :n_free] = -np.matmul(weighted.transpose(0, 2, 1), predicted)[:, :n_free, :n_free]
    hessian[:, range(n_free), range(n_free)] += weighted.sum(axis=1)[:, :n_free]
    mixed = np.einsum("bnk,bnk->bk", weighted, inputs - mean_input[:, :, None])[:, :n_free]
    hessian[:, :n_free, -1] = hessian[:, -1, :n_free] = mixed
    hessian[:, -1, -1] = np.einsum("bnk,nk->b", weighted, inputs**2) - np.einsum("bn,bn->b", weights, mean_input**2)
    return slope, hessian


def calibration_metrics(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], weights: Weights
) -> Mapping[str, Float64[np.ndarray, " b"]]:
    """Return Brier score, log loss, calibration error and calibration slope, by name."""
    n_patients = weights.sum(axis=0)
    return {
        "brier": brier_losses(probabilities, labels) @ weights / n_patients,
        "log_loss": log_losses(probabilities, labels) @ weights / n_patients,
        "ece": calibration_error(probabilities, labels, weights, n_bins_for(len(labels))),
        "calibration_slope": recalibrate(probabilities, labels, weights, is_slope_free=True).slope,
    }


def fit_temperature(probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> float | None:
    """Return the temperature that minimises the log loss (Guo et al. 2017, ICML, arXiv 1706.04599), 0.05 to 20.

    The patients are training patients held out of training. None when there are none. A few of them, all predicted right, would
    ask for a temperature of 0 and make every prediction certain: a log-normal prior around 1 (SD 0.5 of the logarithm)
    holds against it, and matters little from a hundred patients on.
    """
    from scipy.optimize import minimize_scalar

    if len(labels) == 0:
        return None
    low, high = np.log(TEMPERATURES)
    minimum = minimize_scalar(
        lambda log_t: float(
            log_losses(scale_temperature(probabilities, float(np.exp(log_t))), labels).sum()
            + (log_t / LOG_TEMPERATURE_SD) ** 2 / 2
        ),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(minimum.x))


def scale_temperature(probabilities: Float[np.ndarray, "n k"], temperature: float) -> Float64[np.ndarray, "n k"]:
    """Return softmax(logits / temperature), from probabilities; the order of the classes of a patient stays."""
    logits = log_odds(probabilities) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
