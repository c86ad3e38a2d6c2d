"""The settings of make_demo_study.py, in a module that imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from common.settings import option


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """The settings of make_demo_study.py."""

    study: Path = option(Path("study"), help="study folder to make", group="study")
    patients: int = option(60, help="number of patients; about 1.9 slides each", group="study")
    seed: int = option(0, help="seed of the whole study", group="study")
    workers: int | None = option(None, help="worker processes; unset: one a processor", group="work")
    timeout_s: float = option(
        600.0, help="time limit of a slide: seconds of processor time, or of standing still", group="work"
    )

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.patients < 1:
            raise ValueError(f"--patients is a number from 1, got {self.patients}")
        if self.seed < 0:
            raise ValueError(f"--seed is a number from 0, got {self.seed}")
