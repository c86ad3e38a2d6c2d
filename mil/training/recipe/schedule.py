"""How many epochs, and the rate of each: a linear warm-up, then a cosine to zero.

Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5.
"""

from math import ceil, cos, pi

EPOCHS = 30
WARM_UP_SHARE = 6  # a sixth of the epochs


def epochs_for_steps(n_steps: int, n_patients: int, batch: int) -> int:
    """Return the epochs of a cohort: 30, or in a small one so many that there are `n_steps` steps of `batch` patients."""
    return max(EPOCHS, ceil(n_steps / max(1, round(n_patients / batch))))


def rate_at(epoch: int, n_epochs: int) -> float:
    """Return the share of the full learning rate in an epoch, counted from 1; never 0, so that no epoch is idle."""
    warm_up = n_epochs // WARM_UP_SHARE
    if epoch <= warm_up:
        return epoch / (warm_up + 1)
    middle = (epoch - warm_up - 0.5) / (n_epochs - warm_up)
    return (1 + cos(pi * middle)) / 2


def first_choice(n_epochs: int) -> int:
    """Return the first epoch that inner validation may keep, where it is asked for: a head before half of its schedule is none."""
    return (n_epochs + 1) // 2
