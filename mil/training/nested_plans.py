"""How the result grows with the number of training patients: nested parts of each fold's training patients.

The inner validation part and the test part stay what they are, so only what is learned from differs. Each share is a run of
its own below learning_curve/, with its own models and records, so it goes on where it was stopped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from common.failures import StudyError
from common.guards.own_files import own_folder, remove_if_empty, remove_own_files
from mil.runs.facts import ShareFacts
from mil.runs.run_folder import RunFolder
from mil.training.covariates import Covariates
from mil.training.cross_validation import RunInputs, run_folds
from mil.training.fold_crew import FoldCrew
from mil.training.fold_store import FOLD_FILE, write_fold_tables
from mil.training.recipe.epoch_store import STATE_FILE
from mil.training.task import strata_of_training
from splits.fold_plan import FoldPlan

SHARE = re.compile(r"0\.\d+|\de-\d+|\d\.\d+e-\d+")  # the name of a share's folder


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


def share_of_run(
    folder: RunFolder, share: float, plans: Sequence[FoldPlan], inputs: RunInputs
) -> tuple[RunFolder, list[FoldPlan], RunInputs]:
    """Return the run on a share of the training patients: its folder, its folds, and what they work on."""
    strata = {plan: strata_of_training(inputs.task, inputs.targets, plan.train) for plan in plans}
    nested = [nested_plan(plan, strata[plan], share, inputs.config.seed) for plan in plans]
    return folder.share(share), nested, replace(inputs, covariates=Covariates())


def train_shares(
    folder: RunFolder,
    shares: Sequence[float],
    plans: Sequence[FoldPlan],
    inputs: RunInputs,
    crew: FoldCrew | None = None,
) -> tuple[ShareFacts, ...]:
    """Train on each share of the training patients; return each share and its mean number of training patients a fold."""
    points = []
    for share in shares:
        own, nested, without_covariates = share_of_run(folder, share, plans, inputs)
        own_folder(own.root, below=folder.root)
        write_fold_tables(own, run_folds(own, nested, without_covariates, crew, share), inputs.columns)
        points.append(ShareFacts(share=share, n_train=sum(len(plan.train) for plan in nested) / len(nested)))
    return tuple(points)


def drop_other_shares(folder: RunFolder, shares: Sequence[float]) -> None:
    """Remove the parts of a learning curve that are no longer wanted; what was not written here is left."""
    wanted, curve = {folder.share(share).root for share in shares}, folder.learning_curve
    if curve.is_symlink():
        return  # what lies behind a link is not ours; where shares are wanted, it is refused
    for path in sorted(curve.glob("*")):
        if path not in wanted and SHARE.fullmatch(path.name) and not path.is_symlink():
            _drop_share(RunFolder(path))
    remove_if_empty(curve)


def _drop_share(own: RunFolder) -> None:
    tables = (own.predictions, own.validation, own.follow_up)
    for own_file in (FOLD_FILE, STATE_FILE):
        remove_own_files(own.models, own_file)
    remove_if_empty(own.models)
    remove_own_files(own.root, re.compile("|".join(re.escape(path.name) for path in tables)))
    remove_if_empty(own.root)
