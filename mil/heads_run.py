"""Several heads trained on the same folds, a run each, and compared in the report of the first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from common.failures import StudyError
from common.guards.names import name_fault
from common.running.progress import stage
from common.study import Study, open_study
from mil.evaluation.heads_comparison import compare_heads
from mil.evaluation.metrics_record import NotEvaluated
from mil.heads.registry import head_named
from mil.report.report import write_report
from mil.runs.heads_record import Heads, write_heads
from mil.runs.run_folder import finishing_run
from mil.runs.run_store import read_run
from mil.tasks.targets import task_to_train
from mil.training.training_settings import TrainConfig
from mil.training_run import TrainedRun, train_study


def other_heads(config: TrainConfig) -> list[str]:
    """Return the heads of --heads beside the run's own, in the order given.

    Raises:
        StudyError: one is not known, or stands there twice.
    """
    names = [name.strip() for name in (config.heads or "").split(",") if name.strip()]
    if len(set(names)) < len(names):
        raise StudyError(f"--heads {config.heads}: a head stands there twice")
    for name in names:
        head_named(name)
    return [name for name in names if name != config.head]


def run_name(config: TrainConfig, head: str) -> str:
    """Return the name of the run of another head."""
    name = f"{config.name}-{head.replace(':', '.')}"
    if fault := name_fault(name):
        raise StudyError(f"--heads {head}: {name!r} cannot be the name of a run: it {fault}")
    return name


def train_heads(
    study: Path | Study, config: TrainConfig, *, say: Callable[[str], None] = print
) -> tuple[TrainedRun, Heads | None]:
    """Train the run, then a run for each other head of --heads on the same folds, and compare them.

    Args:
        study: the folder; `config.study` is not looked at.
        config: the settings; `heads` names the others.
        say: receives what is to be read.

    Returns:
        The first run, and the comparison; None where there is no other head, or nothing was evaluated. A head that fails is said
        and left out of it.

    Raises:
        StudyError: as `train_study` of the first run, or a head is not known.
    """
    others = other_heads(config)  # first: a wrong name costs no training
    study = open_study(study)
    task, config = task_to_train(study, config, lambda _: None)  # each training says what its targets are
    trained = train_study(study, replace(config, heads=None), say=say)
    runs = [(config.head, trained)]
    for head in others:
        say(f"\nhead {head}")
        own = replace(config, head=head, name=run_name(config, head), heads=None, learning_curve=None)
        try:
            runs.append((head, train_study(study, own, say=say)))
        except StudyError as error:  # the run's own head is trained; one that learnt nothing takes no other along
            say(f"head {head} failed and is left out of the comparison: {error}")
    if len(runs) == 1 or isinstance(trained.metrics, NotEvaluated):
        return trained, None
    with finishing_run(study, config.task, config.name), stage("comparing heads"):
        read = [(head, read_run(run.folder)) for head, run in runs]
        heads = compare_heads(read, task.evaluation, n_bootstrap=config.bootstrap, seed=config.seed)
        write_heads(trained.folder, heads)
        write_report(replace(read[0][1], heads=heads), trained.metrics, task.report)
    return trained, heads
