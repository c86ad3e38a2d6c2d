"""The covariates of the tested patients as inputs of a regression, for tables of hazard ratios and tests; nothing is predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64

from mil.runs.run_store import FinishedRun, blank_as_missing


@dataclass(frozen=True)
class ClinicalInputs:
    """A column an input with its name; numbers in standard deviations, categories against their most frequent level."""

    names: tuple[str, ...]
    values: Float64[np.ndarray, "n d"]


def clinical_inputs(run: FinishedRun, patients: pd.Index) -> ClinicalInputs:
    """Return the covariates that the run used, of these patients; a missing number is the mean, and says so in an own input."""
    used = [name for name in run.facts.covariates.used if name in run.patients.columns]
    numeric = {name for fold in run.facts.folds for name in fold.covariate_medians}
    table = run.patients.set_index("patient_id").reindex(patients)
    columns: dict[str, np.ndarray] = {}
    for name in used:
        values = blank_as_missing(table[name])
        columns |= _of_numbers(name, values) if name in numeric else _of_levels(name, values)
    kept = {name: own for name, own in columns.items() if np.ptp(own) > 0}
    whole = np.stack(list(kept.values()), axis=1) if kept else np.empty((len(patients), 0))
    return ClinicalInputs(tuple(kept), whole.astype(np.float64))


def _of_numbers(name: str, values: pd.Series) -> dict[str, np.ndarray]:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(float)
    missing = np.isnan(numbers)
    if missing.all():
        return {}
    spread = float(np.nanstd(numbers)) or 1.0
    own = {f"{name}, a standard deviation": np.where(missing, 0.0, (numbers - np.nanmean(numbers)) / spread)}
    return own | ({f"{name} is missing": missing.astype(float)} if missing.any() else {})


def _of_levels(name: str, values: pd.Series) -> dict[str, np.ndarray]:
    counts = values.value_counts()
    levels = sorted(counts.index, key=lambda level: (-counts[level], str(level)))
    own = {f"{name}: {level} (against {levels[0]})": (values == level).to_numpy(float) for level in levels[1:]}
    missing = values.isna()
    return own | ({f"{name} is missing": missing.to_numpy(float)} if missing.any() and levels else {})
