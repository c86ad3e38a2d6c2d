"""What a run folder holds, read back for evaluation: facts, out-of-fold predictions, inner validation, patients."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.failures import StudyError
from common.table_cells import cell_of, with_texts
from mil.runs.figure_names import ATTENTION, BASELINES, PRIOR

if TYPE_CHECKING:
    import pandas as pd

FACTS, PREDICTIONS, VALIDATION = "run.json", "predictions.csv", "validation_predictions.csv"
FOLLOW_UP, PATIENTS = "training_follow_up.csv", "patients.csv"
CURVE, COMPARISON = "learning_curve", "comparison.json"
METRICS, AUDIT = "metrics.json", "audit.json"
FILE = "predictions_tiles.csv"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run: `validation`, `follow_up` and `patients` are empty tables in runs that have none."""

    folder: Path
    facts: dict[str, Any]
    predictions: pd.DataFrame
    validation: pd.DataFrame
    follow_up: pd.DataFrame
    patients: pd.DataFrame

    @property
    def task(self) -> str:
        """Subtype or survival."""
        return str(self.facts["task"])

    @property
    def models(self) -> list[str]:
        """The models with predictions: attention first, then its baselines, then the class prior."""
        found = set(self.predictions["model"])
        return [model for model in (ATTENTION, *BASELINES, PRIOR) if model in found]

    @property
    def probability_columns(self) -> list[str]:
        """The columns of class probabilities, in the order of the classes."""
        return [f"p_{name}" for name in self.facts["classes"]]

    def codes(self, truth: pd.Series) -> np.ndarray:
        """Return class names as numbers."""
        classes = {name: index for index, name in enumerate(self.facts["classes"])}
        return np.array([classes[name] for name in truth], dtype=np.int64)


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        StudyError: it holds no finished training run.
    """
    for name in (FACTS, PREDICTIONS):
        if not (folder / name).is_file():
            raise StudyError(f"no finished run in {folder}: {name} is missing; train it with python mil/train.py")
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return Run(
        folder=folder,
        facts=facts,
        predictions=read_predictions(folder / PREDICTIONS),
        validation=read_predictions(folder / VALIDATION),
        follow_up=read_predictions(folder / FOLLOW_UP),
        patients=read_predictions(folder / PATIENTS, text=_categories(facts)),
    )


def _categories(facts: Mapping[str, Any]) -> list[str]:
    """Return the columns of patients.csv that are no numbers: site 01 is not site 1."""
    numeric = {name for fold in facts["folds"] for name in fold.get("covariate_medians", {})}
    return sorted({"site", *facts.get("covariates", {}).get("used", [])} - numeric)


def predictions_sha256(folder: Path) -> str:
    """Return what tells whether a run was trained anew since a comparison was made."""
    return hashlib.sha256((folder / PREDICTIONS).read_bytes()).hexdigest()


def read_predictions(path: Path, *, text: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table of a run; names, and the columns `text`, stay text; a table that is not there is empty."""
    import pandas as pd

    if not path.is_file():
        return pd.DataFrame({"patient_id": [], "model": []}, dtype=str)
    types = {**dict.fromkeys(map(str, map(cell_of, text)), str), "patient_id": str, "truth": str}
    return with_texts(pd.read_csv(path, dtype=types, keep_default_na=False))


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


def share_folder(run_dir: Path, share: float) -> Path:
    """Return the folder of one share's run."""
    return run_dir / CURVE / f"{share:g}"
