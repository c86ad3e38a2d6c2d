"""From saved out-of-fold predictions to metrics.json: every figure by patient, with an interval and a baseline beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.files import write_json
from mil.runs.run_store import Run, read_run


def evaluate_run(run_dir: Path, *, n_bootstrap: int, seed: int) -> dict[str, Any]:
    """Evaluate a run folder and write its metrics.json.

    Args:
        run_dir: holds predictions.csv and run.json, and what else a training run leaves.
        n_bootstrap: number of patient bootstraps.
        seed: of the bootstrap.
    """
    run = read_run(run_dir)
    found = figures_of_run(run, n_bootstrap=n_bootstrap, seed=seed)
    write_json(run_dir / "metrics.json", found)
    return found


def figures_of_run(run: Run, *, n_bootstrap: int, seed: int) -> dict[str, Any]:
    """Return all figures of a run."""
    from mil.evaluation.image_metrics import image_metrics
    from mil.evaluation.learning_curve import evaluate_learning_curve
    from mil.evaluation.subgroups import subgroup_table
    from mil.evaluation.subtype_evaluation import evaluate_subtype
    from mil.evaluation.survival_evaluation import evaluate_survival

    found: dict[str, Any] = {"task": run.task, "evaluated": bool(len(run.predictions)), "notes": []}
    if not len(run.predictions):
        return found
    evaluate = evaluate_subtype if run.task == "subtype" else evaluate_survival
    found |= evaluate(run, n_bootstrap=n_bootstrap, seed=seed)
    found |= image_metrics(run.folder, run.facts["classes"], n_bootstrap=n_bootstrap, seed=seed)
    found["subgroups"] = subgroup_table(run, n_bootstrap=n_bootstrap, seed=seed)
    found["learning_curve"] = evaluate_learning_curve(run, found, n_bootstrap=n_bootstrap, seed=seed)
    found["bags"] = {"n": run.facts.get("n_patients"), "n_of_one_tile": run.facts.get("n_bags_of_one_tile", 0)}
    found["bootstrap"] = {"n": n_bootstrap, "seed": seed}
    return found
