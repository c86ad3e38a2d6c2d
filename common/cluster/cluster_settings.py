"""The options of scripts whose work several machines can share, in a module that imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from common.settings import option
from common.sharing.shards import Shard, parse_shard

OF_CLUSTER = ("shard", "scheduler", "slurm")  # none of them changes a result


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Who does the work: processes of this machine, or Dask workers."""

    scheduler: str | None = option(
        None,
        help="address of a Dask scheduler, as tcp://node1:8786: its workers do the work; unset: processes of this machine",
        group="cluster",
    )
    slurm: Path | None = option(
        None, help="YAML file (docs/cluster/dask_slurm.yaml): Slurm starts the Dask workers", group="cluster"
    )

    def check_cluster(self) -> None:
        """Check the values.

        Raises:
            ValueError: one is wrong; the message says how.
        """
        if self.scheduler is not None and self.slurm is not None:
            raise ValueError("give --scheduler (one that runs) or --slurm (start one), not both")
        if self.scheduler is not None and "://" not in self.scheduler:
            raise ValueError(f"--scheduler is an address as tcp://node1:8786, got {self.scheduler!r}")

    @property
    def is_clustered(self) -> bool:
        """Whether Dask workers do the work."""
        return self.scheduler is not None or self.slurm is not None


@dataclass(frozen=True, kw_only=True)
class SharedConfig(EngineConfig):
    """Who does the work, and which part of the slides it is."""

    shard: str | None = option(
        None,
        help="only a part of the slides, as 1/4: a quarter, by their names alone; the parts of all runs make the whole",
        group="cluster",
    )

    def check_cluster(self) -> None:
        """Check the values.

        Raises:
            ValueError: one is wrong; the message says how.
        """
        super().check_cluster()
        parse_shard(self.shard)

    @property
    def part(self) -> Shard:
        """The part of the slides; the whole where none was asked for."""
        return parse_shard(self.shard)
