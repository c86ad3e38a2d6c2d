"""The figures of a survival run: concordance of pooled scores and within folds, and risk groups, by patient.

Risks of different folds are not on one scale, so the C-index is of the score standardised by each fold's training patients;
the C-index within folds compares only pairs of one fold and needs no common scale. Uno's C weighs pairs by the chance of
not being censored, from training patients.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

from mil.evaluation.survival_probabilities import evaluate_over_time, horizon, over_time
from mil.metrics.bootstrap import Draws, Resampling, intervals, plan_resampling, resample, supported
from mil.metrics.censoring import uno_c
from mil.metrics.classification import Weights
from mil.metrics.concordance import c_index, concordances, concordances_within
from mil.metrics.support import independent_pairs, survival_support
from mil.metrics.survival_curves import log_rank_p
from mil.runs.figure_names import ATTENTION, BASELINES, PRIOR
from mil.runs.run_store import Run, by_fold, by_patient


def evaluate_survival(run: Run, *, n_bootstrap: int, seed: int) -> dict[str, Any]:
    """Return the figures of a survival run."""
    first = by_patient(run.predictions, ATTENTION, ["score", "high_risk"], ["time", "event", "fold"])
    time, event = first["time"].to_numpy(float), first["event"].to_numpy(int)
    plan = plan_resampling(event, n_bootstrap, np.random.default_rng([seed, 72]))
    models = [model for model in run.models if model != PRIOR]
    draws = {model: draw_figures_of(run, model, plan) for model in models}
    found: dict[str, Any] = {model: _with_intervals(own) for model, own in draws.items()}
    found["differences"] = {
        model: _with_intervals(draws[ATTENTION].minus(draws[model])) for model in BASELINES if model in draws
    }
    found |= {"notes": [], "n_patients": len(time), "n_events": int(event.sum())}
    found["chance"] = {"c_index": 0.5, "c_index_within_folds": 0.5, "uno_c": 0.5}
    found["over_time"] = evaluate_over_time(run, plan)
    is_high = is_high_risk(first)
    found["risk_groups"] = {
        "n_high": int(is_high.sum()), "n_low": int((~is_high).sum()),
        "events_high": int(event[is_high].sum()), "events_low": int(event[~is_high].sum()),
        "log_rank_p": log_rank_p(time, event, is_high),
    }  # fmt: skip
    found["folds_tested"] = _by_fold(run)
    return found


def is_high_risk(patients: pd.DataFrame) -> Bool[np.ndarray, " n"]:
    """Return who is of high risk in most repeats; of those who are in half of them, whose mean score is above 0.

    Args:
        patients: high_risk and score of each, averaged over repeats.
    """
    high, score = patients["high_risk"].to_numpy(float), patients["score"].to_numpy(float)
    return (high > 0.5) | ((high == 0.5) & (score > 0))


def _with_intervals(draws: Draws) -> dict[str, Any]:
    return {name: asdict(own) for name, own in intervals(draws).items()}


def draw_figures_of(run: Run, model: str, plan: Resampling) -> Draws:
    """Return all figures of a model on a resampling plan; patients are in the order of their ids."""
    table = by_patient(run.predictions, model, ["score"], ["time", "event"])
    score, time, event = (
        table["score"].to_numpy(float),
        table["time"].to_numpy(float),
        table["event"].to_numpy(int),
    )
    own = run.predictions[run.predictions["model"] == model].sort_values(["repeat", "patient_id"], kind="stable")
    place = table.index.get_indexer(pd.Index(own["patient_id"]))
    own_risk, own_time, own_event = (own[name].to_numpy(float) for name in ("log_hazard", "time", "event"))
    stratum = own.groupby(["repeat", "fold"], sort=True).ngroup().to_numpy()
    known = over_time(run)

    def figures(weights: Weights) -> dict[str, Float64[np.ndarray, " b"]]:
        found = {
            "c_index": concordances(score, time, event, weights),
            "c_index_within_folds": concordances_within(own_risk, own_time, own_event, stratum, weights[place]),
        }
        if known is not None:
            found["uno_c"] = uno_c(score, time, event, known.uncensored, horizon(run), weights)
        return found

    drawn = resample(figures, plan)
    within = [independent_pairs(own_time[stratum == name], own_event[stratum == name]) for name in np.unique(stratum)]
    pairs = {
        "c_index": independent_pairs(time, event),
        "c_index_within_folds": sum(within) / own["repeat"].nunique(),
        "uno_c": independent_pairs(time, event, horizon(run)) if known is not None else 0.0,
    }
    return supported(drawn, survival_support(drawn.value, pairs, event))


def _by_fold(run: Run) -> list[dict[str, Any]]:
    """Return each fold's own figures, without intervals: few patients, to show the spread."""
    found = []
    for key, rows in by_fold(run.predictions, ATTENTION):
        time, event = rows["time"].to_numpy(float), rows["event"].to_numpy(int)
        value = c_index(rows["log_hazard"].to_numpy(float), time, event)
        found.append(
            {
                "repeat": key[0], "fold": key[1], "n": len(rows), "events": int(event.sum()),
                "c_index": value if np.isfinite(value) else None,
            }
        )  # fmt: skip
    return found
