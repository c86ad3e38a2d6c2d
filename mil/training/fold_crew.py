"""Who trains the folds of a run: this process or workers beside it, together with other runs that share the work, or a cluster.

Folds side by side with one thread each are faster than one fold with many threads, which wait for each other many times a step
(two processors, 1,280 inputs: 1.16 times as fast as one). How many there are follows from what the machine has and what a fold
holds in memory, and never changes a byte.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.machine import default_workers, memory_gb
from common.parallel import Engine
from common.sharing.claims import Sharing
from mil.training.training_settings import TrainConfig

FOLD_S = 30 * 86400.0  # of a fold's training by a worker: it has no limit of its own
PROCESS_GB = 0.7  # of a worker beside its bags
MEMORY_SHARE = 0.6  # of the machine's memory that may be held
PER_S = 5e10  # products of a first layer that a processor adds up in a second, a small one
WORTH_S = 60.0  # of training that workers are begun for: each takes seconds to begin


@dataclass(frozen=True)
class Refusal:
    """Why a fold cannot be trained: an error that stops the run, on its way out of a worker."""

    message: str


@dataclass(frozen=True, kw_only=True)
class FoldCrew:
    """Who trains the folds.

    `elsewhere` makes the job of a fold for a worker or the engine, given a share of the training patients (None: all) and the
    fold's stem: an importable function that leaves model and record in the run's folder and returns None or a Refusal.
    """

    sharing: Sharing = field(default_factory=Sharing)
    workers: int = 0  # processes of this machine; 0: this one
    engine: Engine | None = None  # of a cluster, instead
    elsewhere: Callable[[float | None, str], tuple[Callable[..., Refusal | None], tuple[Any, ...]]] | None = None


def workers_for(
    config: TrainConfig, n_tiles: Sequence[int], n_inputs: int, *, bag_bytes: int, n_folds: int, n_epochs: int
) -> int:
    """Return how many processes train the folds; 0: this one, one fold after the other.

    Args:
        config: the settings; `workers` is taken where it is given.
        n_tiles: of each bag.
        n_inputs: numbers of a tile.
        bag_bytes: of all bags.
        n_folds: that are trained, those of a learning curve included.
        n_epochs: of a fold.
    """
    if config.workers is not None:
        return config.workers
    held = min(bag_bytes / 1e9, config.memory_gb) + PROCESS_GB
    has_gb = memory_gb()
    by_memory = n_folds if has_gb is None else int(MEMORY_SHARE * has_gb / held) - 1  # this process holds bags, too
    workers = min(n_folds, default_workers() // config.threads, by_memory)
    drawn = n_epochs * sum(min(own, config.max_tiles) for own in n_tiles)
    fits = max(1, config.cross_fit) + config.search * config.search_folds
    seconds = 2 * drawn * n_inputs * config.hidden * fits / PER_S  # forth and back through the first layer
    return workers if workers > 1 and n_folds * seconds > WORTH_S else 0
