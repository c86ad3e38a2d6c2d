"""The settings of the doctor, in a module that imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from common.settings import option


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """The settings of doctor."""

    study: Path = option(
        Path("study"), help="study folder, where space and permission to write are looked for; need not be there",
        group="study",
    )  # fmt: skip
    weights: Path | None = option(
        None, help="file of the built-in encoder's weights, looked at instead of those of its package", group="encoder"
    )
