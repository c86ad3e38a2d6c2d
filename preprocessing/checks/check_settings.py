"""The settings of check_study.py, in a module that imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from common.settings import option
from preprocessing.reading.scale import parse_scale


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """The settings of check_study.py."""

    study: Path = option(
        Path("study"), help="study folder; the installation is checked if there is none", group="study"
    )
    where: str | None = option(
        None,
        help="only slides of rows for which this holds, such as \"site == 'A'\"; of a missing value nothing holds",
        group="study",
    )
    mpp: str | None = option(
        None, help="µm a pixel of every slide, one number or x,y; loses to columns of cohort.csv", group="study"
    )
    folds: int = option(5, help="number of folds that the classes must fill", group="study")
    tile_um: float = option(256.0, help="side of a tile on the slide, micrometres", group="study")
    out: Path | None = option(None, help="CSV file for the table of slides", group="study")
    workers: int | None = option(None, help="worker processes; unset: one a processor", group="work")
    timeout_s: float = option(
        120.0, help="time limit of a slide: seconds of processor time, or of standing still", group="work"
    )

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.mpp is not None:
            parse_scale(self.mpp)
        if self.folds < 2:
            raise ValueError(f"--folds is a number from 2, got {self.folds}")
        if self.tile_um <= 0:
            raise ValueError(f"--tile_um is a length above 0 µm, got {self.tile_um}")
        if self.timeout_s <= 0:
            raise ValueError(f"--timeout_s is a time above 0 s, got {self.timeout_s}")
