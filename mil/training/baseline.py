"""The baselines beside every attention model: penalised linear models of the mean tile, and of clinical covariates.

Penalties are fixed beforehand, from the number of inputs, so nothing is chosen on any patient: a normal prior on
the weights under which standardised inputs give logits of standard deviation 3, and log-hazards of standard deviation 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int, Num

from mil.runs.figure_names import CLINICAL, MEAN_POOL
from mil.survival.ridge_regression import ridge_coefficients
from mil.survival.risk_sets import RiskSets, risk_sets
from mil.training.covariates import Covariates, fit_encoder
from splits.fold_plan import FoldPlan

LOGIT_SD, LOG_HAZARD_SD = 3.0, 1.0


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


@dataclass(frozen=True)
class Scaler:
    """Mean and standard deviation of the training patients."""

    mean: Float64[np.ndarray, " d"]
    std: Float64[np.ndarray, " d"]

    def __call__(self, features: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n d"]:
        """Standardise."""
        return (features - self.mean) / self.std


def fit_scaler(features: Float[np.ndarray, "n d"]) -> Scaler:
    """Fit on training patients; a feature that never varies stays 0."""
    std = features.std(axis=0, dtype=np.float64)
    return Scaler(features.mean(axis=0, dtype=np.float64), np.where(std > 1e-8, std, 1.0))


@dataclass(frozen=True)
class LinearClassifier:
    """A fitted logistic regression on standardised inputs."""

    scaler: Scaler
    model: Any
    n_classes: int

    def probabilities(self, features: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n k"]:
        """Return class probabilities."""
        probabilities = np.zeros((len(features), self.n_classes))
        probabilities[:, self.model.classes_] = self.model.predict_proba(self.scaler(features))
        return probabilities


def fit_classifier(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], n_classes: int, *, is_balanced: bool = True
) -> LinearClassifier:
    """Fit an L2-penalised logistic regression (scikit-learn, L-BFGS), in which by default all classes weigh alike."""
    from sklearn.linear_model import LogisticRegression

    scaler = fit_scaler(features)
    strength = LOGIT_SD**2 / features.shape[1]
    model = LogisticRegression(C=strength, class_weight="balanced" if is_balanced else None, max_iter=5000, tol=1e-6)
    return LinearClassifier(scaler, model.fit(scaler(features), labels), n_classes)


@dataclass(frozen=True)
class LinearCox:
    """A fitted ridge Cox model on standardised inputs."""

    scaler: Scaler
    coefficients: Float64[np.ndarray, " d"]

    def log_hazard(self, features: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
        """Return log-hazards."""
        return self.scaler(features) @ self.coefficients


def fit_cox(features: Float[np.ndarray, "n d"], time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"]) -> LinearCox:
    """Fit a Cox model with a ridge penalty (Efron ties)."""
    return fit_cox_of(features, risk_sets(time, event))


def fit_cox_of(features: Float[np.ndarray, "n d"], sets: RiskSets) -> LinearCox:
    """Fit a Cox model with a ridge penalty to follow-up of any kind: ties, strata, entry, weights."""
    scaler = fit_scaler(features)
    penalty = features.shape[1] / LOG_HAZARD_SD**2
    return LinearCox(scaler, ridge_coefficients(scaler(features), sets, penalty))


def ridge_cox(
    inputs: Float[np.ndarray, "n d"], time: Num[np.ndarray, " n"], event: Num[np.ndarray, " n"], penalty: float
) -> Float64[np.ndarray, " d"]:
    """Return the coefficients that minimise the negative log partial likelihood (Efron ties) + penalty / 2 * |b|^2."""
    return ridge_coefficients(inputs, risk_sets(time, event), penalty)
