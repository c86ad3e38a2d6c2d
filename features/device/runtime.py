"""An encoder bound to a device: uint8 tiles in, embeddings out, the encoder's own transform inside.

On a CPU OpenVINO in float32, one stream a processor (streams wait for nobody, so readers beside them cost only their own
share); PyTorch channels-last where OpenVINO is missing or cannot convert the network. On a GPU see `gpu`. Every
batch has the same shape (the last one is filled up), so a tile's embedding does not depend on its neighbours.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float16, Float32, UInt8

from features.device.tile_pixels import Preparation
from features.stream.shared_ring import MemoryHolder

Lane = Callable[[UInt8[np.ndarray, "n h w 3"], "Preparation | None"], Float32[np.ndarray, "n dim"]]


class Runtime:
    """A ready network. Name and precision go into the feature files; each lane embeds one batch at a time."""

    gpus: tuple[BusyClock, ...] = ()  # a clock a GPU; how many there are does not stand in files
    blocks_held = 1  # submitted blocks of tiles that keep every lane busy
    memory_holder: MemoryHolder | None = None  # what is done with the memory that tiles come in, while they come

    def __init__(
        self, name: str, precision: str, batch: int, lanes: Sequence[Lane], *, threads_a_lane: int = 1,
        description: str = "",
    ) -> None:  # fmt: skip
        self.name, self.precision, self.batch = name, precision, batch
        self.description = description or precision  # on screen: the precision, and how it was chosen
        self._idle: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        for lane in lanes:
            self._idle.put(lane)
        self._pool = ThreadPoolExecutor(
            len(lanes), thread_name_prefix="embed", initializer=torch.set_num_threads, initargs=(threads_a_lane,)
        )

    def submit(self, tiles: UInt8[np.ndarray, "n h w 3"], how: Preparation | None = None) -> list[Future[np.ndarray]]:
        """Start embedding tiles, a future a batch; `how` they become the network's pixels (None: they are)."""
        futures = []
        for start in range(0, len(tiles), self.batch):
            stop = min(start + self.batch, len(tiles))
            own = None if how is None else how.part(start, stop)
            futures.append(self._pool.submit(self._embed, tiles[start:stop], own))
        return futures

    def _embed(self, tiles: np.ndarray, how: Preparation | None) -> np.ndarray:
        lane = self._idle.get()
        try:
            return lane(tiles, how)
        finally:
            self._idle.put(lane)


def embed(
    runtime: Runtime, tiles: UInt8[np.ndarray, "n h w 3"], how: Preparation | None = None
) -> Float16[np.ndarray, "n dim"]:
    """Embed any number of tiles and wait for them; float16 keeps embeddings to a relative error of 0.05 %.

    Raises:
        ValueError: an embedding is not finite or too large for float16 (the encoder or its weights are wrong).
    """
    return to_float16(np.concatenate([part.result() for part in runtime.submit(tiles, how)]))


def to_float16(features: Float32[np.ndarray, "n dim"]) -> Float16[np.ndarray, "n dim"]:
    """Narrow to float16, or say that the values do not fit."""
    if not np.isfinite(features).all() or np.abs(features).max(initial=0) > np.finfo(np.float16).max:
        raise ValueError(
            "embeddings are not finite or exceed float16; check the encoder's weights, or try --precision float32"
        )
    return features.astype(np.float16)


@runtime_checkable
class TimedEvent(Protocol):
    """A moment on a device, such as torch.cuda.Event."""

    def elapsed_time(self, end_event: Any, /) -> float:  # of its own kind
        """Return the time to another event of its kind, milliseconds."""


class BusyClock:
    """The share of time in which the device computed, from the two events around each batch on its one stream."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: TimedEvent | None = None
        self._busy_ms = self._last_ms = 0.0

    def add(self, start: TimedEvent, end: TimedEvent) -> None:
        """Add a batch's two events, both past; batches may come out of order."""
        with self._lock:
            if self._first is None or self._first.elapsed_time(start) < 0:
                self._last_ms += 0.0 if self._first is None else start.elapsed_time(self._first)
                self._first = start
            self._busy_ms += start.elapsed_time(end)
            self._last_ms = max(self._last_ms, self._first.elapsed_time(end))

    def share(self) -> float:
        """Return the busy share between the first batch's start and the last one's end, 0 to 1."""
        return self._busy_ms / self._last_ms if self._last_ms > 0 else 0.0
