"""Cox's loss with Efron's ties of patients in one stratum, under observation from the start, and its gradient."""

from mil.survival.partial_likelihood import loss, loss_and_gradient
from mil.survival.risk_sets import risk_sets


def efron_loss(log_hazard, time, event):
    return loss(log_hazard, risk_sets(time, event))


def efron_gradient(log_hazard, time, event):
    return loss_and_gradient(log_hazard, risk_sets(time, event))[1]
