"""A task made of columns of the clinical table: by --target, or declared under `tasks` in study.yaml; and that of a finished run.

    tasks:
      grade: {target: grade, kind: ordered, order: [G1, G2, G3]}
      both: {target: [grade, size_mm]}

A single target of classes is learnt and evaluated as the subtype is; all others as `mil.training.targets` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from common.cohort import Cohort, read_cohort
from common.failures import StudyError
from common.guards.names import checked_name, name_fault, nearest
from common.settings import SETTINGS_FILE, read_settings
from common.study import Study
from common.tables.target_columns import CLASSES, KINDS, Target, find_target, values_of_patients
from mil.evaluation.subtype_evaluation import SubtypeEvaluation
from mil.evaluation.targets.targets_evaluation import TargetsEvaluation
from mil.report.subtype_sections import SubtypeReport
from mil.report.targets.targets_sections import TargetsReport
from mil.runs.run_folder import RunFolder
from mil.runs.targets_record import Targets, read_targets
from mil.tasks.registry import TASKS, task_named
from mil.tasks.task import Task
from mil.training.classification_task import SubtypeTraining
from mil.training.targets.targets_task import TargetsTraining
from mil.training.training_settings import TrainConfig

PARTS = ("target", "kind", "order")


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A task as it was asked for: its name, its columns, and for each of them its kind and the order of its classes, if given."""

    name: str
    columns: tuple[str, ...]
    kinds: tuple[str | None, ...]
    order: tuple[object, ...]
    flag: str  # what named the columns


def task_to_train(study: Study, config: TrainConfig, say: Callable[[str], None]) -> tuple[Task, TrainConfig]:
    """Return the task of the settings, and the settings with its name; say what its targets were found to be.

    Raises:
        StudyError: there is no such task, or its columns cannot be learnt; says what to do.
    """
    if config.target is None and config.task in TASKS:
        if config.kind or config.order:
            raise StudyError(f"--kind and --order are of --target COLUMN; --task {config.task} needs none")
        return TASKS[config.task], config
    declared = _by_flags(config) if config.target is not None else _of_study(study, config)
    if declared.columns == ("subtype",) and declared.name == "subtype" and set(declared.kinds) <= {None, CLASSES}:
        return TASKS["subtype"], replace(config, task="subtype")
    if declared.name in TASKS:
        raise StudyError(
            f"{declared.flag} {', '.join(declared.columns)}: a task of columns needs a name other than {' and '.join(TASKS)}; give "
            f"one with --task NAME, or under tasks in {SETTINGS_FILE}"
        )
    targets = _found(read_cohort(study.cohort_table, where=config.where), declared)
    for target in targets:
        say(f"target {target.words}")
    return task_of_targets(Targets(task=declared.name, targets=targets)), replace(config, task=declared.name)


def task_of_run(folder: RunFolder, name: str) -> Task:
    """Return the task of a finished run.

    Args:
        folder: the run.
        name: of its task, as the folder of its runs is called.

    Raises:
        StudyError: there is no such task.
    """
    if name in TASKS:
        return TASKS[name]
    known = read_targets(folder)
    return task_named(name) if known is None else task_of_targets(known)


def task_of_targets(known: Targets) -> Task:
    """Return the task that predicts these targets."""
    first, *others = known.targets
    may_name = () if "subtype" in {target.column for target in known.targets} else ("subtype",)  # as a covariate
    if not others and first.kind == CLASSES:
        return Task(
            name=known.task,
            training=SubtypeTraining(
                name=known.task, column=first.column, order=first.classes, possible_covariates=may_name
            ),
            evaluation=SubtypeEvaluation(), report=SubtypeReport(title=known.task, noun="class"), targets=known,
        )  # fmt: skip
    return Task(
        name=known.task, training=TargetsTraining(known=known, possible_covariates=may_name),
        evaluation=TargetsEvaluation(known=known), report=TargetsReport(known=known), targets=known,
    )  # fmt: skip


def declared_tasks(study: Study) -> dict[str, Declared]:
    """Return the tasks under `tasks` in study.yaml.

    Raises:
        StudyError: one is not as it must be; names what is.
    """
    path = study.root / SETTINGS_FILE
    content = read_settings(path)
    known = (content.get("tasks") or {}) if isinstance(content, dict) else {}
    if not isinstance(known, dict):
        raise StudyError(f"{path}: tasks maps names to columns, such as tasks: {{grade: {{target: grade}}}}")
    return {str(name): _declared(str(name), part, f"{path}: tasks: {name}") for name, part in known.items()}


def _declared(name: str, part: Any, where: str) -> Declared:
    if fault := name_fault(name):
        raise StudyError(f"{where}: a task's name is that of a folder, and this one {fault}")
    if not isinstance(part, Mapping) or "target" not in part:
        raise StudyError(
            f"{where}: wanted target, and kind and order where they are not found, such as {{target: grade}}"
        )
    if other := sorted(str(key) for key in part if key not in PARTS):
        raise StudyError(f"{where}: {other[0]!r} is no key{nearest(other[0], PARTS)}; there are {', '.join(PARTS)}")
    columns = _texts(part["target"])
    order = part.get("order") or ()
    if not isinstance(order, Sequence) or isinstance(order, str):
        raise StudyError(f"{where}: order is a list of classes, the lowest first, such as [G1, G2, G3]")
    return Declared(
        name=name, columns=columns, kinds=_kinds(_texts(part.get("kind") or ()), columns, where), order=tuple(order), flag=where
    )  # fmt: skip


def _texts(value: Any) -> tuple[str, ...]:
    """Return names of a list, or of a text with commas."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    return tuple(str(part).strip() for part in parts if str(part).strip())


def _kinds(kinds: Sequence[str], columns: Sequence[str], where: str) -> tuple[str | None, ...]:
    """Return a kind for each column: none, one for all, or one each."""
    if other := [kind for kind in kinds if kind not in KINDS]:
        raise StudyError(f"{where}: kind {other[0]!r} is none{nearest(other[0], KINDS)}; there are {', '.join(KINDS)}")
    if len(kinds) not in (0, 1, len(columns)):
        raise StudyError(f"{where}: {len(kinds)} kinds for {len(columns)} columns; give one for all, or one for each")
    return tuple(kinds) if len(kinds) == len(columns) else (kinds[0] if kinds else None,) * len(columns)


def _by_flags(config: TrainConfig) -> Declared:
    columns = _texts(config.target)
    if not columns:
        raise StudyError(f"--target {config.target!r} names no column; name at least one")
    name = config.task if config.task not in TASKS else "+".join(columns)
    if config.task == "survival":
        raise StudyError("--task survival predicts time and event; leave --target out, or give the task another name")
    if config.task in TASKS and name_fault(name):
        raise StudyError(
            f"--target {config.target!r} cannot name a folder of runs: it {name_fault(name)}; name the task with --task NAME, or "
            f"under tasks in {SETTINGS_FILE}"
        )
    kinds = _kinds(_texts(config.kind or ()), columns, "--kind")
    checked_name(name, "the name of a task (--task)")
    return Declared(name=name, columns=columns, kinds=kinds, order=_texts(config.order or ()), flag="--target")


def _of_study(study: Study, config: TrainConfig) -> Declared:
    known = declared_tasks(study)
    if config.task not in known:
        names = sorted({*known, *TASKS})
        raise StudyError(
            f"--task {config.task!r} is no task{nearest(config.task, names)}; there are {', '.join(names)}. A column of the "
            f"clinical table: --target COLUMN; more under tasks in {SETTINGS_FILE}"
        )
    own = known[config.task]
    kinds = _kinds(_texts(config.kind), own.columns, "--kind") if config.kind else own.kinds
    return replace(own, kinds=kinds, order=_texts(config.order) if config.order else own.order)


def _found(cohort: Cohort, declared: Declared) -> tuple[Target, ...]:
    if len(set(declared.columns)) < len(declared.columns) or not declared.columns:
        raise StudyError(f"{declared.flag} {', '.join(declared.columns)!r}: name each column once, and at least one")
    if declared.order and len(declared.columns) > 1:
        raise StudyError(
            f"{declared.flag}: an order is of one column; give each of several its own task, or use words with an order"
        )
    found = []
    for column, kind in zip(declared.columns, declared.kinds, strict=True):
        values = values_of_patients(cohort.rows, cohort.columns, column, flag=declared.flag)
        found.append(find_target(column, values.values(), kind=kind, order=declared.order, flag=declared.flag))
    return tuple(found)
