"""Tiles read ahead by worker processes and handed over in shared memory, block after block, slide after slide.

The parent embeds while workers decode. A block is a patch of neighbouring tiles, so that the tiles of the file below it
are decoded about once. A worker that crashes or hangs costs its slide only; memory is bounded by the number of blocks,
whatever the size of a slide. This module and what workers import stay free of torch.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import Int64, UInt8

from common.parallel import Outcome, guarded, outcome_of
from common.steady_pool import SteadyPool, Task, worker_pool
from features.stream.shared_ring import HAS_RING, SLOT_BYTES, MemoryHolder, SharedRing
from features.stream.tile_reader import ReadingPlan, TileRequest, plan_reading, read_block, start_worker

BLOCK_TILES = 256  # of a raw slide: 16 x 16 where tissue fills it
REGION_TILES = 64  # of a slide that is read more slowly
SPARE_SLOTS = 2  # blocks that the consumer may hold
PLANS_AHEAD = 2


@dataclass(frozen=True)
class TileBlock:
    """Pixels of neighbouring tiles of a request. They lie in shared memory: `release` them after use."""

    tiles: UInt8[np.ndarray, "n h w 3"]
    rows: Int64[np.ndarray, " n"]  # of the request's coords
    unreadable: Int64[np.ndarray, " m"]  # rows that could not be read
    plan: ReadingPlan
    release: Callable[[], None]


@dataclass
class _Job:
    """A block on its way."""

    request: TileRequest
    plan: ReadingPlan
    rows: np.ndarray
    is_last: bool
    future: Task | None = None
    slot: int | None = None


def stream_blocks(
    requests: Iterable[TileRequest],
    *,
    workers: int,
    ahead: int,
    timeout_s: float,
    memory_holder: MemoryHolder | None = None,
) -> Generator[tuple[TileRequest, Outcome[TileBlock], bool]]:
    """Yield (request, block or error, is last block) in order; after an error a request's other blocks are dropped.

    Args:
        requests: what to read.
        workers: number of reading processes.
        ahead: blocks in flight or waiting at any time.
        timeout_s: time limit of a block, seconds.
        memory_holder: what is done with the shared memory of all blocks as long as they come.
    """
    readers = Readers(workers, ahead, memory_holder)
    is_whole = False
    try:
        yield from readers.blocks(requests, timeout_s)
        is_whole = True
    finally:
        readers.end(is_whole=is_whole)


class Readers:
    """Reading processes with the memory they share, for one stream after the other; whoever made them ends them."""

    def __init__(self, workers: int, ahead: int, memory_holder: MemoryHolder | None = None) -> None:
        self._ahead = ahead
        self._ring = SharedRing(ahead + SPARE_SLOTS, memory_holder=memory_holder) if HAS_RING else None
        self._pool = worker_pool(workers, start_worker, (None if self._ring is None else self._ring.inheritance,))

    def blocks(
        self, requests: Iterable[TileRequest], timeout_s: float
    ) -> Generator[tuple[TileRequest, Outcome[TileBlock], bool]]:
        """Yield what `stream_blocks` does; after a stream that was left before its end they are of no more use."""
        return _Stream(self._pool, self._ring, requests, self._ahead, timeout_s).blocks()

    def end(self, *, is_whole: bool) -> None:
        """End the processes, at once unless every stream came to its end, and let go of the memory."""
        if is_whole:
            self._pool.close()
        else:
            self._pool.stop()
        self._pool.join()
        if self._ring is not None:
            self._ring.close()


class _Stream:
    """The parent's side: what was asked of the workers and has not been handed over yet."""

    def __init__(
        self, pool: SteadyPool, ring: SharedRing | None, requests: Iterable[TileRequest], ahead: int, timeout_s: float
    ) -> None:
        self._pool, self._ring, self._ahead, self._timeout_s = pool, ring, ahead, timeout_s
        self._requests = iter(requests)
        self._planned: deque[tuple[TileRequest, ReadingPlan | Task]] = deque()
        self._jobs: deque[_Job] = deque()  # of the request whose blocks are being given out
        self._waiting: deque[_Job | tuple[TileRequest, Outcome[TileBlock]]] = deque()
        self._failed: set[str] = set()

    def blocks(self) -> Generator[tuple[TileRequest, Outcome[TileBlock], bool]]:
        """Yield blocks in order."""
        while True:
            self._fill()
            if not self._waiting:
                if not self._planned and not self._jobs:
                    return
                time.sleep(0.01)  # slots rest after a failure
                continue
            job = self._waiting.popleft()
            request, is_last = (job.request, job.is_last) if isinstance(job, _Job) else (job[0], True)
            if request.name in self._failed:
                if isinstance(job, _Job):
                    self._let_go(job)
                continue
            outcome = self._result(job) if isinstance(job, _Job) else job[1]
            if outcome.error is not None:
                self._failed.add(request.name)
            yield request, outcome, is_last or outcome.error is not None

    def _fill(self) -> None:
        """Schedule blocks while there is room; never wait for a plan when there are blocks to hand over."""
        while len(self._waiting) < self._ahead and (self._ring is None or self._ring.has_free_slot):
            job = self._next_job()
            if job is None:
                return
            n_bytes = 3 * len(job.rows) * job.plan.given_px[0] * job.plan.given_px[1]
            if self._ring is not None and n_bytes <= self._ring.slot_bytes:
                job.slot = self._ring.take()
            part = replace(job.request, coords=job.request.coords[job.rows], rows=None)
            job.future = self._pool.schedule(
                guarded, args=(read_block, part, job.plan, job.slot), timeout=self._timeout_s
            )
            self._waiting.append(job)

    def _next_job(self) -> _Job | None:
        while not self._jobs:
            self._plan_ahead()
            if not self._planned:
                return None
            request, future = self._planned[0]
            if self._waiting and not (isinstance(future, ReadingPlan) or future.done()):
                return None
            self._planned.popleft()
            if request.name in self._failed:
                continue
            outcome = self._plan_of(request, future)
            if outcome.value is None:
                self._waiting.append((request, Outcome(request.name, None, outcome.error)))
                continue
            self._jobs.extend(_jobs_of(request, outcome.value))
        return self._jobs.popleft()

    def _plan_of(self, request: TileRequest, plan: ReadingPlan | Task) -> Outcome[ReadingPlan]:
        if isinstance(plan, ReadingPlan):
            return Outcome(request.name, plan, None)
        return outcome_of(request.name, plan.result, self._timeout_s)

    def _plan_ahead(self) -> None:
        while len(self._planned) < PLANS_AHEAD and (request := next(self._requests, None)) is not None:
            if request.tile_um is None:
                self._planned.append((request, plan_reading(request)))
            else:
                plan = self._pool.schedule(guarded, args=(plan_reading, request), timeout=self._timeout_s)
                self._planned.append((request, plan))

    def _result(self, job: _Job) -> Outcome[TileBlock]:
        assert job.future is not None, "what waits was scheduled"
        outcome = outcome_of(job.request.name, job.future.result, self._timeout_s)
        report = outcome.value
        if report is None:
            self._let_go(job)
            return Outcome(job.request.name, None, outcome.error)
        is_read = np.ones(len(job.rows), dtype=bool)
        is_read[report.unreadable] = False
        shape = (report.n_read, job.plan.given_px[1], job.plan.given_px[0], 3)
        if self._ring is None or job.slot is None:
            assert report.tiles is not None, "without a slot pixels come pickled"
            tiles, release = report.tiles, _nothing_to_release
        else:
            tiles, release = self._ring.view(job.slot, shape), partial(self._ring.give_back, job.slot)
        block = TileBlock(tiles, job.rows[is_read], job.rows[~is_read], job.plan, release)
        return Outcome(job.request.name, block, None)

    def _let_go(self, job: _Job) -> None:
        if job.future is not None:
            job.future.cancel()
        if self._ring is not None and job.slot is not None:
            self._ring.give_back_later(job.slot)


def _nothing_to_release() -> None:
    """Pixels that came pickled are the consumer's own."""


def _jobs_of(request: TileRequest, plan: ReadingPlan) -> Iterator[_Job]:
    rows = np.arange(len(request.coords)) if request.rows is None else request.rows
    n_tiles = REGION_TILES if plan.reading == "region" else BLOCK_TILES
    n_tiles = max(1, min(n_tiles, SLOT_BYTES // (3 * plan.given_px[0] * plan.given_px[1])))
    patches = patches_of(request.coords[rows], n_tiles)
    for index, patch in enumerate(patches):
        yield _Job(request, plan, rows[patch], index == len(patches) - 1)


def patches_of(coords: Int64[np.ndarray, "n 2"], n_tiles: int) -> list[Int64[np.ndarray, " m"]]:
    """Deal tiles into patches of neighbours, all of the same number but the last: no batch of a patch is half empty.

    Tiles are taken band by band, each as many rows high as a square patch, column by column, to the right and back to the
    left in turn, so that a patch that goes on in the next band stays in one place.

    Args:
        coords: corners of tiles (x, y).
        n_tiles: tiles of a patch.

    Returns:
        Indices into `coords`; each stands in one patch.
    """
    _, row = np.unique(coords[:, 1], return_inverse=True)
    band = row // max(1, math.isqrt(n_tiles))
    across = np.where(band % 2 == 0, coords[:, 0], -coords[:, 0])
    order = np.lexsort((coords[:, 1], across, band))
    return [order[start : start + n_tiles] for start in range(0, len(order), n_tiles)]
