"""The subtype of each patient."""

from mil.tasks.task import Task
from mil.training.classification_task import SubtypeTraining

NAME = "subtype"
SUBTYPE = Task(name=NAME, training=SubtypeTraining(name=NAME, column="subtype"))
