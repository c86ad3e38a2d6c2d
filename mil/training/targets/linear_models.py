"""The baselines of targets: logistic regressions in a chain for ordered classes, ridge regression for numbers.

Penalties are fixed beforehand, as in `mil.training.baseline`: nothing is chosen on any patient.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int

from mil.training.baseline import fit_classifier, fit_scaler
from mil.training.targets.ordinal_loss import chained

Inputs = Float[np.ndarray, "n d"]
Tested = Float[np.ndarray, "m d"]


def predict_ordered(
    train: Inputs, labels: Int[np.ndarray, " n"], test: Tested, n_classes: int
) -> Float64[np.ndarray, "m k"]:
    """Return class probabilities of a continuation-ratio model: a logistic regression a threshold, of those who came to it."""
    conditional = np.empty((len(test), n_classes - 1))
    for step in range(n_classes - 1):
        is_reached = labels >= step
        is_above = (labels[is_reached] > step).astype(np.int64)
        if is_above.min(initial=1) == is_above.max(initial=0):  # nobody ends here, or nobody goes on
            conditional[:, step] = float(is_above.max(initial=0))
        else:
            model = fit_classifier(train[is_reached], is_above, 2, is_balanced=False)
            conditional[:, step] = model.probabilities(test)[:, 1]
    return chained(conditional)


def predict_number(train: Inputs, values: Float64[np.ndarray, " n"], test: Tested) -> Float64[np.ndarray, " m"]:
    """Return predictions of a ridge regression (Hoerl and Kennard 1970, Technometrics 12:55) on standardised inputs.

    The penalty is the number of inputs: a normal prior on the weights under which predictions spread as much as the noise. It is
    solved in the space of the patients, so that more inputs than patients cost nothing.
    """
    scaler = fit_scaler(train)
    inputs, middle = scaler(train), values.mean()
    gram = inputs @ inputs.T + train.shape[1] * np.eye(len(inputs))
    return middle + scaler(test) @ (inputs.T @ np.linalg.solve(gram, values - middle))
