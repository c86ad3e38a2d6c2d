"""What task.json holds: what a run predicts, where that is not the subtype or survival; a run without it has none."""

from __future__ import annotations

from dataclasses import dataclass

from common.tables.target_columns import CLASSES, NUMBER, ORDERED, Target
from mil.runs.record import read_sealed, write_sealed
from mil.runs.run_folder import RunFolder

SCHEMA = "task/1"
REMEDY = "train again with python mil/train.py"


@dataclass(frozen=True, kw_only=True, slots=True)
class Targets:
    """The task of a run: its name, and its targets in the order of the model's outputs."""

    task: str
    targets: tuple[Target, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetColumns:
    """The columns of a target in the tables of predictions: its own names, or with the target before them where it is one of several."""

    target: Target
    is_alone: bool

    @property
    def prefix(self) -> str:
        """What stands before the names of columns."""
        return "" if self.is_alone else f"{self.target.column}."

    @property
    def truth(self) -> str:
        """The column of what is known."""
        return f"{self.prefix}{'observed' if self.target.kind == NUMBER else 'truth'}"

    @property
    def predicted(self) -> list[str]:
        """The columns of what is predicted: a number, or a probability a class."""
        if self.target.kind == NUMBER:
            return [f"{self.prefix}predicted"]
        return [f"{self.prefix}p_{name}" for name in self.target.classes]


def columns_of(targets: tuple[Target, ...]) -> tuple[TargetColumns, ...]:
    """Return the columns of each target of a run."""
    return tuple(TargetColumns(target=each, is_alone=len(targets) == 1) for each in targets)


def is_of_classes(target: Target) -> bool:
    """Return whether a target has classes, ordered or not."""
    return target.kind in (CLASSES, ORDERED)


def write_targets(folder: RunFolder, known: Targets | None) -> None:
    """Write task.json; without targets there is none."""
    if known is None:
        folder.targets.unlink(missing_ok=True)
    else:
        write_sealed(folder.targets, known, SCHEMA)


def read_targets(folder: RunFolder) -> Targets | None:
    """Return what a run predicts; None where that is the subtype or survival.

    Raises:
        StudyError: task.json is damaged, or of another version.
    """
    return read_sealed(folder.targets, Targets, SCHEMA, REMEDY) if folder.targets.is_file() else None
