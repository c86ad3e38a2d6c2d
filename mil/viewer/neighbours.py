"""The tiles most like a tile by the cosine of their embeddings, among the slides of a run that fit into memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16, Float32

from common.failures import StudyError
from mil.bags.bags import BagStore, bags_as_trained
from mil.viewer.catalogue import Catalogue, numbers_of

N_NEIGHBOURS = 12
FINITE = 1e-6  # the least length of an embedding that has a direction


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A tile like the one asked for: its slide, its place in the slide's map, and the cosine."""

    slide: int
    tile: int
    likeness: float


@dataclass(frozen=True)
class _Held:
    number: int
    directions: Float16[np.ndarray, "n dim"]


class Neighbours:
    """Embeddings of a run's slides as directions; the slide asked about comes first, the rest up to a limit of memory."""

    def __init__(self, catalogue: Catalogue, *, memory_bytes: int) -> None:
        self._catalogue, self._limit = catalogue, memory_bytes
        self._held: dict[int, _Held] = {}
        self._bytes, self._lock = 0, threading.Lock()
        self._bags: BagStore | None = None
        self._is_filled = False

    @property
    def n_slides(self) -> int:
        """How many slides are searched."""
        return len(self._held)

    def of_tile(self, slide: int, tile: int) -> list[Neighbour]:
        """Return the tiles most like a tile, the most alike first, without itself.

        Args:
            slide: number of its slide.
            tile: its row among the slide's embeddings, which is that of its map.

        Raises:
            StudyError: the run has no embeddings here, or the slide or the tile is not among them.
        """
        with self._lock:
            self._read(slide)
            own = self._held.get(slide)
            if own is None or not 0 <= tile < len(own.directions):
                raise StudyError("this tile has no embedding in the run's features")
            wanted = own.directions[tile].astype(np.float32)
            found = [
                Neighbour(slide=held.number, tile=int(at), likeness=float(likeness))
                for held in self._held.values()
                for at, likeness in _best(held.directions, wanted, without=tile if held.number == slide else None)
            ]
        return sorted(found, key=lambda one: (-one.likeness, one.slide, one.tile))[:N_NEIGHBOURS]

    def _read(self, wanted: int) -> None:
        bags = self._opened()
        numbers = numbers_of(self._catalogue)
        listed = self._catalogue.slide(wanted)
        patients = [] if listed is None else [listed.patient_id]
        if not self._is_filled:
            patients += [patient for patient in bags.patients if patient not in patients]
        for patient in patients:
            if patient not in bags.patients:
                continue
            if all(numbers[own] in self._held for own in bags.slides_of(patient) if own in numbers):
                continue
            if self._bytes > self._limit and patient != patients[0]:
                break
            bag = bags.read(patient)
            for place, slide_id in enumerate(bag.slide_ids):
                if slide_id in numbers and numbers[slide_id] not in self._held:
                    directions = _directions(bag.tiles[bag.slide_of_tile == place])
                    self._held[numbers[slide_id]] = _Held(numbers[slide_id], directions)
                    self._bytes += directions.nbytes
        self._is_filled = True

    def _opened(self) -> BagStore:
        if self._bags is None:
            run = self._catalogue.run
            if run is None:
                raise StudyError("there is no run whose features could be searched")
            self._bags = bags_as_trained(
                self._catalogue.study, run.facts.settings, by_slide=run.facts.unit == "slide", limit_bytes=1
            )
        return self._bags


def _directions(tiles: np.ndarray) -> Float16[np.ndarray, "n dim"]:
    values = tiles.astype(np.float32)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return (values / np.maximum(length, FINITE)).astype(np.float16)


def _best(
    directions: Float16[np.ndarray, "n dim"], wanted: Float32[np.ndarray, " dim"], *, without: int | None
) -> Iterator[tuple[int, float]]:
    cosines = np.concatenate(
        [part.astype(np.float32) @ wanted for part in np.array_split(directions, 1 + len(directions) // 4096)]
    )
    if without is not None:
        cosines[without] = -np.inf
    n = min(N_NEIGHBOURS, len(cosines))
    for at in np.argsort(-cosines, kind="stable")[:n]:
        if np.isfinite(cosines[at]):
            yield int(at), float(cosines[at])
