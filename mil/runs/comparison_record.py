"""What comparison.json holds."""

from __future__ import annotations

from dataclasses import dataclass

from common.guards.names import name_fault
from mil.metrics.bootstrap import Interval
from mil.runs.record import SchemaError, keyed, read_record, write_record
from mil.runs.run_folder import RunFolder

SCHEMA = "comparison/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedMetric:
    """A metric of two runs and their difference, by the paired patient bootstrap."""

    name: str = keyed("figure")
    first: float | None
    second: float | None
    difference: Interval
    p: float | None
    p_holm: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldTest:
    """The corrected resampled t of a metric over folds, or why there is none."""

    name: str = keyed("figure")
    why: str | None = None
    n_folds: int | None = None
    mean: float | None = None
    t: float | None = None
    p: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassTest:
    """DeLong's test of one class's AUROC against the rest."""

    class_name: str = keyed("class")
    n: int
    first: float | None
    second: float | None
    standard_error: float | None
    z: float | None
    p: float | None
    p_holm: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two runs on the same patients; `delong` is None for a task without classes."""

    task: str
    first: str
    second: str
    n_patients: int
    n_bootstrap: int
    bootstrap: tuple[PairedMetric, ...]
    folds: tuple[FoldTest, ...]
    delong: tuple[ClassTest, ...] | None
    against: str
    predictions_sha256: str | None
    second_predictions_sha256: str | None


def write_comparison(folder: RunFolder, comparison: Comparison) -> None:
    """Write comparison.json."""
    write_record(folder.comparison, comparison, SCHEMA)


def read_comparison(folder: RunFolder) -> Comparison:
    """Read comparison.json.

    Raises:
        SchemaError: it is of another schema.
        StudyError: it is damaged; names the file, the key and what to do.
    """
    return read_record(folder.comparison, Comparison, SCHEMA, "compare again with python mil/evaluate.py --against")


def current_comparison(folder: RunFolder) -> Comparison | None:
    """Return a run's comparison with another; None if one of the two was trained anew since, or the version is another.

    Raises:
        StudyError: comparison.json is damaged.
    """
    if not folder.comparison.is_file():
        return None
    try:
        known = read_comparison(folder)
    except SchemaError:
        return None
    if name_fault(known.against):
        return None  # it would be looked for outside the folder of runs
    own, other = folder.predictions_sha256(), folder.beside(known.against).predictions_sha256()
    return known if (known.predictions_sha256, known.second_predictions_sha256) == (own, other) else None
