"""Slots of shared memory in which worker processes leave pixels: nothing is pickled, and nothing can be left behind.

The memory is an anonymous file without a name in any folder; workers inherit its descriptor. The system takes it back
when the last process that holds it ends, however it ends. Where descriptors are not inherited (Windows) there is no
ring, and pixels travel pickled.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from jaxtyping import UInt8

SLOT_BYTES = 48 << 20
HAS_RING = os.name == "posix"
REST_S = 2.0  # of a slot whose writer was told to stop: it may write on until the pool has ended it


# Holds all the memory in some way (a GPU may fetch from it by itself) between its entry and its exit.
MemoryHolder = Callable[[UInt8[np.ndarray, " n"]], AbstractContextManager[None]]


class SharedRing:
    """The parent's side: slots are taken in turn, the one that was given back longest ago first."""

    def __init__(self, n_slots: int, slot_bytes: int = SLOT_BYTES, memory_holder: MemoryHolder | None = None) -> None:
        self.slot_bytes = slot_bytes
        if hasattr(os, "memfd_create"):
            self._descriptor = os.memfd_create("tiles")
        else:
            with tempfile.TemporaryFile() as file:  # already without a name
                self._descriptor = os.dup(file.fileno())
        os.ftruncate(self._descriptor, n_slots * slot_bytes)
        self._memory = mmap.mmap(self._descriptor, n_slots * slot_bytes)
        self._held = contextlib.ExitStack()
        if memory_holder is not None:
            self._held.enter_context(memory_holder(_view(self._memory, 0, (len(self._memory),))))
        self._free = deque(range(n_slots))
        self._resting: deque[tuple[float, int]] = deque()

    @property
    def inheritance(self) -> Inheritance:
        """What a worker needs to attach; it can be pickled only into a process that is being started."""
        return Inheritance(self._descriptor, len(self._memory), self.slot_bytes)

    @property
    def has_free_slot(self) -> bool:
        """Whether `take` would give a slot."""
        while self._resting and self._resting[0][0] <= time.monotonic():
            self._free.append(self._resting.popleft()[1])
        return bool(self._free)

    def take(self) -> int:
        """Return a free slot."""
        return self._free.popleft()

    def give_back(self, slot: int) -> None:
        """Let a slot be written again."""
        self._free.append(slot)

    def give_back_later(self, slot: int) -> None:
        """Let a slot be written again once whoever was writing it is surely gone."""
        self._resting.append((time.monotonic() + REST_S, slot))

    def view(self, slot: int, shape: tuple[int, ...]) -> UInt8[np.ndarray, "*shape"]:
        """Return a slot's first bytes as an array; valid until the slot is given back."""
        return _view(self._memory, slot * self.slot_bytes, shape)

    def close(self) -> None:
        """Let go of the memory; views that still exist keep it until they are gone."""
        self._held.close()
        os.close(self._descriptor)
        with contextlib.suppress(BufferError):  # a consumer that stopped early still holds a view
            self._memory.close()


class Inheritance:
    """The ring's descriptor on its way into a worker."""

    def __init__(self, descriptor: int, n_bytes: int, slot_bytes: int) -> None:
        self._descriptor, self._n_bytes, self._slot_bytes = descriptor, n_bytes, slot_bytes

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing.reduction import DupFd

        return _inherited, (DupFd(self._descriptor), self._n_bytes, self._slot_bytes)

    def attach(self) -> WorkerRing:
        """Map the memory into this process."""
        memory = mmap.mmap(self._descriptor, self._n_bytes)
        os.close(self._descriptor)
        return WorkerRing(memory, self._slot_bytes)


def _inherited(duplicate: Any, n_bytes: int, slot_bytes: int) -> Inheritance:
    return Inheritance(duplicate.detach(), n_bytes, slot_bytes)


class WorkerRing:
    """A worker's side: it writes where it is told."""

    def __init__(self, memory: mmap.mmap, slot_bytes: int) -> None:
        self._memory, self._slot_bytes = memory, slot_bytes

    def view(self, slot: int, shape: tuple[int, ...]) -> UInt8[np.ndarray, "*shape"]:
        """Return a slot's first bytes as an array of this shape."""
        return _view(self._memory, slot * self._slot_bytes, shape)


def _view(memory: mmap.mmap, start: int, shape: tuple[int, ...]) -> UInt8[np.ndarray, "*shape"]:
    return np.frombuffer(memory, np.uint8, count=int(np.prod(shape)), offset=start).reshape(shape)
