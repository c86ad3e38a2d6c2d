"""What one job of embedding is, and whether it needs doing at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.arrays import Contents, look_if_made_of, stale_reason, verified_contents
from common.failures import SlideError, SlideStatus, failed
from common.machine import default_workers, memory_gb
from common.remote.ahead import fetched_ahead
from common.running.progress import stage
from common.study import Study
from features.embedding.extraction_settings import ExtractionConfig, default_readers
from features.store.feature_log import FeatureLog
from features.store.provenance import Provenance, Stated
from features.stream.shared_ring import MemoryHolder
from features.stream.tile_reader import TileRequest
from features.stream.tile_stream import Readers
from preprocessing.tiling.tile_store import OtherSlideError

if TYPE_CHECKING:
    from features.device.runtime import Runtime


EncoderStatus = tuple[str, SlideStatus]  # encoder, and what became of a slide's file
STEP = "extract_features"
SLIDES_AHEAD = 4  # under way, or fetched for the time after, where they lie elsewhere
DAMAGED = "the file is damaged; copy or scan it again"


def reading_of(config: ExtractionConfig, embedders: Sequence[Embedder]) -> ReadingSettings:
    """Return how tiles are read for these encoders on this machine."""
    runtimes = [embedder.runtime for embedder in embedders]
    n_gpus = max(len(runtime.gpus) for runtime in runtimes)
    workers = config.workers or default_readers(default_workers(), n_gpus=n_gpus, memory_gb=memory_gb())
    return ReadingSettings(
        workers=workers, ahead=config.ahead or workers + 2, timeout_s=config.timeout_s,
        held=max(runtime.blocks_held for runtime in runtimes), memory_holder=runtimes[0].memory_holder,
    )  # fmt: skip


def failed_at_once(
    study: Study, slide_id: str, embedders: Sequence[Embedder], error: SlideError
) -> list[EncoderStatus]:
    """Return a failed status for every encoder: the slide cannot even begin.

    A whole file of an earlier run stays (the slide or its tiles may be away for a day); one that cannot be proven whole, or
    is of another slide, is not left for training.
    """
    for embedder in embedders:
        path = study.feature_file(embedder.name, slide_id)
        if isinstance(error, OtherSlideError) or stale_reason(path, {}) is not None:
            path.unlink(missing_ok=True)
    return [(embedder.name, failed(slide_id, STEP, error)) for embedder in embedders]


def split_job(job: EmbeddingJob) -> tuple[EmbeddingJob | None, list[EncoderStatus]]:
    """Return the job of the files that are still to be made, if any, and the statuses of those that are whole and alike."""
    missing: list[PendingBag] = []
    statuses: list[EncoderStatus] = []
    for bag in job.bags:
        contents, reason = look_if_made_of(bag.path, bag.wanted)
        if contents is not None:
            statuses.append((bag.embedder.name, _status_of(job.slide_id, contents)))
            continue
        if bag.path.exists():
            print(f"{job.slide_id}: made again, because {reason}", flush=True)
        missing.append(bag)
    return (replace(job, bags=missing) if missing else None), statuses


def made_meanwhile(job: EmbeddingJob) -> list[EncoderStatus]:
    """Return the statuses of a job that another run has done since it was looked at; none where something is to be made."""
    statuses: list[EncoderStatus] = []
    for bag in job.bags:
        contents = look_if_made_of(bag.path, bag.wanted)[0] if bag.path.exists() else None
        if contents is None:
            return []
        statuses.append((bag.embedder.name, _status_of(job.slide_id, contents)))
    return statuses


def run_jobs(
    study: Study, makers: Iterable[tuple[str, Callable[[], EmbeddingJob]]], embedders: Sequence[Embedder],
    run: Callable[[Sequence[EmbeddingJob]], Iterable[EncoderStatus]],
) -> list[EncoderStatus]:  # fmt: skip
    """Make each slide's job, keep what is done, and run the rest.

    Args:
        study: where feature files go.
        makers: slide id and what makes its job, or raises a SlideError.
        embedders: the encoders.
        run: embeds jobs, and yields encoder and status of each file.
    """
    jobs: list[EmbeddingJob] = []
    statuses: list[EncoderStatus] = []
    with stage("looking at what is there already"):
        for slide_id, make in makers:
            try:
                left, kept = split_job(make())
            except SlideError as error:
                statuses += failed_at_once(study, slide_id, embedders, error)
                continue
            statuses += kept
            jobs += [] if left is None else [left]
    paths = {job.slide_id: request.path for job in jobs for request in job.requests[:1]}
    with fetched_ahead(paths, window=SLIDES_AHEAD) as ahead:
        for encoder, status in run(jobs):
            statuses.append((encoder, status))
            ahead.done(status.slide_id)
    return statuses


@dataclass(frozen=True, kw_only=True)
class Embedder:
    """An encoder ready to run, its name as a folder, and what its files say of it."""

    name: str
    runtime: Runtime
    provenance: Provenance

    @property
    def width(self) -> int:
        """Numbers of an embedding."""
        assert self.provenance.dimension is not None, "an encoder's card has its width"
        return self.provenance.dimension


@dataclass(kw_only=True)
class PendingBag:
    """A feature file to be made: all but the embeddings, which stand in its log while it is open."""

    embedder: Embedder
    path: Path
    wanted: Mapping[str, Stated]  # the file's attributes
    coords: np.ndarray
    coords_attributes: Mapping[str, Stated]
    image_index: np.ndarray
    image_names: tuple[str, ...] = ()  # tile tables only
    datasets: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"features": ("",)})
    copy_strength: float = 0.0  # of copies in varied stains
    log: FeatureLog | None = None


@dataclass(kw_only=True)
class EmbeddingJob:
    """A slide's pixels, and the feature files that are made of them: one an encoder."""

    slide_id: str
    requests: list[TileRequest]
    bags: list[PendingBag]
    n_requests_left: int = 0
    check_source: Callable[[], None] | None = (
        None  # raises a SlideError where what was read is not what should have been
    )


@dataclass(frozen=True, kw_only=True)
class ReadingSettings:
    """How many processes read how far ahead, when a block is given up, and how many wait for their embeddings."""

    workers: int
    ahead: int
    timeout_s: float
    held: int = 1  # while the next one is read; each keeps its memory
    memory_holder: MemoryHolder | None = None  # what the runtime does with the memory of all blocks
    readers: Readers | None = None  # kept from one slide to the next; None: each loop has its own

    def kept_readers(self) -> Readers:
        """Return reading processes for one loop after the other."""
        return Readers(self.workers, self.ahead + self.held - 1, self.memory_holder)


def done_status(slide_id: str, path: Path) -> SlideStatus:
    """Return the status row of a whole feature file."""
    return _status_of(slide_id, verified_contents(path))


def _status_of(slide_id: str, contents: Contents) -> SlideStatus:
    shapes, attributes = contents.shapes, contents.attributes
    figures: dict[str, object] = {
        "n_tiles": shapes["features"][0], "n_unreadable": shapes["unreadable"][0], "reading": attributes.get("reading", ""),
    }  # fmt: skip
    if "images_left_out" in attributes:
        reasons = [*json.loads(attributes["images_left_out"]), *json.loads(attributes.get("images_undecoded", "[]"))]
        figures["images_left_out"] = "; ".join(reasons)
        own = ("n_images_scaled_up", "unused_share", "stain_fit", "stain_fallback")
        figures |= {name: attributes[name] for name in own if name in attributes}
    return SlideStatus(slide_id=slide_id, step=STEP, state="done", figures=figures)
