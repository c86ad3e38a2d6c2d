"""What a run folder holds, read once: facts, predictions, patients, shares, audit, comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.failures import StudyError
from common.table_cells import cell_of, with_texts
from mil.runs.audit_record import Audit, read_audit
from mil.runs.comparison_record import Comparison, current_comparison
from mil.runs.facts import RUN_SCHEMA, TRAIN_AGAIN, RunFacts
from mil.runs.figure_names import ATTENTION, BASELINES, PRIOR
from mil.runs.heads_record import Heads, current_heads
from mil.runs.record import read_sealed
from mil.runs.run_folder import RunFolder
from mil.runs.run_tables import KEYS, check_rows, check_sums
from mil.runs.search_record import Search, read_search
from mil.runs.target_tables import check_target_rows
from mil.runs.targets_record import Targets, columns_of, is_of_classes, read_targets

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A training run as it lies in its folder; a table that the run has not is empty."""

    folder: RunFolder
    facts: RunFacts
    predictions: pd.DataFrame
    predictions_sha256: str | None
    validation: pd.DataFrame
    follow_up: pd.DataFrame
    patients: pd.DataFrame
    images: pd.DataFrame
    shares: Mapping[float, pd.DataFrame]  # predictions of the learning curve
    audit: Audit | None
    comparison: Comparison | None  # with another run, while it holds
    heads: Heads | None = None  # other heads on the same folds, while it holds
    targets: Targets | None = None  # columns named by the user; None for the subtype and survival
    search: Search | None = None  # of settings, in every fold by itself

    @property
    def task(self) -> str:
        """The name of the task."""
        return self.facts.task

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, where the task has any."""
        return self.facts.classes

    @property
    def models(self) -> list[str]:
        """The models with predictions: attention first, then its baselines, then the class prior."""
        known = set(self.predictions["model"])
        return [model for model in (ATTENTION, *BASELINES, PRIOR) if model in known]

    @property
    def probability_columns(self) -> list[str]:
        """The columns of class probabilities, in the order of the classes."""
        return [f"p_{name}" for name in self.classes]

    def patient_codes(self, bags: Sequence[str]) -> np.ndarray | None:
        """Return the patient of each bag as a number, where bags are slides of patients; None where they are patients."""
        if not self.facts.patient_of:
            return None
        return np.unique([self.facts.patient_of[bag] for bag in bags], return_inverse=True)[1].astype(np.int64)

    def codes(self, truth: pd.Series) -> np.ndarray:
        """Return class names as numbers."""
        classes = {name: index for index, name in enumerate(self.classes)}
        return np.array([classes[name] for name in truth], dtype=np.int64)


def read_facts(folder: RunFolder) -> RunFacts:
    """Read what is known of a run, without its tables.

    Raises:
        StudyError: there is none, it is of an earlier version, or not what was written.
    """
    return read_sealed(folder.facts, RunFacts, RUN_SCHEMA, TRAIN_AGAIN)


def read_run(folder: RunFolder) -> FinishedRun:
    """Read a run folder.

    Raises:
        StudyError: it holds no finished training run, or one of an earlier version, or a table is not what was written.
    """
    for path in (folder.facts, folder.predictions):
        if not path.is_file():
            raise StudyError(
                f"no finished run in {folder.root}: {path.name} is missing; train it with python mil/train.py"
            )
    facts = read_facts(folder)
    check_sums(folder, [point.share for point in facts.learning_curve], facts.tables)
    targets = read_targets(folder)
    return FinishedRun(
        folder=folder,
        facts=facts,
        predictions=_predictions(folder.predictions, facts, targets),
        predictions_sha256=folder.predictions_sha256(),
        validation=_predictions(folder.validation, facts, targets),
        follow_up=_predictions(folder.follow_up, facts, targets),
        patients=read_predictions(folder.patients, text=_categories(facts)),
        images=_predictions(
            folder.image_predictions, facts, targets, text=["image"], keys=("repeat", "fold", "patient_id", "image")
        ),
        shares={
            point.share: _predictions(folder.share(point.share).predictions, facts, targets)
            for point in facts.learning_curve
        },
        audit=read_audit(folder),
        comparison=current_comparison(folder),
        heads=current_heads(folder),
        targets=targets,
        search=read_search(folder),
    )


def _predictions(
    path: Path, facts: RunFacts, targets: Targets | None, *, text: Sequence[str] = (), keys: Sequence[str] = KEYS
) -> pd.DataFrame:
    if targets is None or facts.classes:
        table = read_predictions(path, text=text)
        check_rows(path, table, facts.classes, keys=keys)
        return table
    columns = columns_of(targets.targets)
    table = read_predictions(path, text=[*text, *(own.truth for own in columns if is_of_classes(own.target))])
    check_target_rows(path, table, columns)
    return table


def _categories(facts: RunFacts) -> list[str]:
    """Return the columns of patients.csv that are no numbers: site 01 is not site 1."""
    numeric = {name for fold in facts.folds for name in fold.covariate_medians}
    groups = {"subtype", str(facts.settings.get("strata") or "subtype")}  # of a survival run
    return sorted({"site", *groups, *facts.covariates.used} - numeric)


def read_predictions(path: Path, *, text: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table of a run; names, and the columns `text`, stay text; a table that is not there is empty.

    Raises:
        StudyError: it is no table.
    """
    import pandas as pd

    if not path.is_file():
        return pd.DataFrame({"patient_id": [], "model": []}, dtype=str)
    types = {**dict.fromkeys(map(str, map(cell_of, text)), str), "patient_id": str, "truth": str}
    try:  # in its default precision pandas ends the process on an exponent of many digits
        return with_texts(pd.read_csv(path, dtype=types, keep_default_na=False, float_precision="round_trip"))
    except (ValueError, OSError, OverflowError) as error:  # pandas' errors of parsing are ValueErrors
        raise StudyError(f"{path}: not readable as a table ({' '.join(str(error).split())}); {TRAIN_AGAIN}") from error


def blank_as_missing(column: pd.Series) -> pd.Series:
    """Return a column of a run's patients with its empty cells missing, whatever else stands in it."""
    return column.mask(column == "")


def by_patient(predictions: pd.DataFrame, model: str, values: Sequence[str], keep: Sequence[str]) -> pd.DataFrame:
    """Return one row a patient of a model: `values` averaged over repeats, `keep` as they are, sorted by patient."""
    own = predictions[predictions["model"] == model]
    return own.groupby("patient_id", sort=True).agg({**dict.fromkeys(values, "mean"), **dict.fromkeys(keep, "first")})


def by_fold(table: pd.DataFrame, model: str) -> list[tuple[tuple[int, int], pd.DataFrame]]:
    """Return a model's rows of each (repeat, fold), in their order."""
    own = table[table["model"] == model]
    if not len(own):
        return []
    keys = sorted(set(zip(own["repeat"].astype(int), own["fold"].astype(int), strict=True)))
    return [(key, own[(own["repeat"] == key[0]) & (own["fold"] == key[1])]) for key in keys]
