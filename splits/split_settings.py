"""The settings of make_splits.py, in a module that imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.settings import option

WITHOUT_EFFECT = ("study", "name", "overwrite")  # what does not change the folds


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """The settings of make_splits.py."""

    study: Path = option(Path("study"), help="study folder", group="study")
    name: str = option("default", help="name of the splits: splits/NAME.csv", group="study")
    where: str | None = option(
        None,
        help="keep only rows for which this holds, such as \"subtype == 'LMS'\"; of a missing value nothing holds",
        group="study",
    )
    overwrite: bool = option(False, help="replace splits of this name that differ", group="study")
    method: Literal["auto", "k_fold", "site_preserved", "leave_one_site_out", "monte_carlo", "external", "given"] = (
        option(
            "auto",
            help="given: the table's own set column; site_preserved: whole sites to folds; leave_one_site_out: a fold a "
            "site; monte_carlo: random test parts; external: see --external; auto: external or given where there is one, "
            "else site_preserved where it is feasible, else k_fold, and says why",
            group="folds",
        )
    )
    stratify: str = option(
        "subtype", help="what is kept even between folds: subtype (and event in it); event alone, for survival only: "
        "classes may then be too rare for the folds; or any other column, by its classes or the quarters of its numbers",
        group="folds",
    )  # fmt: skip
    folds: int = option(5, help="number of folds; every patient is tested once a repeat", group="folds")
    repeats: int = option(1, help="how often to deal anew; monte_carlo: number of test parts", group="folds")
    val_fraction: float = option(
        0.2, help="share of a fold's training patients in its inner validation part, which chooses the epoch where train.py has "
        "--patience, and else trains like the rest; 0 to 0.5", group="folds",
    )  # fmt: skip
    test_fraction: float = option(0.2, help="monte_carlo: share of patients in a test part", group="folds")
    external: str | None = option(
        None, help="the patients for whom this holds are tested once, by a model of all others: \"site == 'X'\"; for a "
        "missing value nothing holds",
        group="folds",
    )  # fmt: skip
    seed: int = option(0, help="seed of the shuffling", group="folds")

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.folds < 2:
            raise ValueError(f"--folds is a number from 2, got {self.folds}")
        if self.repeats < 1:
            raise ValueError(f"--repeats is a number from 1, got {self.repeats}")
        if not 0 <= self.val_fraction <= 0.5:
            raise ValueError(f"--val_fraction is a fraction from 0 to 0.5, got {self.val_fraction}")
        if not 0 < self.test_fraction < 1:
            raise ValueError(f"--test_fraction is a fraction between 0 and 1, got {self.test_fraction}")
        if self.seed < 0:
            raise ValueError(f"--seed is a number from 0, got {self.seed}")
        if (self.method == "external") != (self.external is not None) and self.method != "auto":
            raise ValueError(f"--external names the test patients of --method external, not of {self.method}")
