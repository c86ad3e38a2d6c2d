"""Deal the patients of a study into folds for cross-validation.

Patient-level and stratified by subtype, event and time, with an inner validation part in every fold that decides when
training stops (--val_fraction 0: none). Whole sites go to folds where sites are known and that is feasible; a cohort table
with a column `set` (train, val, test) keeps its own sets. Leaves splits/<name>.csv, and splits/<name>.json: how it was made.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import StudyError, command
from common.settings import parse_config
from common.study import open_study
from splits.split_settings import SplitConfig

if TYPE_CHECKING:
    import pandas as pd


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Make the splits and print how the classes fall."""
    config = parse_config(SplitConfig, argv, section="make_splits", description=__doc__)
    study = open_study(config.study)
    from common.cohort import read_cohort
    from splits.split_methods import make_splits
    from splits.split_store import read_splits, write_splits

    path = study.splits_file(config.name)
    cohort = read_cohort(study.cohort_table, where=config.where)
    splits, record = make_splits(cohort, config)
    if path.exists() and not config.overwrite and not read_splits(path).equals(splits):
        raise StudyError(
            f"{path} exists and differs from what these settings make; runs made with it would no longer fit. "
            f"Choose another --name, or give --overwrite true"
        )
    write_splits(path, splits, record)
    print(_overview(splits, cohort.patients))
    print(_how(record))
    print(f"{path}: {splits['patient_id'].nunique()} patients")
    return 0


def _how(record: dict[str, Any]) -> str:
    """Say by which method and why, how good the folds of sites are, and what is to be known of them."""
    lines = [f"method {record['method']}: {record['why']}"]
    sites = record.get("sites", {})
    if "objective" in sites:
        proof = {"solved": "proven", "node limit": "proven so far", "impossible": "by counting"}
        lines.append(
            f"{sites['n']} sites kept whole; sum of (folds x count - total)^2 is {max(sites['objective'])}, no assignment is "
            f"below {sites['bound']} ({proof.get(sites['bound_from'], 'by counting')}): gap {100 * sites['gap']:.2f} %"
        )
    return "\n".join(lines + [f"note: {note}" for note in record["notes"]])


def _overview(splits: pd.DataFrame, patients: pd.DataFrame) -> str:
    """Return test patients by class (and events, and sites) for each fold, or the sizes of the sets."""
    sizes = splits.groupby(["repeat", "fold"])["set"].value_counts().unstack(fill_value=0)
    sizes = sizes.reindex(columns=["train", "val", "test"], fill_value=0)
    tested = splits[splits["set"] == "test"].join(patients, on="patient_id", rsuffix="_given")
    if len(tested) and "subtype" in tested.columns:
        by_class = tested.groupby(["repeat", "fold"])["subtype"].value_counts().unstack(fill_value=0)
        sizes = sizes.join(by_class.add_prefix("test "))
    for name, count in (("event", "sum"), ("site", "nunique")):
        if len(tested) and name in tested.columns:
            sizes[f"test {name}s"] = tested.groupby(["repeat", "fold"])[name].agg(count)
    return str(sizes.to_string())


if __name__ == "__main__":
    sys.exit(main())
