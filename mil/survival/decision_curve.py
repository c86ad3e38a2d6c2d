"""Net benefit of treating by predicted risk, with censoring allowed for."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64, Num

from mil.metrics.survival_curves import kaplan_meier


def net_benefit(
    risk: Float[np.ndarray, " n"],
    time: Num[np.ndarray, " n"],
    event: Num[np.ndarray, " n"],
    moment: float,
    thresholds: Float[np.ndarray, " k"],
) -> Float64[np.ndarray, " k"]:
    """Return the net benefit of treating those whose predicted risk is a threshold or more (Vickers et al. 2008, section 3).

    True positives less false ones times the odds of the threshold, a patient; who had the event until the moment is told
    by Kaplan-Meier among those treated (BMC Med Inform Decis Mak 8:53). Nobody treated is 0.

    Args:
        risk: predicted chance of the event until the moment.
        time: follow-up.
        event: 1 event, 0 censored.
        moment: the time.
        thresholds: of risk, from 0 to below 1.
    """
    found = np.zeros(len(thresholds))
    for index, threshold in enumerate(thresholds):
        treated: Bool[np.ndarray, " n"] = np.asarray(risk >= threshold)
        if treated.any():
            steps, survival = kaplan_meier(time[treated], event[treated])
            had = 1 - float(survival[np.searchsorted(steps, moment, side="right") - 1])
            odds = threshold / (1 - threshold)
            found[index] = treated.mean() * (had - (1 - had) * odds)
    return found
