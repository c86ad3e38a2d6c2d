"""The main metrics in parts of the cohort: by site, sex, age, grade, whatever few-valued column the cohort has.

A numeric covariate is parted at the median of each fold's training patients, so no test patient moves the cut.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mil.evaluation.metrics_record import Subgroup
from mil.evaluation.task import EvaluationTask
from mil.runs.figure_names import ATTENTION, COMPETING
from mil.runs.run_store import FinishedRun, blank_as_missing, by_patient

MAX_LEVELS, MAX_SITES = 8, 40


def subgroup_table(run: FinishedRun, task: EvaluationTask, *, n_bootstrap: int, seed: int) -> tuple[Subgroup, ...]:
    """Return each subgroup with its metrics and intervals, or why there are none."""
    if not len(run.patients):
        return ()
    groups = _groups(run)
    rows = []
    for number, name in enumerate(groups.columns):
        for group in sorted(groups[name].dropna().unique()):
            rng = np.random.default_rng([seed, 73, number])
            patients = groups.index[groups[name] == group]
            own = task.metrics_of_group(run, patients, n_bootstrap, rng)
            rows.append(
                Subgroup(
                    column=name, group=str(group), n=len(patients), events=own.events, metrics=own.metrics, why=own.why
                )
            )
    return tuple(rows)


def _groups(run: FinishedRun) -> pd.DataFrame:
    """Return each tested patient's group in each column; a missing value is no group."""
    tested = by_patient(run.predictions, ATTENTION, [], ["repeat", "fold"])
    table = run.patients.set_index("patient_id").reindex(tested.index)
    medians = run.facts.medians()
    keys = list(zip(tested["repeat"], tested["fold"], strict=True))
    groups = pd.DataFrame(index=tested.index)
    for name in (name for name in table.columns if name != COMPETING):  # an outcome
        values = blank_as_missing(table[name])
        cuts = np.array([medians.get(key, {}).get(name, np.nan) for key in keys], dtype=float)
        if name != "site" and np.isfinite(cuts).any() and values.nunique() > 4:
            numbers = pd.to_numeric(values, errors="coerce")
            above = pd.Series(
                np.where(numbers > cuts, "above the training median", "up to the training median"), tested.index
            )
            groups[name] = above.where(numbers.notna() & np.isfinite(cuts))
        elif values.nunique() <= (MAX_SITES if name == "site" else MAX_LEVELS):
            groups[name] = values.map(_label, na_action="ignore")
    return groups


def _label(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
