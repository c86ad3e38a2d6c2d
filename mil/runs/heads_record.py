"""What heads.json holds: the main metric of several heads, trained on the same folds, each set against the first."""

from __future__ import annotations

from dataclasses import dataclass

from common.guards.names import name_fault
from mil.metrics.bootstrap import Interval
from mil.runs.record import SchemaError, keyed, read_record, write_record
from mil.runs.run_folder import RunFolder

SCHEMA = "heads/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadResult:
    """A head's run, its figure, and the difference to the first head's by the paired patient bootstrap (none for the first)."""

    head: str
    run: str
    figure: Interval
    difference: Interval | None
    p: float | None
    p_holm: float | None
    predictions_sha256: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Heads:
    """Several heads on the same patients and folds; the first is the run's own."""

    metric: str = keyed("figure")
    n_patients: int
    n_bootstrap: int
    heads: tuple[HeadResult, ...]


def write_heads(folder: RunFolder, heads: Heads) -> None:
    """Write heads.json."""
    write_record(folder.heads, heads, SCHEMA)


def current_heads(folder: RunFolder) -> Heads | None:
    """Return a run's comparison of heads; None where there is none, or one of its runs was trained anew since.

    Raises:
        StudyError: heads.json is damaged.
    """
    if not folder.heads.is_file():
        return None
    try:
        known = read_record(folder.heads, Heads, SCHEMA, "compare again with python mil/train.py --heads")
    except SchemaError:
        return None
    own, *others = known.heads
    if any(name_fault(other.run) for other in others):
        return None  # it would be looked for outside the folder of runs
    sums = [folder.predictions_sha256(), *(folder.beside(other.run).predictions_sha256() for other in others)]
    return known if sums == [each.predictions_sha256 for each in (own, *others)] else None
