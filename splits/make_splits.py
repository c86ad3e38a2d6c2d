"""Deal the patients of a study into folds for cross-validation.

Patient-level and stratified by subtype and event, with an inner validation part in every fold that decides when
training stops. A cohort table with a column `set` (train, val, test) keeps its own sets. Leaves splits/<name>.csv.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import StudyError, command
from common.settings import option, parse_config
from common.study import open_study


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """The settings of make_splits.py."""

    study: Path = option(Path("study"), help="study folder", group="study")
    name: str = option("default", help="name of the splits: splits/NAME.csv", group="study")
    where: str | None = option(
        None, help="keep only rows for which this holds, such as \"subtype == 'LMS'\"", group="study"
    )
    overwrite: bool = option(False, help="replace splits of this name that differ", group="study")
    method: Literal["auto", "k_fold", "given"] = option(
        "auto",
        help="given: the table's own set column; auto: given where there is one, else k_fold",
        group="folds",
    )
    folds: int = option(5, help="number of folds; every patient is tested once a repeat", group="folds")
    repeats: int = option(1, help="how often to deal anew", group="folds")
    val_fraction: float = option(
        0.2, help="share of a fold's training patients that decide when to stop, 0 to 0.5", group="folds"
    )
    seed: int = option(0, help="seed of the shuffling", group="folds")

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.folds < 2:
            raise ValueError(f"--folds is a number from 2, got {self.folds}")
        if self.repeats < 1:
            raise ValueError(f"--repeats is a number from 1, got {self.repeats}")
        if not 0 <= self.val_fraction <= 0.5:
            raise ValueError(f"--val_fraction is a fraction from 0 to 0.5, got {self.val_fraction}")
        if self.seed < 0:
            raise ValueError(f"--seed is a number from 0, got {self.seed}")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Make the splits and print how the classes fall."""
    config = parse_config(SplitConfig, argv, section="make_splits", description=__doc__)
    study = open_study(config.study)
    from common.cohort import read_cohort
    from splits.split_store import make_given, make_k_fold, read_splits, write_splits

    cohort = read_cohort(study.cohort_table, where=config.where)
    is_given = config.method == "given" or (config.method == "auto" and "set" in cohort.slides.columns)
    if is_given:
        splits = make_given(cohort, val_fraction=config.val_fraction, seed=config.seed)
    else:
        splits = make_k_fold(
            cohort,
            n_folds=config.folds,
            n_repeats=config.repeats,
            val_fraction=config.val_fraction,
            seed=config.seed,
        )
    path = study.splits_file(config.name)
    if path.exists() and not config.overwrite and not read_splits(path).equals(splits):
        raise StudyError(
            f"{path} exists and differs from what these settings make; runs made with it would no longer fit. "
            f"Choose another --name, or give --overwrite true"
        )
    write_splits(path, splits)
    print(_overview(splits, cohort.patients))
    print(f"{path}: {splits['patient_id'].nunique()} patients" + (", the table's own sets" if is_given else ""))
    return 0


def _overview(splits: object, patients: object) -> str:
    """Return test patients by class (and events) for each fold, or the sizes of the sets."""
    import pandas as pd

    assert isinstance(splits, pd.DataFrame)
    assert isinstance(patients, pd.DataFrame)
    sizes = splits.groupby(["repeat", "fold"])["set"].value_counts().unstack(fill_value=0)
    sizes = sizes.reindex(columns=["train", "val", "test"], fill_value=0)
    tested = splits[splits["set"] == "test"].join(patients, on="patient_id", rsuffix="_given")
    if len(tested) and "subtype" in tested.columns:
        by_class = tested.groupby(["repeat", "fold"])["subtype"].value_counts().unstack(fill_value=0)
        sizes = sizes.join(by_class.add_prefix("test "))
    if len(tested) and "event" in tested.columns:
        sizes["test events"] = tested.groupby(["repeat", "fold"])["event"].sum()
    return str(sizes.to_string())


if __name__ == "__main__":
    sys.exit(main())
