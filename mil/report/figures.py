"""The pictures of a report: what every run has and what fits its task."""

from __future__ import annotations

import re
from typing import Any

from mil.evaluation.metrics_record import NotEvaluated, RunMetrics
from mil.report.drawing import Picture
from mil.report.subtype_figures import draw_confusion
from mil.report.task import ReportTask
from mil.report.training_figures import draw_learning_curve, draw_training
from mil.runs.run_store import FinishedRun

OWN_PICTURE = re.compile(  # what may lie in a run's figures/ of our own: an older one goes when it is drawn no more
    r"(training|confusion|confusion_images|(confusion|scatter)_\d+|scatter|roc|selective|reliability|kaplan_meier|scores|brier|"
    r"hazard_ratios|risk_calibration|decision_curve|cumulative_incidence|learning_curve)\.(svg|csv)"
)


def draw_pictures(run: FinishedRun, metrics: RunMetrics | NotEvaluated, task: ReportTask[Any]) -> dict[str, Picture]:
    """Draw what every run has and what fits the task."""
    pictures = {"training": draw_training(run.facts.folds)}
    if isinstance(metrics, NotEvaluated):
        return pictures
    pictures |= task.pictures(run, metrics)
    if metrics.images is not None:
        pictures["confusion_images"] = draw_confusion(metrics.images.confusion, "images")
    if metrics.learning_curve:
        pictures["learning_curve"] = draw_learning_curve(
            metrics.learning_curve, metrics.main, metrics.chance.get(metrics.main, 0.5)
        )
    return pictures
