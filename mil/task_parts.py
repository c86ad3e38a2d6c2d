"""The parts of each task, by the task's name."""

from __future__ import annotations

from dataclasses import dataclass

from mil.evaluation.subtype_evaluation import SubtypeEvaluation
from mil.evaluation.survival_evaluation import SurvivalEvaluation
from mil.evaluation.task import EvaluationTask
from mil.report.subtype_sections import SubtypeReport
from mil.report.survival_sections import SurvivalReport
from mil.report.task import ReportTask


@dataclass(frozen=True, kw_only=True)
class TaskParts:
    """What the evaluation and the report need of a task."""

    evaluation: EvaluationTask
    report: ReportTask


TASKS = {
    "subtype": TaskParts(evaluation=SubtypeEvaluation(), report=SubtypeReport()),
    "survival": TaskParts(evaluation=SurvivalEvaluation(), report=SurvivalReport()),
}
