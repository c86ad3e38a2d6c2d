"""Metrics as their definitions read: loops over patients, pairs and resamples."""

import itertools
import math

import numpy as np
from scipy.optimize import minimize
from scipy.stats import norm


def slow_concordance(risk, time, event, stratum=None):
    right = total = 0.0
    for i, j in itertools.permutations(range(len(risk)), 2):
        if stratum is not None and stratum[i] != stratum[j]:
            continue
        if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
            total += 1
            right += 1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0
    return right / total if total else math.nan


def slow_calibration_error(probabilities, labels, n_bins):
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = [[] for _ in range(n_bins)]
    for own, is_right in zip(confidence, right, strict=True):
        below, equal = (confidence < own).sum(), (confidence == own).sum()
        bins[min(int((below + equal / 2) * n_bins / len(labels)), n_bins - 1)].append((own, is_right))
    return sum(abs(sum(is_right - own for own, is_right in part)) for part in bins) / len(labels)


def slow_recalibration(probabilities, labels, *, is_slope_free):
    """Intercepts (sum 0) and slope by a general optimiser on the likelihood as it reads."""
    logs, k = np.log(probabilities), probabilities.shape[1]

    def loss(theta):
        slope = theta[-1] if is_slope_free else 1.0
        total = 0.0
        for row, label in zip(logs, labels, strict=True):
            logits = [*(theta[: k - 1]), 0.0] + slope * row
            total -= logits[label] - math.log(sum(math.exp(value) for value in logits))
        return total

    found = minimize(loss, np.append(np.zeros(k - 1), 1.0), method="BFGS", options={"gtol": 1e-7}).x
    intercept = np.append(found[: k - 1], 0.0)
    return intercept - intercept.mean(), found[-1] if is_slope_free else 1.0


def slow_bca(figure, strata, draws, level=0.95):
    """BCa's ends: patients left out one by one, inside strata."""
    everyone = np.arange(len(strata))
    value = figure(everyone)
    values = np.array([figure(drawn) for drawn in draws])
    influence = []
    for stratum in np.unique(strata):
        left_out = [figure(np.delete(everyone, i)) for i in everyone[strata == stratum]]
        n = len(left_out)
        influence += [(n - 1) / n * (np.mean(left_out) - own) for own in left_out]
    a = sum(u**3 for u in influence) / (6 * sum(u**2 for u in influence) ** 1.5)
    z0 = norm.ppf((np.mean(values < value) + np.mean(values <= value)) / 2)
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = z0 + norm.ppf(tail)
        ends.append(np.quantile(values, norm.cdf(z0 + z / (1 - a * z))))
    return ends


def slow_delong(first, second, is_positive):
    """DeLong et al. 1988: AUROCs of two markers and their covariance, from the placement of every patient."""
    positives, negatives = np.flatnonzero(is_positive), np.flatnonzero(~is_positive)

    def kernel(a, b):
        return 1.0 if a > b else 0.5 if a == b else 0.0

    by_positive = [[np.mean([kernel(s[i], s[j]) for j in negatives]) for i in positives] for s in (first, second)]
    by_negative = [[np.mean([kernel(s[i], s[j]) for i in positives]) for j in negatives] for s in (first, second)]
    covariance = np.cov(by_positive) / len(positives) + np.cov(by_negative) / len(negatives)
    return np.mean(by_positive, axis=1), covariance
