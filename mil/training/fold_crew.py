"""Who trains the folds of a run: this process, together with other runs that share the work, or workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from common.parallel import Engine
from common.sharing.claims import Sharing

FOLD_S = 30 * 86400.0  # of a fold's training on a cluster: it has no limit of its own


@dataclass(frozen=True)
class Refusal:
    """Why a fold cannot be trained: an error that stops the run, on its way out of a worker."""

    message: str


@dataclass(frozen=True, kw_only=True)
class FoldCrew:
    """Who trains the folds.

    `elsewhere` makes the job of a fold for the engine, given a share of the training patients (None: all) and the fold's stem: an
    importable function that leaves model and record in the run's folder and returns None or a Refusal.
    """

    sharing: Sharing = field(default_factory=Sharing)
    engine: Engine | None = None
    elsewhere: Callable[[float | None, str], tuple[Callable[..., Refusal | None], tuple[Any, ...]]] | None = None
