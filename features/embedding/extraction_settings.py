"""The settings of extract_features.py."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.cluster.cluster_settings import SharedConfig
from common.settings import option
from common.tables.study_slides import SlideCacheConfig
from features.encoder.card import PRECISIONS

READER_GB = 0.4  # of a reading process with its block of 48 MB and that of the loop


@dataclass(frozen=True, kw_only=True)
class ExtractionConfig(SharedConfig, SlideCacheConfig):
    """The settings of extract_features.py."""

    study: Path = option(Path("study"), help="study folder", group="input")
    where: str | None = option(
        None,
        help="only slides of rows for which this holds, such as \"site == 'A'\"; of a missing value nothing holds",
        group="input",
    )
    tiles: Path | None = option(
        None, help="instead of slides: a table of tile images (patient_ID, Path, Label, training_set)", group="input"
    )
    images: Path | None = option(
        None, help="base folder of the table's relative paths; unset: the table's own folder", group="input"
    )
    field_px: int | None = option(
        None,
        help="side of the fields that a table's images are cut into, pixels; smaller images are scaled up, to twice their size "
        "at most; unset: 256",
        group="input",
    )
    encoder: str = option(
        "efficientnet_lite0",
        help="name from encoders.py, timm:NAME, torchvision:NAME or module:function; several with commas: one pass over the pixels",
        group="encoder",
    )
    weights: Path | None = option(
        None, help="file of the encoder's weights (.pth, .pt, .bin, .safetensors)", group="encoder"
    )
    precision: str = option(
        "auto",
        help="float32, bfloat16, float16, tf32, or auto: float32 on a CPU; on a GPU float16 if this encoder's embeddings "
        "of painted tiles then have a centred cosine of at least 0.999 to those of float32, else tf32",
        group="encoder",
    )
    scales: str | None = option(
        None,
        help="sides in µm of several squares around each tile's centre, as 256,512: embeddings side by side",
        group="encoder",
    )
    normalise: bool = option(True, help="map each slide's colours to the reference by its stain fit", group="colour")
    stain: Literal["none", "vahadane", "macenko", "reinhard"] = option(
        "none",
        help="of a table's images, which bring no stain fit: fitted on each bag's images by this method; none: colours as they are",
        group="colour",
    )
    stain_reference: Path | None = option(
        None, help="colours to map to: an image, or a JSON of make_stain_reference.py; unset: built in", group="colour"
    )
    hed_copies: int = option(
        0,
        help="extra embeddings of each tile with its stains varied, as features_hed1, features_hed2 ...",
        group="colour",
    )
    hed_strength: float = option(0.05, help="of that variation, 0 to 0.5 (0.05 light, 0.2 strong)", group="colour")
    device: str = option(
        "auto",
        help="cpu; cuda: all GPUs that CUDA_VISIBLE_DEVICES leaves; cuda:1: that one; auto: cuda where there is one, else cpu",
        group="work",
    )
    batch: int | None = option(None, help="tiles a batch; unset: 8 on a CPU, 64 on a GPU", group="work")
    workers: int | None = option(
        None,
        help="reading processes; unset: beside GPUs the processors but one, and one a GPU; on a CPU all up to 8, or a "
        "quarter if that is more",
        group="work",
    )
    threads: int | None = option(None, help="processor threads of the network on a CPU; unset: all", group="work")
    ahead: int | None = option(
        None, help="blocks read ahead, each up to 256 tiles and 48 MB; unset: two more than workers", group="work"
    )
    timeout_s: float = option(
        300.0, help="time limit of reading a block: seconds of processor time, or of standing still", group="work"
    )

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.check_cache()
        self._check_input()
        self.check_cluster()
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"--device is auto, cpu, cuda or one GPU as cuda:0, got {self.device!r}")
        counts = {"batch": self.batch, "workers": self.workers, "threads": self.threads, "ahead": self.ahead}
        for name, value in counts.items():
            if value is not None and value < 1:
                raise ValueError(f"--{name} is a number from 1, got {value}")
        if self.hed_copies < 0 or not 0 <= self.hed_strength <= 0.5:
            raise ValueError(
                f"--hed_copies is a number from 0, --hed_strength one from 0 to 0.5; got {self.hed_copies}, {self.hed_strength}"
            )
        if self.precision not in PRECISIONS:
            raise ValueError(f"--precision is one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        try:
            is_right = all(um > 0 for um in self.scales_um)
        except ValueError:
            is_right = False
        if not is_right or len(set(self.scales_um)) < len(self.scales_um):
            raise ValueError(f"--scales are different sides in µm with commas between, as 256,512; got {self.scales!r}")
        if len(set(self.encoders)) < len(self.encoders) or not all(self.encoders):
            raise ValueError(f"--encoder is a name, or different names with commas between, got {self.encoder!r}")
        if self.weights is not None and len(self.encoders) > 1:
            raise ValueError("--weights goes with one encoder; run the others by themselves")
        if self.timeout_s <= 0:
            raise ValueError(f"--timeout_s is a time above 0 s, got {self.timeout_s}")

    def _check_input(self) -> None:
        """Refuse settings of slides beside a tile table, and those of a tile table without one."""
        of_table = {
            "images": self.images is not None,
            "field_px": self.field_px is not None,
            "stain": self.stain != "none",
        }
        of_slides = {
            "where": self.where is not None, "scales": self.scales is not None, "hed_copies": self.hed_copies > 0,
            "stain_reference": self.stain_reference is not None and not self.is_mapped_table,
        }  # fmt: skip
        given = [f"--{name}" for name, is_given in (of_table if self.tiles is None else of_slides).items() if is_given]
        if self.tiles is not None and self.is_clustered:
            raise ValueError("a table of tile images (--tiles) is embedded on one machine, or in parts with --shard")
        if given and self.tiles is None:
            hint = "; slides get theirs by tile_slides.py --stain" if "--stain" in given else ""
            raise ValueError(f"{', '.join(given)} goes with a table of tile images (--tiles){hint}")
        if given:
            hint = "; name a --stain to map the images' colours" if "--stain_reference" in given else ""
            raise ValueError(f"{', '.join(given)} goes with slides, not with a table of tile images (--tiles){hint}")
        if self.field_px is not None and not 32 <= self.field_px <= 4096:
            raise ValueError(f"--field_px is a number of pixels from 32 to 4096, got {self.field_px}")

    @property
    def is_mapped_table(self) -> bool:
        """Whether the colours of a table's images are mapped to the reference."""
        return self.normalise and self.stain != "none"

    @property
    def encoders(self) -> tuple[str, ...]:
        """The names of the encoders."""
        return tuple(name.strip() for name in self.encoder.split(","))

    @property
    def scales_um(self) -> tuple[float, ...]:
        """The sides of squares around each tile's centre; none: the tile itself."""
        return tuple(float(side) for side in self.scales.split(",")) if self.scales else ()


def default_readers(n_processors: int, *, n_gpus: int, memory_gb: float | None) -> int:
    """Return the reading processes for this machine.

    Args:
        n_processors: that this process may use.
        n_gpus: that embed. They take thousands of tiles a second, a process reads some hundreds: all processors read but one
            for the loop and one a GPU for its lanes, at least half. Without a GPU the network has the processors, and a
            core reads several times what a core embeds.
        memory_gb: of the machine; readers take half of it at most. None: unknown.
    """
    beside_network, beside_gpus = min(n_processors, max(8, n_processors // 4)), n_processors - 1 - n_gpus
    wanted = max(beside_gpus, n_processors // 2) if n_gpus else beside_network
    affordable = wanted if memory_gb is None else int(memory_gb / 2 / READER_GB)
    return max(1, min(wanted, affordable))
