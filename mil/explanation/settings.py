"""The settings of explain.py, in a module that imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from common.cluster.cluster_settings import EngineConfig
from common.guards.names import checked_name
from common.settings import option
from common.tables.study_slides import SlideCacheConfig

EXPORTS = ("png", "ome", "geojson", "dicom")


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(EngineConfig, SlideCacheConfig):
    """The settings of explain.py."""

    study: Path = option(
        Path("study"), help="study folder, or the folder that predict.py left: tiles, features and table", group="study"
    )
    task: str = option("subtype", help="what was predicted", group="study")
    name: str = option("default", help="name of the run: runs/TASK/NAME/", group="study")
    model: Path | None = option(
        None, help="instead of a run of the study: a model, for the patients of --study", group="study"
    )
    features: Path | None = option(
        None, help="folder of feature files; unset: those the run was trained on", group="study"
    )
    slides: Path | None = option(
        None, help="folder of slide files, for pictures; unset: slides/ of the study", group="study"
    )
    out: Path | None = option(
        None, help="folder of the results; unset: explanation/ of the run, or of --study with --model", group="output"
    )
    patients: str | None = option(None, help="only these patients, with commas between", group="output")
    exports: str = option(
        "png,ome,geojson",
        help="maps of each slide: png (on a picture of the slide), ome (numbers, OME-TIFF), geojson (QuPath), dicom (of "
        "DICOM slides, by highdicom); or none",
        group="output",
    )
    sheet_tiles: int = option(
        16, help="tiles that speak most for and against each output, on a sheet; 0: no sheets", group="output"
    )
    faithfulness: bool = option(True, help="measure whether the maps can be believed", group="output")
    seed: int = option(0, help="seed of random orders and untrained heads", group="work")
    workers: int | None = option(
        None,
        help="worker processes, each a patient at a time; unset: one a processor, up to 8; 0: none, everything in this process",
        group="work",
    )
    timeout_s: float = option(
        3600.0, help="time limit of a patient: seconds of processor time, or of standing still", group="work"
    )

    def __post_init__(self) -> None:
        """Check the ranges."""
        checked_name(self.task, "--task")
        self.check_cache()
        self.check_cluster()
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"--workers is a number from 0, got {self.workers}")
        if not self.timeout_s > 0:
            raise ValueError(f"--timeout_s is a number above 0, got {self.timeout_s}")
        unknown = sorted(set(self.wanted) - set(EXPORTS))
        if unknown:
            raise ValueError(
                f"--exports are of {', '.join(EXPORTS)}, with commas between, or none; got {', '.join(unknown)}"
            )
        if self.sheet_tiles < 0 or self.seed < 0:
            raise ValueError(f"--sheet_tiles and --seed are numbers from 0, got {self.sheet_tiles} and {self.seed}")

    @property
    def wanted(self) -> tuple[str, ...]:
        """The exports."""
        return () if self.exports == "none" else tuple(part.strip() for part in self.exports.split(",") if part.strip())

    @property
    def only(self) -> frozenset[str] | None:
        """The patients; None: all."""
        return (
            None
            if self.patients is None
            else frozenset(part.strip() for part in self.patients.split(",") if part.strip())
        )
