"""Clinical covariates as numbers: what a baseline without any slide may know of a patient.

Everything that is learned of the covariates (means, levels, whether values are missing) is learned of training patients.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from common.failures import StudyError
from common.guards.names import nearest
from common.tables.cohort_columns import KNOWN_COLUMNS
from common.tables.outcome_names import is_named_like_an_outcome

if TYPE_CHECKING:
    import pandas as pd

NOT_COVARIATES = KNOWN_COLUMNS  # ids, targets, site, set and scale
MAX_LEVELS = 8


@dataclass(frozen=True, kw_only=True)
class Covariates:
    """Each covariate's value by patient (None where it is missing), and the columns left out, with the reason."""

    numeric: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    categorical: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The covariates that are used, sorted."""
        return sorted([*self.numeric, *self.categorical])

    def values(self, name: str) -> Mapping[str, float | str | None]:
        """Return a covariate's value by patient."""
        return self.numeric[name] if name in self.numeric else self.categorical[name]

    def of(self, patient: str) -> list[object]:
        """Return a patient's values in the order of `names`."""
        return [self.values(name)[patient] for name in self.names]

    def medians(self, patients: Sequence[str]) -> dict[str, float]:
        """Return the median of each numeric covariate over these patients; absent where nobody has a value."""
        known = {
            name: [value for patient in patients if (value := values[patient]) is not None]
            for name, values in self.numeric.items()
        }
        return {name: float(np.median(values)) for name, values in known.items() if values}


def choose_covariates(
    slides: pd.DataFrame, wanted: str | None, *, targets: Collection[str], allowed: Collection[str] = ()
) -> Covariates:
    """Take the covariates out of a cohort's table of slides.

    Args:
        slides: one row a slide, as in `Cohort.slides`.
        wanted: names with commas; None for every column that is no id, target, site, set or scale, is not named like an
            outcome, has one value a patient and, unless it is a number, at most 8 levels; "none" for none.
        targets: the columns that the task predicts.
        allowed: columns with a meaning that are covariates all the same when named (the subtype, for survival).

    Raises:
        StudyError: a wanted column is missing, is a target, or does not fit.
    """
    if wanted is not None and wanted.strip().lower() == "none":
        return Covariates()
    named = [name.strip() for name in wanted.split(",") if name.strip()] if wanted is not None else None
    barred = (NOT_COVARIATES | set(targets)) - set(allowed)
    columns = named if named is not None else [n for n in slides.columns if n not in barred | set(allowed)]
    numeric: dict[str, dict[str, float | None]] = {}
    categorical: dict[str, dict[str, str | None]] = {}
    left_out: dict[str, str] = {}
    for name in sorted(set(columns)):
        reason = _unfit(slides, name, barred)
        if not reason and named is None and is_named_like_an_outcome(name):
            reason = "is named like an outcome; --covariates takes it all the same"
        if reason:
            if named is not None:
                near = "" if name in slides.columns else nearest(name, list(slides.columns))
                raise StudyError(f"--covariates {name}: {reason}{near}; the table has {', '.join(slides.columns)}")
            left_out[name] = reason
            continue
        values = slides.drop_duplicates("patient_id").set_index("patient_id")[name]
        missing, patients = values.isna().tolist(), [str(patient) for patient in values.index]
        if np.issubdtype(values.dtype.type, np.number):
            numbers = [None if gone else float(value) for value, gone in zip(values, missing, strict=True)]
            numeric[name] = dict(zip(patients, numbers, strict=True))
        else:
            texts = [None if gone else str(value) for value, gone in zip(values, missing, strict=True)]
            categorical[name] = dict(zip(patients, texts, strict=True))
    return Covariates(numeric=numeric, categorical=categorical, left_out=left_out)


def _unfit(slides: pd.DataFrame, name: str, barred: Collection[str]) -> str:
    """Return why a column cannot be a covariate; empty when it can."""
    if name not in slides.columns:
        return "no such column"
    if name in barred:
        return "an id, a target, a site, a set or a scale is no covariate"
    n_values = slides.groupby("patient_id")[name].nunique(dropna=False)
    if (n_values > 1).any():
        return "differs between slides of one patient"
    n_levels = slides[name].nunique()
    if n_levels < 2:
        return "has one value or none"
    if not np.issubdtype(slides[name].dtype.type, np.number) and n_levels > MAX_LEVELS:
        return f"has {n_levels} levels, more than {MAX_LEVELS}"
    return ""


@dataclass(frozen=True)
class CovariateEncoder:
    """How covariates become inputs: the mean of each number, the levels of each category, whether values are missing."""

    means: Mapping[str, float]
    levels: Mapping[str, tuple[str, ...]]
    with_missing: tuple[str, ...]

    def __call__(self, covariates: Covariates, patients: Sequence[str]) -> Float64[np.ndarray, "n d"]:
        """Return inputs: a missing number is the training mean, an unknown level is none of the training levels."""
        columns = [
            [mean if (value := covariates.numeric[name][patient]) is None else value for patient in patients]
            for name, mean in self.means.items()
        ]
        columns += [
            [float(covariates.categorical[name][patient] == level) for patient in patients]
            for name, levels in self.levels.items()
            for level in levels
        ]
        everything: Mapping[str, Mapping[str, object]] = {**covariates.numeric, **covariates.categorical}
        columns += [[float(everything[name][patient] is None) for patient in patients] for name in self.with_missing]
        return np.array(columns, dtype=np.float64).reshape(len(columns), len(patients)).T


def fit_encoder(covariates: Covariates, train: Sequence[str]) -> CovariateEncoder:
    """Learn means, levels and where values are missing from training patients."""
    means = {}
    for name in sorted(covariates.numeric):
        known = [value for patient in train if (value := covariates.numeric[name][patient]) is not None]
        means[name] = float(np.mean(known)) if known else 0.0
    levels = {
        name: tuple(sorted({text for patient in train if (text := covariates.categorical[name][patient]) is not None}))
        for name in sorted(covariates.categorical)
    }
    everything: Mapping[str, Mapping[str, object]] = {**covariates.numeric, **covariates.categorical}
    missing = [name for name in covariates.names if any(everything[name][patient] is None for patient in train)]
    return CovariateEncoder(means, levels, tuple(missing))
