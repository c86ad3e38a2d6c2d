"""The settings of serve.py, in a module that imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from common.settings import option
from common.tables.study_slides import SlideCacheConfig


@dataclass(frozen=True, kw_only=True)
class ServeConfig(SlideCacheConfig):
    """The settings of serve.py."""

    study: Path = option(Path("study"), help="study folder", group="study")
    task: str = option("subtype", help="whose predictions are shown", group="study")
    name: str = option("default", help="name of the run: runs/TASK/NAME/", group="study")
    slides: Path | None = option(None, help="folder of slide files; unset: slides/ of the study", group="study")
    maps: Path | None = option(None, help="folder that explain.py wrote; unset: explanation/ of the run", group="study")
    port: int = option(8421, help="port on this computer; 0, or one that is taken: a free one", group="work")
    open_files: int = option(8, help="slides held open at once", group="work")
    memory_mb: int = option(256, help="memory for pictures, and as much for embeddings, MB", group="work")

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.check_cache()
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port is a number from 0 to 65535, got {self.port}")
        if self.open_files < 1 or self.memory_mb < 16:
            raise ValueError(
                f"--open_files is a number from 1, --memory_mb from 16; got {self.open_files} and {self.memory_mb}"
            )
