"""The main metric over growing parts of the training patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mil.evaluation.metrics_record import Named, SharePoint
from mil.evaluation.task import EvaluationTask
from mil.metrics.bootstrap import intervals
from mil.runs.figure_names import ATTENTION, MEAN_POOL
from mil.runs.run_store import FinishedRun


def learning_curve(
    run: FinishedRun, task: EvaluationTask, whole: Mapping[str, Named], *, n_bootstrap: int, seed: int
) -> tuple[SharePoint, ...]:
    """Return the main metric for each share of the training patients; the run itself is the last; empty without one.

    Args:
        run: with the predictions of its shares.
        task: what the run predicts.
        whole: the metrics of each model of the run itself.
        n_bootstrap: number of patient bootstraps.
        seed: of the bootstrap.
    """
    points, main = [], task.metrics_kind.main
    for trained in run.facts.learning_curve:
        folds = tuple(replace(fold, n_train=round(trained.n_train), n_val=0) for fold in run.facts.folds)
        own = replace(run, predictions=run.shares[trained.share], facts=replace(run.facts, folds=folds))
        plan = task.resampling_plan(own, n_bootstrap=n_bootstrap, seed=seed)
        attention, mean_pool = (
            intervals(task.resampled_metrics(own, model, plan))[main] for model in (ATTENTION, MEAN_POOL)
        )
        points.append(
            SharePoint(share=trained.share, n_train=trained.n_train, attention=attention, mean_pool=mean_pool)
        )
    if points:
        n_train = float(np.mean([fold.n_train for fold in run.facts.folds]))
        attention, mean_pool = (whole[model][main] for model in (ATTENTION, MEAN_POOL))
        points.append(SharePoint(share=1.0, n_train=n_train, attention=attention, mean_pool=mean_pool))
    return tuple(points)
