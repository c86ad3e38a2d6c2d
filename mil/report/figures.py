"""The pictures of a report, as SVG that is the same on every run: no dates, no random ids; the numbers behind each as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.files import write_table, write_text
from mil.evaluation.metrics_record import NotEvaluated, RunMetrics
from mil.report.drawing import Picture
from mil.report.task import ReportTask
from mil.report.training_figures import draw_learning_curve, draw_training
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import FinishedRun


def draw_pictures(run: FinishedRun, metrics: RunMetrics | NotEvaluated, task: ReportTask[Any]) -> dict[str, Picture]:
    """Draw what every run has and what fits the task."""
    pictures = {"training": draw_training(run.facts.folds)}
    if isinstance(metrics, NotEvaluated):
        return pictures
    pictures |= task.pictures(run, metrics)
    if metrics.learning_curve:
        pictures["learning_curve"] = draw_learning_curve(metrics.learning_curve, metrics.main)
    return pictures


def write_pictures(folder: RunFolder, pictures: Mapping[str, Picture], svgs: Mapping[str, str]) -> None:
    """Write pictures and their tables into figures/, replacing older ones."""
    for name, picture in pictures.items():
        write_text(folder.picture(name), svgs[name])
        write_table(folder.picture_table(name), picture.names, picture.rows)
    for path in [*folder.figures.glob("*.svg"), *folder.figures.glob("*.csv")]:
        if path.stem not in pictures:
            path.unlink()
