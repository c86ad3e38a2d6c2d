"""The main figures in parts of the cohort: by site, sex, age, grade, whatever few-valued column the cohort has.

A numeric covariate is parted at the median of each fold's training patients, so no test patient moves the cut.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64

from mil.metrics import classification as metrics
from mil.metrics.bootstrap import intervals, plan_resampling, resample, supported
from mil.metrics.classification import Weights
from mil.metrics.concordance import concordances
from mil.metrics.support import (
    MIN_EVENTS,
    MIN_PATIENTS,
    class_support,
    has_enough_events,
    independent_pairs,
    survival_support,
)
from mil.runs.figure_names import ATTENTION
from mil.runs.run_store import Run, by_patient

MAX_LEVELS, MAX_SITES = 8, 40


def subgroup_table(run: Run, *, n_bootstrap: int, seed: int) -> list[dict[str, Any]]:
    """Return one row a subgroup: column, group, patients, and the figures with intervals or why there are none."""
    if not len(run.patients):
        return []
    groups = _groups(run)
    found = []
    for number, name in enumerate(groups.columns):
        for group in sorted(groups[name].dropna().unique()):
            rng = np.random.default_rng([seed, 73, number])
            patients = groups.index[groups[name] == group]
            figures = _subtype if run.task == "subtype" else _survival
            row = {"column": name, "group": str(group), "n": len(patients)}
            found.append(row | figures(run, patients, n_bootstrap, rng))
    return found


def _groups(run: Run) -> pd.DataFrame:
    """Return each tested patient's group in each column; a missing value is no group."""
    tested = by_patient(run.predictions, ATTENTION, [], ["repeat", "fold"])
    table = run.patients.set_index("patient_id").reindex(tested.index)
    medians = {(fold["repeat"], fold["fold"]): fold.get("covariate_medians", {}) for fold in run.facts["folds"]}
    keys = list(zip(tested["repeat"], tested["fold"], strict=True))
    groups = pd.DataFrame(index=tested.index)
    for name in table.columns:
        values = table[name].replace("", np.nan)
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


def _subtype(run: Run, patients: pd.Index, n_bootstrap: int, rng: np.random.Generator) -> dict[str, Any]:
    table = by_patient(run.predictions, ATTENTION, run.probability_columns, ["truth"]).loc[patients]
    labels = run.codes(table["truth"])
    probabilities = table[run.probability_columns].to_numpy()
    support = class_support(probabilities, labels)
    if not support["macro_auroc"].is_enough:
        return {
            "figures": None,
            "why": f"too few: under {MIN_PATIENTS} patients, or no subtype of {MIN_EVENTS} beside {MIN_EVENTS} others",
        }

    def figures(weights: Weights) -> dict[str, Float64[np.ndarray, " b"]]:
        own = metrics.classification_metrics(probabilities, labels, weights, least=MIN_EVENTS)
        return {name: own[name] for name in ("macro_auroc", "accuracy")}

    drawn = supported(resample(figures, plan_resampling(labels, n_bootstrap, rng)), support)
    return {"figures": {name: asdict(own) for name, own in intervals(drawn).items()}, "why": ""}


def _survival(run: Run, patients: pd.Index, n_bootstrap: int, rng: np.random.Generator) -> dict[str, Any]:
    table = by_patient(run.predictions, ATTENTION, ["score"], ["time", "event"]).loc[patients]
    score, time, event = table["score"].to_numpy(float), table["time"].to_numpy(float), table["event"].to_numpy(int)
    if not has_enough_events(event):
        return {
            "events": int(event.sum()), "figures": None,
            "why": f"too few: under {MIN_PATIENTS} patients or under {MIN_EVENTS} events",
        }  # fmt: skip
    drawn = resample(
        lambda weights: {"c_index": concordances(score, time, event, weights)}, plan_resampling(event, n_bootstrap, rng)
    )
    support = survival_support(drawn.value, {"c_index": independent_pairs(time, event)}, event)
    shown = {name: asdict(own) for name, own in intervals(supported(drawn, support)).items()}
    return {"events": int(event.sum()), "figures": shown, "why": ""}
