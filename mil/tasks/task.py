"""A task: its name, and the part of it that each room works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mil.evaluation.task import EvaluationTask
from mil.report.task import ReportTask
from mil.runs.targets_record import Targets
from mil.training.task import TrainingTask


@dataclass(frozen=True, kw_only=True)
class Task:
    """What can be predicted."""

    name: str
    training: TrainingTask[Any]
    evaluation: EvaluationTask
    report: ReportTask[Any]
    targets: Targets | None = None  # columns named by the user; None for a task of ours
