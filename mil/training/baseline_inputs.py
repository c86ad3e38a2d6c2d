"""The inputs of the baselines of one fold: each patient's mean tile, and clinical covariates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64

from mil.runs.figure_names import CLINICAL, MEAN_POOL
from mil.training.covariates import Covariates, fit_encoder
from splits.fold_plan import FoldPlan


def baseline_inputs(
    plan: FoldPlan, means: Mapping[str, np.ndarray], covariates: Covariates
) -> dict[str, tuple[Float64[np.ndarray, "n d"], Float64[np.ndarray, "m d"]]]:
    """Return for each baseline the inputs of the training and of the test patients.

    Args:
        plan: the fold; it has a test patient.
        means: the mean tile of each training and test patient.
        covariates: the clinical covariates; without any there is no clinical baseline.
    """
    train, test = (np.stack([means[patient] for patient in part]) for part in (plan.train, plan.test))
    inputs = {MEAN_POOL: (train, test)}
    if covariates.names:
        encode = fit_encoder(covariates, plan.train)
        inputs[CLINICAL] = (encode(covariates, plan.train), encode(covariates, plan.test))
    return inputs
