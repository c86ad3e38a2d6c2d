"""The settings of predict.py, in a module that imports nothing heavy."""

import re
from dataclasses import dataclass
from pathlib import Path

from common.cluster.cluster_settings import SharedConfig
from common.guards.names import checked_name
from common.settings import option
from common.tables.study_slides import SlideCacheConfig
from preprocessing.reading.scale import parse_scale


@dataclass(frozen=True, kw_only=True)
class PredictConfig(SharedConfig, SlideCacheConfig):
    """The settings of predict.py."""

    study: Path = option(Path("study"), help="study folder with the run whose model predicts", group="model")
    task: str = option("subtype", help="what the run predicts", group="model")
    name: str = option("default", help="name of the run: runs/TASK/NAME/", group="model")
    model: Path | None = option(
        None, help="instead of a run of the study: a model, the model.safetensors of any run's folder", group="model"
    )
    slides: Path | None = option(None, help="folder of slide files, in subfolders if you like", group="input")
    features: Path | None = option(
        None, help="instead of slides: a folder of feature files made as the model's were", group="input"
    )
    cohort: Path | None = option(
        None,
        help="clinical table: which slides are whose, where those lie that are in no folder (slide_url), and labels if there "
        "are any (then the predictions are evaluated); left out: every slide is a patient of its own, those with TCGA barcodes "
        "their patient's",
        group="input",
    )
    mpp: str | None = option(
        None,
        help="µm a pixel of every slide, one number or x,y; wins over the files, loses to the table",
        group="input",
    )
    out: Path = option(Path("predictions"), help="folder of the results, made if need be", group="output")
    weights: Path | None = option(None, help="file of the encoder's weights, where it brings none", group="features")
    stain_reference: Path | None = option(
        None,
        help="the colour reference the model's slides were mapped to; needed only where the model says so",
        group="features",
    )
    device: str = option("auto", help="cpu, cuda, cuda:1 or auto, as in extract_features.py", group="work")
    workers: int | None = option(
        None, help="worker processes; unset: as tile_slides.py and extract_features.py", group="work"
    )
    threads: int | None = option(None, help="processor threads of the encoder on a CPU; unset: all", group="work")
    bootstrap: int = option(2000, help="patient bootstraps of the intervals, where labels are known", group="work")
    seed: int = option(0, help="seed of the bootstrap", group="work")

    def __post_init__(self) -> None:
        """Check that there is not more than one input, and the ranges."""
        checked_name(self.task, "--task")
        self.check_cluster()
        if self.slides is None and (self.shard is not None or self.is_clustered):
            raise ValueError("--shard, --scheduler and --slurm make tiles and features: they go with --slides")
        self.check_cache()
        if self.slides is not None and self.features is not None:
            raise ValueError(
                "give --slides (a folder of slide files) or --features (a folder of feature files), one of them"
            )
        of_slides = {"mpp": self.mpp, "weights": self.weights, "stain_reference": self.stain_reference}
        given = [f"--{name}" for name, value in of_slides.items() if value is not None]
        if given and self.slides is None and (self.features is not None or self.cohort is None):
            raise ValueError(f"{', '.join(given)} goes with --slides: features are made already")
        if self.mpp is not None:
            parse_scale(self.mpp)
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"--device is auto, cpu, cuda or one GPU as cuda:0, got {self.device!r}")
        if self.bootstrap < 100:
            raise ValueError(f"--bootstrap is a number from 100, got {self.bootstrap}")
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name} is a number from 1, got {value}")
        if self.seed < 0:
            raise ValueError(f"--seed is a number from 0, got {self.seed}")
