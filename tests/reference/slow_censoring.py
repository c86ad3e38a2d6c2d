"""Inverse probability of censoring weights as the definitions read, in loops over times and patients.

G(t) = P(C > t) is the Kaplan-Meier curve of the censoring times; G(t-) = P(C >= t), its left limit, is the chance that
an event at t is seen (Graf et al. 1999; Gerds and Schumacher 2006, Biom J 48:1029).
"""

import math


def slow_censoring(time, event, moment, *, before):
    """G(moment-) if `before`, else G(moment); who has an event at a time is not at risk of being censored at it."""
    chance = 1.0
    for t in sorted(set(time)):
        if t > moment or (before and t == moment):
            break
        censored = sum(own == t and not died for own, died in zip(time, event, strict=True))
        at_risk = sum(own > t or (own == t and not died) for own, died in zip(time, event, strict=True))
        if at_risk:
            chance *= 1 - censored / at_risk
    return chance


def slow_brier(survival, time, event, moment, trained):
    total = 0.0
    for chance, own, died in zip(survival, time, event, strict=True):
        if own <= moment and died:
            total += chance**2 / slow_censoring(*trained, own, before=True)
        elif own > moment:
            total += (1 - chance) ** 2 / slow_censoring(*trained, moment, before=False)
    return total / len(time)


def slow_uno_c(risk, time, event, tau, trained):
    total = right = 0.0
    for i in range(len(time)):
        if not event[i] or time[i] >= tau:
            continue
        seen = slow_censoring(*trained, time[i], before=True)
        for j in range(len(time)):
            if time[i] < time[j] or (time[i] == time[j] and not event[j]):
                total += seen**-2
                right += seen**-2 * (1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0)
    return right / total if total else math.nan


def slow_dynamic_auc(risk, time, event, moment, trained):
    total = right = 0.0
    for i in range(len(time)):
        if not event[i] or time[i] > moment:
            continue
        seen = slow_censoring(*trained, time[i], before=True)
        for j in range(len(time)):
            if time[j] > moment:
                total += 1 / seen
                right += (1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0) / seen
    return right / total if total else math.nan


def slow_survival_limits(time, event, moment):
    """Limits of the survival curve at a moment: Greenwood's variance on the scale of log(-log), 95 %; NaN where all died."""
    survival, variance = 1.0, 0.0
    for t in sorted({own for own, died in zip(time, event, strict=True) if died and own <= moment}):
        at_risk = sum(own >= t for own in time)
        n_died = sum(own == t and died for own, died in zip(time, event, strict=True))
        if n_died == at_risk:
            return math.nan, math.nan
        survival *= (at_risk - n_died) / at_risk
        variance += n_died / (at_risk * (at_risk - n_died))
    if survival == 1.0:
        return 1.0, 1.0
    middle, half = math.log(-math.log(survival)), 1.959963984540054 * math.sqrt(variance) / abs(math.log(survival))
    return math.exp(-math.exp(middle + half)), math.exp(-math.exp(middle - half))
