"""How the result grows with the number of training patients: nested parts of each fold's training patients.

The inner validation part and the test part stay what they are, so only what is learned from differs. Each share is a run of
its own below learning_curve/, with its own models and records, so it goes on where it was stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from common.failures import StudyError
from mil.runs.facts import ShareFacts
from mil.runs.run_folder import RunFolder
from mil.training.covariates import Covariates
from mil.training.cross_validation import RunInputs, run_folds
from mil.training.fold_store import write_fold_tables
from splits.fold_plan import FoldPlan


def parse_shares(text: str | None) -> tuple[float, ...]:
    """Read shares of the training patients, such as "0.25,0.5".

    Raises:
        StudyError: one is no number between 0 and 1.
    """
    if text is None:
        return ()
    try:
        shares = sorted({float(part) for part in text.split(",") if part.strip()})
    except ValueError as error:
        raise StudyError(f"--learning_curve wants shares with commas, such as 0.25,0.5,0.75, got {text!r}") from error
    if not shares or not all(0 < share < 1 for share in shares):
        raise StudyError(f"--learning_curve wants shares between 0 and 1 (1 is the run itself), got {text!r}")
    return tuple(shares)


def nested_plan(plan: FoldPlan, strata: Mapping[str, int], share: float, seed: int) -> FoldPlan:
    """Return a fold with a share of its training patients, of every stratum (class, or event and censored) alike.

    A smaller share is part of every larger one, and each stratum keeps at least one patient.
    """
    rng = np.random.default_rng([seed, plan.repeat, plan.fold, 83])
    kept: list[str] = []
    for stratum in sorted({strata[patient] for patient in plan.train}):
        own = [patient for patient in plan.train if strata[patient] == stratum]
        order = rng.permutation(len(own))
        kept += [own[index] for index in order[: max(1, round(share * len(own)))]]
    return replace(plan, train=tuple(sorted(kept)))


def train_shares(
    folder: RunFolder, shares: Sequence[float], plans: Sequence[FoldPlan], inputs: RunInputs
) -> tuple[ShareFacts, ...]:
    """Train on each share of the training patients; return each share and its mean number of training patients a fold."""
    without_covariates, strata = replace(inputs, covariates=Covariates()), inputs.task.strata(inputs.targets)
    points = []
    for share in shares:
        nested = [nested_plan(plan, strata, share, inputs.config.seed) for plan in plans]
        own = folder.share(share)
        write_fold_tables(own, run_folds(own, nested, without_covariates), inputs.columns)
        points.append(ShareFacts(share=share, n_train=sum(len(plan.train) for plan in nested) / len(nested)))
    return tuple(points)


def drop_other_shares(folder: RunFolder, shares: Sequence[float]) -> None:
    """Remove the parts of a learning curve that are no longer wanted."""
    wanted = {folder.share(share).root for share in shares}
    for path in sorted(folder.learning_curve.glob("*")):
        if path not in wanted:
            shutil.rmtree(path)
    if not wanted and folder.learning_curve.is_dir():
        folder.learning_curve.rmdir()
