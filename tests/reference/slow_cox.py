"""Cox's partial likelihood as the textbook writes it: one risk set after the other."""

import math
from collections.abc import Sequence


def slow_efron_loss(log_hazard: Sequence[float], time: Sequence[float], event: Sequence[int]) -> float:
    total, n_events = 0.0, 0
    for moment in sorted({t for t, e in zip(time, event, strict=True) if e}):
        risk = [math.exp(h) for h, t in zip(log_hazard, time, strict=True) if t >= moment]
        dead = [h for h, t, e in zip(log_hazard, time, event, strict=True) if t == moment and e]
        tied = [math.exp(h) for h in dead]
        for rank in range(len(dead)):
            total += math.log(math.fsum(risk) - rank / len(dead) * math.fsum(tied))
        total -= math.fsum(dead)
        n_events += len(dead)
    return total / n_events


def slow_partial_likelihood(log_hazard, time, event, *, ties="efron", entry=None, stratum=None, weight=None):
    """Return the loss as the textbook writes it, of numbers of any kind that torch can differentiate twice."""
    import torch

    n = len(time)
    entry = [-math.inf] * n if entry is None else entry
    stratum = [0] * n if stratum is None else stratum
    weight = [1.0] * n if weight is None else weight
    total, n_events = torch.zeros((), dtype=torch.float64), 0.0
    counted = [i for i in range(n) if weight[i] > 0]
    for s, moment in sorted({(stratum[i], time[i]) for i in counted if event[i]}):
        own = [i for i in counted if stratum[i] == s]
        risk = [i for i in own if entry[i] < moment <= time[i]]
        dead = [i for i in own if time[i] == moment and event[i]]
        mean_weight = sum(float(weight[i]) for i in dead) / len(dead)
        at_risk = torch.logsumexp(torch.stack([log_hazard[i] + math.log(weight[i]) for i in risk]), 0)
        for rank in range(len(dead)):
            share = rank / len(dead) if ties == "efron" else 0.0
            terms = [log_hazard[i] + math.log(weight[i]) - at_risk for i in dead]
            total = total + mean_weight * (at_risk + torch.log1p(-share * sum(torch.exp(term) for term in terms)))
        total = total - sum(float(weight[i]) * log_hazard[i] for i in dead)
        n_events += sum(float(weight[i]) for i in dead)
    return total / n_events
