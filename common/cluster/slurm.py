"""--slurm FILE: Dask workers that Slurm starts, by dask-jobqueue, with the settings of a YAML file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

from common.cluster.dask_engine import check_installed
from common.failures import StudyError
from common.guards.names import nearest
from common.settings import read_settings

WANTED = "wanted `jobs` (how many) and the settings of dask-jobqueue's SLURMCluster, as in docs/cluster/dask_slurm.yaml"

NEEDED = frozenset({"cores", "memory"})


def read_slurm(path: Path) -> tuple[int, dict[str, Any]]:
    """Return how many jobs to ask for, and the settings of each.

    Raises:
        StudyError: there is no such file, or it does not hold what is wanted.
    """
    if not path.is_file():
        raise StudyError(f"--slurm {path}: no such file; {WANTED}")
    content = read_settings(path)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise StudyError(f"--slurm {path}: {WANTED}")
    settings = dict(content)
    jobs = settings.pop("jobs", None)
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1:
        raise StudyError(f"--slurm {path}: jobs is a number from 1, got {jobs!r}; {WANTED}")
    if settings.pop("nanny", False) is not False:
        raise StudyError(
            f"--slurm {path}: nanny is false, always: a worker under a nanny may start no process of its own"
        )
    return jobs, settings


def known_settings() -> set[str]:
    """Return the names of the settings that SLURMCluster takes: those of its signature and of the classes below it."""
    from dask_jobqueue.core import Job, JobQueueCluster
    from dask_jobqueue.slurm import SLURMCluster, SLURMJob

    makers = (SLURMCluster, SLURMJob, JobQueueCluster, Job)
    return {name for maker in makers for name in signature(maker.__init__).parameters} - {"self", "kwargs", "args"}


@contextmanager
def slurm_cluster(path: Path) -> Iterator[Any]:
    """Yield a Dask cluster whose workers are asked of Slurm; they end behind it.

    Raises:
        StudyError: dask-jobqueue is not installed, the file is not as it must be, or Slurm does not take a job.
    """
    jobs, settings = read_slurm(path)
    check_installed("--slurm", "dask_jobqueue")
    from dask_jobqueue import SLURMCluster

    known = sorted(known_settings())
    if unknown := sorted(set(settings) - set(known)):
        raise StudyError(f"--slurm {path}: {unknown[0]!r} is no setting of SLURMCluster{nearest(unknown[0], known)}")
    if missing := sorted(NEEDED - set(settings)):
        raise StudyError(f"--slurm {path}: {' and '.join(missing)} of a job is missing; {WANTED}")
    settings["scheduler_options"] = {"dashboard": False, "dashboard_address": None} | settings.get(
        "scheduler_options", {}
    )
    try:
        cluster = SLURMCluster(**settings, nanny=False)
    except (TypeError, ValueError, OSError) as error:
        raise StudyError(f"--slurm {path}: {error}; {WANTED}") from error
    try:
        try:
            cluster.scale(jobs=jobs)
        except (OSError, RuntimeError) as error:
            raise StudyError(f"--slurm {path}: Slurm takes no job ({error})") from error
        yield cluster
    finally:
        cluster.close()
