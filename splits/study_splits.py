"""A study's folds made, compared with what is there, and written: all that make_splits.py does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.cohort import read_cohort
from common.failures import StudyError
from common.guards.one_at_a_time import alone
from common.study import Study, open_study
from splits.cohort_strata import dealt_cohort
from splits.fold_plan import FoldPlan, plan_folds
from splits.split_methods import make_splits
from splits.split_settings import SplitConfig
from splits.split_store import read_splits, write_splits

if TYPE_CHECKING:
    import pandas as pd

PROOF = {"solved": "proven", "node limit": "proven so far", "impossible": "by counting"}  # of a bound, by its source


@dataclass(frozen=True, kw_only=True)
class StudySplits:
    """The folds of a study, the record of their making, and where both stand."""

    path: Path
    table: pd.DataFrame  # repeat, fold, patient_id, set
    record: Mapping[str, Any]
    patients: pd.DataFrame  # of the cohort, by patient_id
    notes: tuple[str, ...] = ()  # on the clinical table
    dealt: pd.DataFrame | None = None  # the patients by what was kept even, where that is not the subtype

    @property
    def plans(self) -> list[FoldPlan]:
        """The folds, one value each."""
        return plan_folds(self.table)

    @property
    def summary(self) -> str:
        """How the classes fall, the method and why, and where the table is; for the screen."""
        n_patients = self.table["patient_id"].nunique()
        return "\n".join(
            [
                *(f"note: {note}" for note in self.notes),
                fold_overview(self.table, self.patients if self.dealt is None else self.dealt),
                method_text(self.record),
                f"{self.path}: {n_patients} patients",
            ]
        )


def make_study_splits(study: Path | Study, config: SplitConfig) -> StudySplits:
    """Deal the patients of a study into folds, and write the table with its record.

    Args:
        study: the folder; `config.study` is not looked at.
        config: the settings.

    Raises:
        StudyError: the name is none, the method does not fit the cohort, there are other splits of this name already, or
            another run makes them.
    """
    study = open_study(study)
    path = study.splits_file(config.name)
    with alone(study.root, f"splits {config.name}", what=f"make_splits.py --name {config.name}"):
        return _make(study, path, config)


def _make(study: Study, path: Path, config: SplitConfig) -> StudySplits:
    cohort = read_cohort(study.cohort_table, where=config.where)
    table, record = make_splits(cohort, config)
    if path.exists() and not config.overwrite and not read_splits(path).equals(table):
        raise StudyError(
            f"{path} exists and differs from what these settings make; runs made with it would no longer fit. "
            f"Choose another --name, or give --overwrite true"
        )
    write_splits(path, table, record)
    dealt = None if config.stratify == "subtype" else dealt_cohort(cohort, config.stratify).patients
    return StudySplits(
        path=path, table=table, record=record, patients=cohort.patients, notes=cohort.notes, dealt=dealt
    )  # fmt: skip


def method_text(record: Mapping[str, Any]) -> str:
    """Say by which method and why, how good the folds of sites are, and what is to be known of them."""
    lines = [f"method {record['method']}: {record['why']}"]
    sites = record.get("sites", {})
    if "objective" in sites:
        lines.append(
            f"{sites['n']} sites kept whole; sum of (folds x count - total)^2 is {max(sites['objective'])}, no assignment is "
            f"below {sites['bound']} ({PROOF.get(sites['bound_from'], 'by counting')}): gap {100 * sites['gap']:.2f} %"
        )
    return "\n".join(lines + [f"note: {note}" for note in record["notes"]])


def fold_overview(table: pd.DataFrame, patients: pd.DataFrame) -> str:
    """Return test patients by class (and events, and sites) for each fold, or the sizes of the sets."""
    sizes = table.groupby(["repeat", "fold"])["set"].value_counts().unstack(fill_value=0)
    sizes = sizes.reindex(columns=["train", "val", "test"], fill_value=0)
    tested = table[table["set"] == "test"].join(patients, on="patient_id", rsuffix="_given")
    if len(tested) and "subtype" in tested.columns:
        by_class = tested.groupby(["repeat", "fold"])["subtype"].value_counts().unstack(fill_value=0)
        sizes = sizes.join(by_class.add_prefix("test "))
    for name, count in (("event", "sum"), ("site", "nunique")):
        if len(tested) and name in tested.columns:
            sizes[f"test {name}s"] = tested.groupby(["repeat", "fold"])[name].agg(count)
    return str(sizes.to_string())
