"""The settings of run, in a module that imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from common.settings import option


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The settings of run."""

    study: Path = option(Path("study"), help="study folder", group="study")
    tasks: str | None = option(
        None,
        help="what to predict: subtype, survival and tasks of study.yaml, with commas between; unset: all that the table allows",
        group="study",
    )
    explain: bool = option(True, help="end each task with maps of what each tile contributed", group="study")
    dry_run: bool = option(
        False, help="do nothing: say what is there, what is missing, and what that will take", group="work"
    )
    retry: bool = option(
        False, help="try again what failed before, although nothing changed since (a worker that died, a time limit)",
        group="work",
    )  # fmt: skip

    @property
    def wanted(self) -> tuple[str, ...] | None:
        """The tasks that were named; None: all."""
        if self.tasks is None:
            return None
        return tuple(name.strip() for name in self.tasks.split(",") if name.strip())
