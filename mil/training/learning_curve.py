"""The trainings of a learning curve: each share a run of its own below learning_curve/, with its own models and records.

So a curve goes on where it was stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mil.runs.run_store import CURVE, share_folder
from mil.training.covariates import Covariates
from mil.training.cross_validation import RunInputs, run_folds
from mil.training.fold_store import write_fold_tables
from mil.training.nested_plans import nested_plan
from splits.fold_plan import FoldPlan


def train_shares(
    run_dir: Path, shares: Sequence[float], plans: Sequence[FoldPlan], inputs: RunInputs
) -> list[dict[str, Any]]:
    """Train on each share of the training patients; return each share and its mean number of training patients a fold."""
    without_covariates, strata = replace(inputs, covariates=Covariates()), inputs.task.strata(inputs.targets)
    points = []
    for share in shares:
        nested = [nested_plan(plan, strata, share, inputs.config.seed) for plan in plans]
        folder = share_folder(run_dir, share)
        write_fold_tables(folder, run_folds(folder, nested, without_covariates), inputs.columns)
        points.append({"share": share, "n_train": sum(len(plan.train) for plan in nested) / len(nested)})
    return points


def drop_other_shares(run_dir: Path, shares: Sequence[float]) -> None:
    """Remove the parts of a learning curve that are no longer wanted."""
    wanted = {share_folder(run_dir, share).name for share in shares}
    for folder in sorted((run_dir / CURVE).glob("*")):
        if folder.name not in wanted:
            shutil.rmtree(folder)
    if not wanted and (run_dir / CURVE).is_dir():
        (run_dir / CURVE).rmdir()
