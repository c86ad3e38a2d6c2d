"""A model for each inner fold, trained like the fold's own, and what it predicts for the patients it never saw.

Nothing sees a test patient: inner folds are parts of the training patients. The fold's own model has all of them, so what
is fitted on these predictions (temperature, cut-off, thresholds) leans to the careful side. Inner models draw half as many tiles
of a large bag as it does: that changes their figures by 0.002 and takes a third off a fold (benchmarks/README.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from common.failures import StudyError
from mil.training.fitting import epochs_of, fit
from mil.training.held_out.inner_folds import inner_folds
from mil.training.recipe.epoch_store import EpochStore
from mil.training.task import FoldInputs, FoldRows, TrainingTask, UsesHeldOut, strata_of_training
from splits.fold_plan import FoldPlan


@dataclass(frozen=True, kw_only=True)
class CrossFitted:
    """What a fold predicts, with what its inner models predict out of fold, and how many of these there were."""

    rows: FoldRows
    n_inner_folds: int


def cross_fit(
    task: TrainingTask[Any], plan: FoldPlan, fold: FoldInputs[Any], rows: FoldRows, states: EpochStore | None = None
) -> CrossFitted:
    """Return a fold's rows with predictions of its training patients by inner models; as they are where there are none.

    Args:
        task: how to learn.
        plan: the fold.
        fold: its inputs. With an inner validation part of its own nothing is added.
        rows: what its own model predicts.
        states: keeps what killed trainings go on from.

    Raises:
        StudyError: an inner model learnt nothing.
    """
    config = fold.config
    plans = [] if fold.val or not config.cross_fit else _inner(task, plan, fold)
    epochs = epochs_of(task, config, len(fold.train))  # not longer for fewer patients
    own = replace(config, epochs=epochs, max_tiles=max(1, config.max_tiles // 2))
    parts = []
    for number, inner in enumerate(plans):
        inputs = replace(fold, train=inner.train, val=(), config=own)
        try:
            seed = [config.seed, plan.repeat, plan.fold, 1 + number]
            keeping = {} if states is None else {"keeper": states.keeper(f"inner{number}")}
            fitted = fit(task, inputs, seed=seed, **keeping)
        except StudyError as error:
            raise StudyError(
                f"inner fold {number} of {len(plans)}, for predictions out of fold (--cross_fit): {error}; a cohort "
                "too small for inner folds is trained with --cross_fit 0, without what rests on them"
            ) from error
        parts.append(task.predict_fold(fitted.head, fold.read, inner, fold.targets))
    if not parts:
        return CrossFitted(rows=rows, n_inner_folds=0)
    held = replace(rows, validation=[row for part in parts for row in part.validation])
    if isinstance(task, UsesHeldOut):
        held = task.scaled_by_held_out(held, parts)
    return CrossFitted(rows=held, n_inner_folds=len(parts))


def _inner(task: TrainingTask[Any], plan: FoldPlan, fold: FoldInputs[Any]) -> Sequence[FoldPlan]:
    strata = strata_of_training(task, fold.targets, plan.train)
    return inner_folds(plan, strata, fold.config.cross_fit, fold.config.seed, fold.owners)
