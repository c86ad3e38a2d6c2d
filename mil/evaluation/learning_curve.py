"""Figures over growing parts of the training patients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mil.runs.figure_names import ATTENTION, MAIN, MEAN_POOL
from mil.runs.run_store import PREDICTIONS, Run, read_predictions, share_folder


def evaluate_learning_curve(run: Run, whole: dict[str, Any], *, n_bootstrap: int, seed: int) -> list[dict[str, Any]]:
    """Return the main figure for each share of the training patients; the run itself is the last; empty without one."""
    from mil.evaluation.subtype_evaluation import evaluate_subtype
    from mil.evaluation.survival_evaluation import evaluate_survival

    evaluate, name = evaluate_subtype if run.task == "subtype" else evaluate_survival, MAIN[run.task]
    points = []
    for entry in run.facts.get("learning_curve", []):
        path = share_folder(run.folder, entry["share"]) / PREDICTIONS
        own = replace(run, predictions=read_predictions(path))
        found = evaluate(own, n_bootstrap=n_bootstrap, seed=seed)
        points.append(
            {"share": entry["share"], "n_train": entry["n_train"]}
            | {model: found[model][name] for model in (ATTENTION, MEAN_POOL)}
        )
    if points:
        n_train = float(np.mean([fold["n_train"] for fold in run.facts["folds"]]))
        points.append(
            {"share": 1.0, "n_train": n_train} | {model: whole[model][name] for model in (ATTENTION, MEAN_POOL)}
        )
    return points
