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
