"""A finished run evaluated again from its saved predictions, and compared with another run; nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from common.running.progress import stage
from common.settings import option
from common.study import Study, open_study

if TYPE_CHECKING:
    from mil.evaluation.metrics_record import NotEvaluated, RunMetrics
    from mil.runs.comparison_record import Comparison
    from mil.runs.run_folder import RunFolder
    from mil.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """The settings of evaluate.py."""

    study: Path = option(Path("study"), help="study folder", group="study")
    task: str = option("subtype", help="what was predicted: the first folder under runs/", group="study")
    name: str = option("default", help="name of the run: runs/TASK/NAME/", group="study")
    against: str | None = option(None, help="name of another run of this task to compare with", group="evaluation")
    bootstrap: int = option(2000, help="patient bootstraps of the intervals", group="evaluation")
    seed: int | None = option(None, help="seed of the bootstrap; left out: the run's own", group="evaluation")
    model: bool = option(
        False,
        help="also write model.safetensors, from the fold models and the features: an older run has none",
        group="evaluation",
    )

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.bootstrap < 100:
            raise ValueError(f"--bootstrap is a number from 100, got {self.bootstrap}")
        if self.seed is not None and self.seed < 0:
            raise ValueError(f"--seed is a number from 0, got {self.seed}")
        if self.against == self.name:
            raise ValueError(f"--against names another run, got {self.against!r} twice")


@dataclass(frozen=True, kw_only=True)
class EvaluatedRun:
    """A run evaluated anew: where it lies, its metrics, and the comparison where one was asked for."""

    folder: RunFolder
    metrics: RunMetrics | NotEvaluated
    comparison: Comparison | None


def evaluate_study(study: Path | Study, config: EvaluateConfig) -> EvaluatedRun:
    """Evaluate a run of a study, compare it if asked, and write metrics, comparison and report anew.

    Args:
        study: the folder; `config.study` is not looked at.
        config: the settings.

    Raises:
        StudyError: there is no such finished run, the two runs cannot be compared, or it is being written.
    """
    from mil.runs.run_folder import RunFolder, writing_run
    from mil.tasks.targets import task_of_run

    study = open_study(study)
    folder = RunFolder(study.run(config.task, config.name))
    task = task_of_run(folder, config.task)
    with writing_run(study, config.task, config.name, script="evaluate.py"), stage("evaluating"):
        evaluated = _evaluate(folder, task, config)
        if config.model:
            export_model(study, folder, evaluated.metrics)
        return evaluated


def export_model(study: Study, folder: RunFolder, metrics: RunMetrics | NotEvaluated) -> Path | None:
    """Write the model of a finished run, and return its file; None for a task without classes and hazards.

    Args:
        study: with the table, and the features that the run was trained on.
        folder: of the run.
        metrics: of the run, as its worth out of fold.

    Raises:
        StudyError: the features are gone, or are others than the run was trained on.
    """
    from common.failures import StudyError
    from features.store.provenance import Provenance
    from mil.bags.bags import bags_as_trained
    from mil.evaluation.metrics_record import NotEvaluated
    from mil.models.making import write_model_of_run
    from mil.runs.run_store import read_run

    run = read_run(folder)
    bags = bags_as_trained(study, run.facts.settings, by_slide=run.facts.unit == "slide")
    if difference := Provenance.of_record(run.facts.encoder).difference(bags.provenance):
        name, wanted, found = difference
        raise StudyError(
            f"the run was trained on features with {name} {wanted!r}, and these have {found!r}; train it again"
        )
    worth = {} if isinstance(metrics, NotEvaluated) else metrics.attention
    return write_model_of_run(run, study, bags, worth)


def _evaluate(folder: RunFolder, task: Task, config: EvaluateConfig) -> EvaluatedRun:
    from mil.evaluation.comparison import compare_runs
    from mil.evaluation.evaluation import metrics_of_run
    from mil.evaluation.metrics_record import write_metrics
    from mil.report.report import write_report
    from mil.runs.comparison_record import write_comparison
    from mil.runs.run_store import read_run

    run = read_run(folder)
    seed = run.facts.seed if config.seed is None else config.seed
    compared = None
    if config.against is not None:
        other = read_run(folder.beside(config.against))
        compared = compare_runs(run, other, task.evaluation, n_bootstrap=config.bootstrap, seed=seed)
        write_comparison(folder, compared)
        run = replace(run, comparison=compared)
    metrics = metrics_of_run(run, task.evaluation, n_bootstrap=config.bootstrap, seed=seed)
    write_metrics(folder, metrics)
    write_report(run, metrics, task.report)
    return EvaluatedRun(folder=folder, metrics=metrics, comparison=compared)
