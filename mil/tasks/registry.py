"""The tasks by name."""

from common.failures import StudyError
from common.guards.names import nearest
from mil.tasks.subtype import SUBTYPE
from mil.tasks.survival import SURVIVAL
from mil.tasks.task import Task

TASKS: dict[str, Task] = {task.name: task for task in (SUBTYPE, SURVIVAL)}


def register(task: Task) -> None:
    """Add a task under its name.

    Raises:
        ValueError: another task has that name.
    """
    if TASKS.get(task.name, task) != task:
        raise ValueError(f"two tasks are named {task.name!r}")
    TASKS[task.name] = task


def task_named(name: str) -> Task:
    """Return a task by its name.

    Raises:
        StudyError: there is none of that name; the message lists those there are.
    """
    if name not in TASKS:
        raise StudyError(
            f"--task {name!r} is no task{nearest(name, sorted(TASKS))}; there are {', '.join(sorted(TASKS))}"
        )
    return TASKS[name]
