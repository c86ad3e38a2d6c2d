"""Deal the patients of a study into folds for cross-validation.

Patient-level and stratified by subtype, event and time (or any column: --stratify COLUMN), with an inner validation part in
every fold, which trains like the rest unless train.py is given --patience (--val_fraction 0: none). Whole sites go to
folds where sites are known and that is feasible; a cohort table with a column `set` (train, val, test) keeps its own sets.
Leaves splits/<name>.csv, and splits/<name>.json: how it was made.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import command
from common.settings import parse_config
from splits.split_settings import SplitConfig
from splits.study_splits import make_study_splits


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Make the splits and print how the classes fall."""
    config = parse_config(SplitConfig, argv, section="make_splits", description=__doc__)
    print(make_study_splits(config.study, config).summary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
