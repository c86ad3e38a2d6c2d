"""Survival figures that allow for censoring: inverse probability of censoring weights. Pure NumPy.

The censoring distribution and the baseline hazard come from training patients. As in `classification`, `weights` has one column a
cohort: the patients as they are, or a resample.

An event at t is seen if nothing was censored before t: it counts by 1 / G(t-), the left limit of the chance of not being
censored. Who is followed beyond a moment counts by 1 / G(moment). With times in whole years or months, where events and
censored patients share a time, G(t) in place of G(t-) would weigh events far too much (riskRegression and pec use G(t-) too).
"""

import numpy as np
from jaxtyping import Float, Float64, Num

from mil.metrics.classification import Weights, auroc_of_counts, ranked_counts
from mil.metrics.concordance import concordance_sums


def uno_c(
    risk: Float[np.ndarray, " n"],
    time: Num[np.ndarray, " n"],
    event: Num[np.ndarray, " n"],
    uncensored: Float64[np.ndarray, " n"],
    tau: float,
    weights: Weights,
) -> Float64[np.ndarray, " b"]:
    """Return Uno's C of events before tau (Uno et al. 2011, Stat Med 30:1105); NaN when no pair can be compared.

    Args:
        risk: higher is worse.
        time: follow-up.
        event: 1 event, 0 censored.
        uncensored: the chance of not being censored before the own time, G(t-), from training patients.
        tau: pairs count whose earlier event is before it.
        weights: how often each patient occurs in each cohort.
    """
    is_counted = (np.asarray(time) < tau) & (uncensored > 0)
    pair_weight = np.where(is_counted, 1 / np.where(is_counted, uncensored, 1.0) ** 2, 0.0)
    total, right = concordance_sums(risk, time, event, weights, pair_weight)
    return np.divide(right, total, out=np.full(len(total), np.nan), where=total > 0)


def dynamic_auc(
    risk: Float[np.ndarray, " n"],
    time: Num[np.ndarray, " n"],
    event: Num[np.ndarray, " n"],
    uncensored: Float64[np.ndarray, " n"],
    moment: float,
    weights: Weights,
) -> Float64[np.ndarray, " b"]:
    """Return the cumulative/dynamic AUC at a time: events until then against those followed beyond it.

    Events count by 1 / `uncensored`, the chance G(t-) of not being censored before the own time (Uno et al. 2007, J Am Stat
    Assoc 102:527); NaN without both.
    """
    is_case = (np.asarray(time) <= moment) & np.asarray(event).astype(bool) & (uncensored > 0)
    is_control = np.asarray(time) > moment
    worth = np.where(is_case, 1 / np.where(is_case, uncensored, 1.0), is_control.astype(np.float64))
    return auroc_of_counts(*ranked_counts(risk, is_case, weights * worth[:, None]))


def brier_losses(
    survival: Float64[np.ndarray, "n t"],
    time: Num[np.ndarray, " n"],
    event: Num[np.ndarray, " n"],
    uncensored: Float64[np.ndarray, " n"],
    uncensored_at: Float64[np.ndarray, "n t"],
    moments: Float64[np.ndarray, " t"],
) -> Float64[np.ndarray, "n t"]:
    """Return each patient's share of the Brier score at each time (Graf et al. 1999, Stat Med 18:2529).

    Args:
        survival: predicted chance of surviving beyond each time.
        time: follow-up.
        event: 1 event, 0 censored.
        uncensored: chance of not being censored before the own time, G(t-).
        uncensored_at: chance of not being censored up to and at each of `moments`, G(moment), of the patient's fold.
        moments: the times.
    """
    own = np.where(uncensored > 0, uncensored, np.inf)[:, None]
    later = np.where(uncensored_at > 0, uncensored_at, np.inf)
    has_died = (np.asarray(time)[:, None] <= moments) & np.asarray(event).astype(bool)[:, None]
    return has_died * survival**2 / own + (np.asarray(time)[:, None] > moments) * (1 - survival) ** 2 / later


def integrate(values: Float64[np.ndarray, "t b"], moments: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, " b"]:
    """Return the mean over time by the trapezoid rule."""
    width = np.diff(moments)[:, None]
    return ((values[1:] + values[:-1]) / 2 * width).sum(axis=0) / (moments[-1] - moments[0])
