"""The engine that a script's options ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from common.cluster.cluster_settings import EngineConfig
from common.parallel import Engine


@contextmanager
def engine_of(config: EngineConfig) -> Iterator[Engine | None]:
    """Yield what does the work, ended behind it; None: processes of this machine.

    Raises:
        StudyError: a package is missing, the scheduler does not answer, or Slurm's settings are wrong.
    """
    if config.scheduler is not None:
        from common.cluster.dask_engine import dask_engine

        with dask_engine(config.scheduler, config.scheduler) as engine:
            yield engine
    elif config.slurm is not None:
        from common.cluster.dask_engine import dask_engine
        from common.cluster.slurm import slurm_cluster

        with slurm_cluster(config.slurm) as cluster, dask_engine(cluster, f"of {config.slurm}") as engine:
            yield engine
    else:
        yield None
