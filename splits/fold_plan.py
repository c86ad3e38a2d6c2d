"""Who trains, validates and tests in one fold."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class FoldPlan:
    """Who trains, decides when to stop, and is tested in one fold. Patients are sorted."""

    repeat: int
    fold: int
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def stem(self) -> str:
        """The file name of the fold's model and record."""
        return f"repeat{self.repeat}_fold{self.fold}"

    @property
    def place(self) -> str:
        """The fold in words."""
        return f"repeat {self.repeat}, fold {self.fold}"

    @property
    def all_to_train(self) -> FoldPlan:
        """The same fold with its inner validation part among the training patients."""
        return replace(self, train=tuple(sorted((*self.train, *self.val))), val=())

    def part_of(self, patient: str) -> str:
        """Return the part of a patient, or an empty text."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return next((name for name, patients in named.items() if patient in patients), "")


def plan_folds(splits: pd.DataFrame, usable: Collection[str] | None = None) -> list[FoldPlan]:
    """Turn a table of folds into plans, in the order of repeats and folds; over the usable patients, or over all."""
    plans = []
    for _, rows in splits.groupby(["repeat", "fold"], sort=True):
        sets = {
            name: tuple(sorted(patient for patient in set(own["patient_id"]) if usable is None or patient in usable))
            for name, own in ((name, rows[rows["set"] == name]) for name in ("train", "val", "test"))
        }
        plans.append(FoldPlan(repeat=int(rows["repeat"].iloc[0]), fold=int(rows["fold"].iloc[0]), **sets))
    return plans
