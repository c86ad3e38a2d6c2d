"""Cox's loss with Efron's ties and its gradient, of all patients in one stratum and under observation from the start.

The arithmetic, with strata, entry, weights and Breslow's ties too, is in `mil/survival/partial_likelihood.py`.
"""

import numpy as np
from jaxtyping import Float64, Num

from mil.survival.partial_likelihood import LogHazards, loss, loss_and_gradient
from mil.survival.risk_sets import risk_sets


def efron_loss(log_hazard: LogHazards, time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"]) -> float:
    """Return the mean negative log partial likelihood an event (Efron 1977, J Am Stat Assoc 72:557).

    Args:
        log_hazard: risk of each patient, any size.
        time: follow-up.
        event: 1 event, 0 censored. A patient censored at the time of an event is at risk then.

    Raises:
        ValueError: no event, or values that are not finite.
    """
    return loss(log_hazard, risk_sets(time, event))


def efron_gradient(
    log_hazard: LogHazards, time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """Return the derivative of `efron_loss` with respect to each log-hazard."""
    return loss_and_gradient(log_hazard, risk_sets(time, event))[1]
