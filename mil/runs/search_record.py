"""What search.json, and the log of each fold's search beside its model, hold; and search.csv, the same for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.failures import StudyError
from common.files import write_table
from mil.runs.record import Scalar, read_sealed, write_sealed
from mil.runs.run_folder import RunFolder

SCHEMA = "search/1"
REMEDY = "train again with python mil/train.py"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """Settings that were tried, and their mean loss of patients held out in inner folds; None where training failed, and why."""

    number: int
    values: dict[str, Scalar]
    loss: float | None
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldSearch:
    """The search of one fold; `chosen` is the number of the trial taken, None while it goes on."""

    repeat: int
    fold: int
    fingerprint: str
    n_inner_folds: int
    trials: tuple[Trial, ...]
    chosen: int | None

    @property
    def taken(self) -> Trial:
        """The trial taken."""
        return next(trial for trial in self.trials if trial.number == self.chosen)


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """The searches of a run: how many trials a fold were wanted, drawn how, over what, and each fold's own."""

    n_trials: int
    sampler: str
    space: dict[str, str]  # setting to what was searched, in words
    folds: tuple[FoldSearch, ...]


def read_fold_search(path: Path, fingerprint: str) -> FoldSearch | None:
    """Return a fold's search as far as it came; None where there is none, or it is damaged or of something else."""
    if not path.is_file():
        return None
    try:
        known = read_sealed(path, FoldSearch, SCHEMA, REMEDY)
    except StudyError:
        return None
    is_own = known.chosen is None or known.chosen in {trial.number for trial in known.trials}
    return known if is_own and known.fingerprint == fingerprint else None


def write_fold_search(path: Path, own: FoldSearch) -> None:
    """Write a fold's search, atomically."""
    write_sealed(path, own, SCHEMA)


def write_search(folder: RunFolder, search: Search | None) -> None:
    """Write search.json and search.csv; without a search there is none."""
    if search is None:
        folder.search.unlink(missing_ok=True)
        folder.search_table.unlink(missing_ok=True)
        return
    names = list(search.space)
    rows: list[Sequence[object]] = [
        [
            own.repeat, own.fold, trial.number, *(trial.values[name] for name in names), trial.loss,
            int(trial.number == own.chosen), trial.why,
        ]
        for own in search.folds
        for trial in own.trials
    ]  # fmt: skip
    write_table(folder.search_table, ["repeat", "fold", "trial", *names, "loss", "is_chosen", "why"], rows)
    write_sealed(folder.search, search, SCHEMA)


def read_search(folder: RunFolder) -> Search | None:
    """Return the searches of a run; None where there were none.

    Raises:
        StudyError: search.json is damaged.
    """
    if not folder.search.is_file():
        return None
    known = read_sealed(folder.search, Search, SCHEMA, REMEDY)
    for own in known.folds:
        if own.chosen not in {trial.number for trial in own.trials}:
            raise StudyError(f"{folder.search}: fold {own.fold} chose trial {own.chosen}, which it has not; {REMEDY}")
    return known
