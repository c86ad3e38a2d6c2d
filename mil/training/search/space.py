"""What is searched: settings with their values, by default for the task, or from study.yaml or a file.

search:
  learning_rate: {low: 0.001, high: 0.01, log: true}
  epochs: {low: 20, high: 60, step: 20}
  hidden: [64, 128, 256]
  head: [gated_attention, mean_mlp]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any, get_type_hints

from common.failures import StudyError
from common.guards.names import nearest
from common.settings import SETTINGS_FILE, read_settings
from common.study import Study
from mil.heads.registry import head_named
from mil.training.task import TrainingTask
from mil.training.training_settings import TrainConfig

SEARCHABLE = (
    "learning_rate", "epochs", "weight_decay", "label_smoothing", "dropout", "hidden", "attention", "head", "batch_patients",
    "max_tiles", "risk_set_patients",
)  # fmt: skip
RANGE = ("low", "high", "log", "step")
MOST_CHOICES = 50
Value = str | int | float


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from low to high, whole ones where the setting is; on a logarithmic scale, or in steps."""

    low: float
    high: float
    is_whole: bool
    is_log: bool = False
    step: float | None = None

    @property
    def words(self) -> str:
        """What is searched, in words."""
        how = ", logarithmic" if self.is_log else f", step {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{how}"

    def holds(self, value: object) -> bool:
        """Return whether a value lies in it."""
        if not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        return self.step is None or abs((value - self.low) / self.step - round((value - self.low) / self.step)) < 1e-9


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of several values."""

    values: tuple[Value, ...]

    @property
    def words(self) -> str:
        """What is searched, in words."""
        return "one of " + ", ".join(map(str, self.values))

    def holds(self, value: object) -> bool:
        """Return whether it is one of them."""
        return value in self.values


Space = Mapping[str, Range | Choice]


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """What a run searches, how many trials a fold, how they are drawn, and by how many inner folds they are judged."""

    space: Space
    n_trials: int
    n_folds: int
    sampler: str

    @property
    def words(self) -> dict[str, str]:
        """Each setting, and what is searched of it."""
        return {name: own.words for name, own in self.space.items()}


def plan_search(study: Study, config: TrainConfig, task: TrainingTask[Any], targets: Any) -> SearchPlan | None:
    """Return what a run searches; None without --search.

    Raises:
        StudyError: the space is not as it must be, or Optuna is not installed; says what to do.
    """
    if not config.search:
        if config.search_space is not None:
            raise StudyError("--search_space says what is searched; give the number of trials a fold with --search")
        return None
    _check_installed()
    given, where = _given(study, config)
    space = (
        _space(given, where, config) if given is not None else default_space(has_classes=bool(task.classes(targets)))
    )
    if config.heads and "head" in space:
        raise StudyError(f"{where}: head is searched, so --heads compares nothing; leave one of the two out")
    return SearchPlan(space=space, n_trials=config.search, n_folds=config.search_folds, sampler=config.search_sampler)


def default_space(*, has_classes: bool) -> Space:
    """Return what is searched where nothing is declared."""
    space: dict[str, Range | Choice] = {
        "learning_rate": Range(low=1e-3, high=1e-2, is_whole=False, is_log=True),
        "weight_decay": Range(low=1e-3, high=1e-1, is_whole=False, is_log=True),
        "dropout": Range(low=0.0, high=0.5, is_whole=False, step=0.05),
        "hidden": Choice(values=(64, 128, 256)),
    }
    if has_classes:
        space["label_smoothing"] = Range(low=0.0, high=0.2, is_whole=False, step=0.05)
    return space


def _check_installed() -> None:
    from importlib.util import find_spec

    if find_spec("optuna") is None:
        raise StudyError("--search needs Optuna, which is not installed: pip install -e '.[search]'")


def _given(study: Study, config: TrainConfig) -> tuple[Any, str]:
    """Return the declared space and where it stands; None where there is none."""
    if config.search_space is not None:
        path = Path(config.search_space)
        if not path.is_file():
            raise StudyError(f"--search_space {path}: no such file; wanted YAML that maps settings to values")
        content = read_settings(path)
        return (content.get("search", content) if isinstance(content, dict) else content), str(path)
    path = study.root / SETTINGS_FILE
    content = read_settings(path)
    return (content.get("search") if isinstance(content, dict) else None), f"{path}: search"


def _space(given: Any, where: str, config: TrainConfig) -> Space:
    if not isinstance(given, dict) or not given:
        raise StudyError(f"{where}: wanted settings and their values, such as {{dropout: [0.0, 0.25, 0.5]}}")
    if other := [str(name) for name in given if name not in SEARCHABLE]:
        near = nearest(other[0], SEARCHABLE)
        raise StudyError(f"{where}: {other[0]!r} is not searched{near}; there are {', '.join(SEARCHABLE)}")
    kinds = get_type_hints(TrainConfig)
    return {name: _part(name, given[name], kinds[name], f"{where}: {name}", config) for name in sorted(given)}


def _part(name: str, given: Any, kind: type, where: str, config: TrainConfig) -> Range | Choice:
    if isinstance(given, Sequence) and not isinstance(given, str):
        values = tuple(dict.fromkeys(_value(each, kind, where) for each in given))
        if not 0 < len(values) <= MOST_CHOICES:
            raise StudyError(f"{where}: a list holds 1 to {MOST_CHOICES} values, this one {len(values)}")
        part: Range | Choice = Choice(values=values)
        ends: tuple[Value, ...] = values
    elif isinstance(given, dict) and {"low", "high"} <= set(given) <= set(RANGE) and kind is not str:
        low, high = (_value(given[end], kind, where) for end in ("low", "high"))
        step = None if given.get("step") is None else float(_value(given["step"], kind, where))
        is_log = given.get("log", False)
        if not isinstance(is_log, bool) or (is_log and (step is not None or float(low) <= 0)):
            raise StudyError(f"{where}: log is true or false; a logarithmic range begins above 0 and has no step")
        if not float(low) < float(high) or (step is not None and not 0 < step <= float(high) - float(low)):
            raise StudyError(f"{where}: low is below high, and a step above 0 and not beyond them; got {given}")
        part = Range(low=float(low), high=float(high), is_whole=kind is int, is_log=is_log, step=step)
        ends = (low, high)
    else:
        raise StudyError(
            f"{where}: wanted a list of values, or {{low: .., high: .., log: true}} of numbers; got {given!r}"
        )
    for end in ends:
        if name == "head":
            head_named(str(end))
        try:
            replace(config, **{name: end})  # type: ignore[arg-type]
        except ValueError as error:
            raise StudyError(f"{where}: {error}") from error
    return part


def _value(given: object, kind: type, where: str) -> Value:
    if kind is str:
        return str(given)
    try:  # YAML takes 1e-3 for a text
        number = float(given) if isinstance(given, int | float | str) and not isinstance(given, bool) else None
    except ValueError:
        number = None
    if number is None or not isfinite(number) or (kind is int and not number.is_integer()):
        raise StudyError(f"{where}: {given!r} is no {'whole ' if kind is int else ''}number")
    return int(number) if kind is int else number
