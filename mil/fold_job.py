"""One fold trained by a worker: it reads study and features for itself, once a run, and leaves model and record."""

from __future__ import annotations

from functools import lru_cache

from common.failures import StudyError
from common.study import Study
from mil.tasks.targets import task_to_train
from mil.training.cross_validation import fold_of_run
from mil.training.fold_crew import Refusal
from mil.training.nested_plans import share_of_run
from mil.training.preparation import PreparedRun, prepare
from mil.training.training_settings import TrainConfig


def train_elsewhere(study: Study, config: TrainConfig, run: str, share: float | None, stem: str) -> Refusal | None:
    """Train a fold of a run, unless its record is whole and of the same.

    Args:
        study: the folder, under the path that it has here too.
        config: the settings.
        run: a mark of the run that asks: what was read for another one may have changed since.
        share: of the training patients, for the learning curve; None: all.
        stem: of the fold.

    Returns:
        Why the fold cannot be trained; None where it was.
    """
    try:
        prepared = _prepared(study, config, run)
        folder, plans, inputs = prepared.folder, prepared.plans, prepared.inputs
        if share is not None:
            folder, plans, inputs = share_of_run(folder, share, plans, inputs)
        fold_of_run(folder, next(plan for plan in plans if plan.stem == stem), inputs)
    except StudyError as error:
        return Refusal(str(error))
    return None


@lru_cache(maxsize=1)
def _prepared(study: Study, config: TrainConfig, run: str) -> PreparedRun:
    task, config = task_to_train(study, config, lambda _: None)
    return prepare(study, config, task.training)
