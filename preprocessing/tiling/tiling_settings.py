"""The settings of tile_slides.py, make_stain_reference.py and export_tiles.py, in a module that imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from common.cluster.cluster_settings import OF_CLUSTER, SharedConfig
from common.guards.names import checked_name
from common.settings import option
from common.tables.study_slides import CACHE_OPTIONS, SlideCacheConfig
from preprocessing.quality.measures import QualityConfig
from preprocessing.reading.scale import parse_scale

STAIN_METHODS = ("vahadane", "macenko", "reinhard", "none")
FORMAT_NAMES = ("jpeg", "png")

# what does not change a tile file: the scale is compared through the file's own, a mask image through its content
WITHOUT_EFFECT = (
    "study", "where", "workers", "timeout_s", *OF_CLUSTER, "mpp", "masks", "mask_threshold", *CACHE_OPTIONS,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TilingConfig(QualityConfig, SharedConfig, SlideCacheConfig):
    """The settings of tile_slides.py."""

    study: Path = option(Path("study"), help="study folder", group="study")
    where: str | None = option(
        None,
        help="only slides of rows for which this holds, such as \"site == 'A'\"; of a missing value nothing holds",
        group="study",
    )
    mpp: str | None = option(
        None,
        help="µm a pixel of every slide, one number or x,y; wins over the files, loses to columns of cohort.csv",
        group="study",
    )
    masks: Path | None = option(
        None,
        help="folder of tissue masks of another tool, <slide>.png or .tif; unset: masks/ of the study",
        group="tissue",
    )
    mask_threshold: float | None = option(
        None,
        help="masks of probabilities (floats from 0 to 1): this and more is tissue; labels do not heed it; unset: such masks "
        "are refused",
        group="tissue",
    )
    second_pass: bool = option(True, help="decide the edges of tissue anew on finer pixels", group="tissue")
    tile_um: float = option(256.0, help="side of a tile on the slide, micrometres", group="tiles")
    tile_px: int = option(256, help="side of a tile handed to the encoder, pixels", group="tiles")
    stride_um: float | None = option(
        None, help="from a tile to the next, micrometres; unset: tile_um, so that tiles do not overlap", group="tiles"
    )
    min_tissue: float = option(0.5, help="least tissue fraction of a kept tile, 0 to 1", group="tiles")
    quality: bool = option(
        True, help="look at every tile closely and leave out blur, pen and folds by the limits below", group="tiles"
    )
    stain: str = option(
        "vahadane", help="colour fit of each slide: vahadane, macenko, reinhard or none", group="colour"
    )
    workers: int | None = option(
        None, help="worker processes; unset: one a processor; 0: none, everything in this process", group="work"
    )
    timeout_s: float = option(
        900.0, help="time limit of a slide: seconds of processor time, or of standing still", group="work"
    )

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        self.check_cluster()
        self.check_cache()
        if self.mpp is not None:
            parse_scale(self.mpp)
        if self.mask_threshold is not None and not 0 < self.mask_threshold <= 1:
            raise ValueError(f"--mask_threshold is a probability above 0 and up to 1, got {self.mask_threshold}")
        if self.tile_um <= 0:
            raise ValueError(f"--tile_um is a length above 0 µm, got {self.tile_um}")
        if self.stride_um is not None and self.stride_um < self.tile_um / 16:
            raise ValueError(f"--stride_um is a length from a sixteenth of --tile_um, got {self.stride_um}")
        if self.tile_px < 8:
            raise ValueError(f"--tile_px is a number of pixels from 8, got {self.tile_px}")
        if not 0 <= self.min_tissue <= 1:
            raise ValueError(f"--min_tissue is a fraction from 0 to 1, got {self.min_tissue}")
        if self.stain not in STAIN_METHODS:
            raise ValueError(f"--stain is {', '.join(STAIN_METHODS)}, got {self.stain!r}")
        if self.timeout_s <= 0:
            raise ValueError(f"--timeout_s is a time above 0 s, got {self.timeout_s}")
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"--workers is a number from 0, got {self.workers}")


@dataclass(frozen=True, kw_only=True)
class StainReferenceConfig:
    """The settings of make_stain_reference.py."""

    study: Path = option(Path("study"), help="study folder, tiled", group="study")
    where: str | None = option(
        None,
        help="slides of rows for which this holds, such as \"set == 'train'\"; of a missing value nothing holds",
        group="study",
    )
    slides: str | None = option(None, help="instead: slide ids, separated by commas", group="study")
    name: str = option("default", help="name of the file, without ending", group="reference")

    def __post_init__(self) -> None:
        """Check that one choice was made and that the name can be a file's."""
        if self.where is not None and self.slides is not None:
            raise ValueError("give --where or --slides, not both")
        checked_name(self.name, "--name")


@dataclass(frozen=True, kw_only=True)
class ExportConfig(SlideCacheConfig):
    """The settings of export_tiles.py."""

    study: Path = option(Path("study"), help="study folder, tiled", group="study")
    where: str | None = option(
        None,
        help="only slides of rows for which this holds, such as \"site == 'A'\" (of a missing value nothing holds); "
        "key.csv names these alone",
        group="study",
    )
    out: Path | None = option(None, help="folder for the images; unset: export in the study folder", group="images")
    format: str = option("jpeg", help="jpeg (quality 95) or png", group="images")
    max_tiles: int | None = option(None, help="most tiles of a slide, spread evenly; unset: all", group="images")
    normalise: bool = option(True, help="map each slide's colours to the reference by its fit", group="colour")
    stain_reference: Path | None = option(
        None, help="colours to map to: an image, or a JSON of make_stain_reference.py; unset: built in", group="colour"
    )
    splits: Path | None = option(None, help="table of folds that says who trains; unset: column set", group="sets")
    repeat: int = option(0, help="repeat of the table of folds", group="sets")
    fold: int = option(0, help="fold of the table of folds", group="sets")
    workers: int | None = option(None, help="worker processes; unset: one a processor", group="work")
    timeout_s: float = option(
        1800.0, help="time limit of a slide: seconds of processor time, or of standing still", group="work"
    )

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.check_cache()
        if self.format not in FORMAT_NAMES:
            raise ValueError(f"--format is {' or '.join(FORMAT_NAMES)}, got {self.format!r}")
        if self.max_tiles is not None and self.max_tiles < 1:
            raise ValueError(f"--max_tiles is a number from 1, got {self.max_tiles}")
        if self.timeout_s <= 0:
            raise ValueError(f"--timeout_s is a time above 0 s, got {self.timeout_s}")
