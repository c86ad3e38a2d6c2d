"""Time to an event."""

from mil.evaluation.survival_evaluation import SurvivalEvaluation
from mil.report.survival_sections import SurvivalReport
from mil.tasks.task import Task
from mil.training.survival_task import SurvivalTraining

NAME = "survival"
SURVIVAL = Task(
    name=NAME,
    training=SurvivalTraining(name=NAME, possible_covariates=("subtype",)),
    evaluation=SurvivalEvaluation(),
    report=SurvivalReport(),
)
