"""The loop over blocks of tiles: read ahead, embed by one or several encoders, log, and write each slide's file.

Blocks are embedded while the next ones are read; a block's embeddings are on the disk before its memory is used again. A
slide that was interrupted goes on behind its last logged block and ends with the same bytes.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64

from common.failures import SlideError, SlideStatus, failed
from common.files import UnwritableError
from common.running.progress import progress
from common.sharing.claims import Sharing
from features.embedding.jobs import (
    DAMAGED,
    STEP,
    EmbeddingJob,
    EncoderStatus,
    PendingBag,
    ReadingSettings,
    done_status,
    made_meanwhile,
)
from features.store.feature_log import FeatureLog, LogRecord
from features.store.feature_store import write_logged_bag
from features.stream.tile_reader import TileRequest
from features.stream.tile_stream import TileBlock, stream_blocks

if TYPE_CHECKING:
    from features.device.tile_pixels import Preparation


@dataclass(frozen=True)
class _Embedding:
    """A block whose embeddings are being computed."""

    job: EmbeddingJob
    request: TileRequest
    block: TileBlock
    parts: list[tuple[PendingBag, str, list[Future[np.ndarray]]]]
    is_last: bool


def embed_slides(
    jobs: Sequence[EmbeddingJob], reading: ReadingSettings, sharing: Sharing | None = None
) -> Iterator[EncoderStatus]:
    """Make the feature files of all jobs; yields (encoder, status) as each is written or has failed.

    What other runs hold comes last: made by them, and looked at here.
    """
    own = Sharing() if sharing is None else sharing
    loop = _Loop(jobs, reading, own)
    yield from loop.run()
    held = {job.slide_id: job for job in loop.held}
    while held:
        loop = _Loop([held.pop(slide_id) for slide_id in own.wait(list(held))], reading, own)
        yield from loop.run()
        held |= {job.slide_id: job for job in loop.held}


class _Loop:
    def __init__(self, jobs: Sequence[EmbeddingJob], reading: ReadingSettings, sharing: Sharing) -> None:
        self._jobs, self._reading, self._sharing = jobs, reading, sharing
        self.held: list[EmbeddingJob] = []  # by other runs
        self._told: list[EncoderStatus] = []  # of jobs that other runs have ended
        self._open: dict[str, EmbeddingJob] = {}
        self._complete: list[EmbeddingJob] = []  # found whole in their logs
        self._embedding: deque[_Embedding] = deque()

    def run(self) -> Iterator[EncoderStatus]:
        n_tiles = sum(len(request.coords) for job in self._jobs for request in job.requests)
        settings = self._reading
        blocks = (
            stream_blocks(
                self._requests(), workers=settings.workers, ahead=settings.ahead + settings.held - 1,
                timeout_s=settings.timeout_s, memory_holder=settings.memory_holder,
            )
            if settings.readers is None
            else settings.readers.blocks(self._requests(), settings.timeout_s)
        )  # fmt: skip
        try:
            with progress(n_tiles, title="embedding", unit="tile") as count:
                for request, outcome, is_last in blocks:
                    job = self._open.get(request.name)
                    if outcome.value is not None:
                        count(len(outcome.value.rows) + len(outcome.value.unreadable))
                        if job is None:
                            outcome.value.release()
                        else:
                            self._start(job, request, outcome.value, is_last)
                    elif job is not None and outcome.error is not None:
                        yield from self._fail(job, outcome.error)
                    while len(self._embedding) > settings.held:
                        yield from self._settle()
                    yield from self._finish_complete()
                while self._embedding:
                    yield from self._settle()
                yield from self._finish_complete()
        finally:
            wait(future for work in self._embedding for _, _, futures in work.parts for future in futures)
            blocks.close()  # only now may the memory go
            for job in self._open.values():
                for bag in job.bags:
                    if bag.log is not None:
                        bag.log.close()

    def _requests(self) -> Iterator[TileRequest]:
        """Open each job's logs when its turn to be read comes, and ask for the rows they lack."""
        for job in self._jobs:
            if not self._sharing.take(job.slide_id):
                self.held.append(job)
                continue
            if self._is_ended_elsewhere(job):
                continue
            self._open[job.slide_id] = job
            for bag in job.bags:
                parts = [part for parts in bag.datasets.values() for part in parts]
                bag.log = FeatureLog(bag.path, {**bag.wanted, "parts": parts, "n_rows": len(bag.coords)})
            left = [rest for request in job.requests if (rest := _what_is_left(request, job.bags)) is not None]
            job.n_requests_left = len(left)
            if not left:
                self._complete.append(job)
            yield from left

    def _is_ended_elsewhere(self, job: EmbeddingJob) -> bool:
        """Look whether another run has made a job, or failed in it, since this one began."""
        failure = self._sharing.failure(job.slide_id)
        if failure is not None:
            ended = [(bag.embedder.name, failed(job.slide_id, STEP, failure)) for bag in job.bags]
        else:
            ended = made_meanwhile(job)
        if ended:
            self._told += ended
            self._sharing.free(job.slide_id, failure)
        return bool(ended)

    def _start(self, job: EmbeddingJob, request: TileRequest, block: TileBlock, is_last: bool) -> None:
        from features.device.tile_pixels import Preparation

        how = Preparation(
            tile_px=request.tile_px, box_px=block.plan.box_px, colour=request.colour, n_tiles=len(request.coords)
        )  # fmt: skip
        parts = [
            (bag, part, bag.embedder.runtime.submit(block.tiles, _of_copy(how, bag, part, request, block)))
            for bag in job.bags
            for part in _parts_of(bag, request.part)
        ]
        self._embedding.append(_Embedding(job, request, block, parts, is_last))

    def _settle(self) -> Iterator[EncoderStatus]:
        """Wait for the oldest block's embeddings and log them."""
        from features.device.runtime import to_float16

        work = self._embedding.popleft()
        job, first = work.job, work.request.first_row
        error: SlideError | None = None
        for bag, part, futures in work.parts:
            results = [future.result() for future in futures]
            if error is not None or job.slide_id not in self._open or bag.log is None:
                continue
            try:
                width = bag.embedder.width
                features = to_float16(np.concatenate(results)) if results else np.empty((0, width), np.float16)
            except ValueError as fault:
                error = SlideError(str(fault))
                continue
            plan = work.block.plan
            reading = plan.reading if not plan.reason else f"{plan.reading} ({plan.reason})"
            bag.log.append(LogRecord(part, work.block.rows + first, work.block.unreadable + first, features, reading))
        work.block.release()
        if job.slide_id not in self._open:
            return
        if error is not None:
            yield from self._fail(job, error)
        elif work.is_last:
            job.n_requests_left -= 1
            if job.n_requests_left == 0:
                yield from self._finish(job)

    def _finish_complete(self) -> Iterator[EncoderStatus]:
        while self._complete:
            yield from self._finish(self._complete.pop())
        while self._told:
            yield self._told.pop(0)

    def _finish(self, job: EmbeddingJob) -> Iterator[EncoderStatus]:
        try:
            if job.check_source is not None:
                job.check_source()
        except SlideError as error:
            for bag in job.bags:
                if bag.log is not None:
                    bag.log.remove()  # of two files: no next try may go on with it
                    bag.log = None
            yield from self._fail(job, error)
            return
        del self._open[job.slide_id]
        statuses = [(bag.embedder.name, _written(job.slide_id, bag)) for bag in job.bags]
        bad = next((row for _, row in statuses if row.state == "failed"), None)
        self._sharing.free(job.slide_id, None if bad is None else SlideError(bad.reason, bad.remedy))
        yield from statuses

    def _fail(self, job: EmbeddingJob, error: SlideError) -> Iterator[EncoderStatus]:
        del self._open[job.slide_id]
        for bag in job.bags:
            bag.path.unlink(missing_ok=True)
            _put_away(bag.log)
        self._sharing.free(job.slide_id, error)
        for bag in job.bags:
            yield bag.embedder.name, failed(job.slide_id, STEP, error)


def _of_copy(how: Preparation, bag: PendingBag, part: str, request: TileRequest, block: TileBlock) -> Preparation:
    """Return the preparation of a part: as it is, or of a copy in varied stains."""
    from features.device.tile_pixels import StainVariation

    copy = int(part.partition("+")[2] or 0)
    if copy == 0:
        return how
    assert request.stains is not None, "copies are made of slides only"
    variation = StainVariation(
        slide_id=request.name, stains=request.stains, copy=copy, strength=bag.copy_strength, rows=block.rows
    )
    return replace(how, variation=variation)


def _parts_of(bag: PendingBag, part: str) -> list[str]:
    """Return what a bag makes of a part's pixels: itself, then its copies in other colours."""
    return [name for parts in bag.datasets.values() for name in parts if name.partition("+")[0] == part]


def _what_is_left(request: TileRequest, bags: Sequence[PendingBag]) -> TileRequest | None:
    """Return the request for the rows that at least one log lacks; None when there are none."""
    is_done = np.ones(len(request.coords), dtype=bool)
    for bag in bags:
        assert bag.log is not None
        for part in _parts_of(bag, request.part):
            done = bag.log.is_done(part, len(bag.coords))
            is_done &= done[request.first_row : request.first_row + len(request.coords)]
    return None if is_done.all() else replace(request, rows=np.flatnonzero(~is_done))


def _put_away(log: FeatureLog | None) -> None:
    """Keep what a failed slide had reached, for a next try; an empty log is of no use."""
    if log is not None:
        if log.n_kept:
            log.close()
        else:
            log.remove()


def _written(slide_id: str, bag: PendingBag) -> SlideStatus:
    assert bag.log is not None
    readings: set[str] = set()
    unreadable: list[np.ndarray] = []
    for record in bag.log.records():
        readings.add(record.reading)
        unreadable.append(record.unreadable)
    attributes = {**bag.wanted, "reading": " + ".join(sorted(readings))}
    if undecoded := _undecoded_images(bag, np.concatenate(unreadable)):
        attributes["images_undecoded"] = json.dumps(undecoded)
        print("\n".join(f"{slide_id}: left out: {reason}" for reason in undecoded), flush=True)
    try:
        write_logged_bag(
            bag.path, bag.log, slide_id=slide_id, coords=bag.coords, attributes=attributes,
            image_index=bag.image_index, datasets=bag.datasets, coords_attributes=bag.coords_attributes,
        )  # fmt: skip
    except UnwritableError:
        bag.log.close()  # with all embeddings, for the next run
        raise
    except ValueError:
        bag.log.remove()
        bag.path.unlink(missing_ok=True)
        return failed(slide_id, STEP, SlideError(f"none of its {len(bag.coords)} tiles can be read", DAMAGED))
    bag.log.remove()
    return done_status(slide_id, bag.path)


def _undecoded_images(bag: PendingBag, unreadable: Int64[np.ndarray, " m"]) -> list[str]:
    """Say which of a tile table's images opened, but were cut off or damaged further on."""
    if not bag.image_names:
        return []
    return [f"{bag.image_names[index]} cannot be decoded" for index in np.unique(bag.image_index[unreadable])]
