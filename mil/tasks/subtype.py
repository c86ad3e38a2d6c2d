"""The subtype of each patient."""

from mil.evaluation.subtype_evaluation import SubtypeEvaluation
from mil.report.subtype_sections import SubtypeReport
from mil.tasks.task import Task
from mil.training.classification_task import SubtypeTraining

NAME = "subtype"
SUBTYPE = Task(
    name=NAME,
    training=SubtypeTraining(name=NAME, column="subtype"),
    evaluation=SubtypeEvaluation(),
    report=SubtypeReport(),
)
