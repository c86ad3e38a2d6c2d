"""One slide embedded by a worker of a cluster: its encoders and its reading processes are made once and kept."""

from __future__ import annotations

import atexit
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from common.failures import SlideStatus, failed
from common.parallel import Engine, over_slides
from common.sharing.claims import Sharing
from common.study import Study
from features.embedding.embedders import ready_embedder
from features.embedding.extraction_settings import ExtractionConfig
from features.embedding.jobs import STEP, Embedder, EncoderStatus, ReadingSettings, reading_of, run_jobs
from features.embedding.loop import embed_slides
from features.embedding.slide_jobs import slide_job
from features.encoder.registry import find_card
from features.stream.tile_stream import Readers
from preprocessing.colour.stain_store import read_reference

SLIDE_S = 4 * 3600.0  # of a slide in all; a block of tiles has --timeout_s
_kept: list[Readers] = []


def extract_on_cluster(
    study: Study, files: Mapping[str, Path], slide_ids: Sequence[str], config: ExtractionConfig, tile_px: int, *,
    engine: Engine, sharing: Sharing,
) -> list[EncoderStatus]:  # fmt: skip
    """Embed each slide where the engine says; return encoder and status, one for each slide and encoder."""
    here = replace(config, scheduler=None, slurm=None, shard=None, where=None)
    work = [(slide, (study, slide, files.get(slide), here, tile_px)) for slide in sorted(slide_ids)]
    statuses: list[EncoderStatus] = []
    for outcome in over_slides(
        embed_one, work, workers=1, timeout_s=SLIDE_S, title="embedding", engine=engine, sharing=sharing
    ):
        if outcome.error is not None:
            row: SlideStatus = failed(outcome.name, STEP, outcome.error)
            statuses += [(find_card(name).name, row) for name in config.encoders]
        else:
            assert outcome.value is not None
            statuses += outcome.value
    return statuses


def embed_one(
    study: Study, slide_id: str, path: Path | None, config: ExtractionConfig, tile_px: int
) -> list[EncoderStatus]:
    """Embed a slide, unless its files are whole and made alike; return encoder and status of each."""
    embedders = _embedders(config, tile_px)
    files = {} if path is None else {slide_id: path}
    make = partial(slide_job, study, files, slide_id, config, embedders, read_reference(config.stain_reference))
    reading = reading_of(config, embedders)
    try:
        return run_jobs(
            study,
            [(slide_id, make)],
            embedders,
            lambda jobs: embed_slides(jobs, _with_readers(reading)) if jobs else [],
        )
    except BaseException:
        _end_readers(is_whole=False)
        raise


@lru_cache(maxsize=1)
def _embedders(config: ExtractionConfig, tile_px: int) -> tuple[Embedder, ...]:
    return tuple(ready_embedder(find_card(name), config, tile_px) for name in config.encoders)


def _with_readers(reading: ReadingSettings) -> ReadingSettings:
    if not _kept:
        _kept.append(reading.kept_readers())
    return replace(reading, readers=_kept[0])


@atexit.register
def _end_readers(*, is_whole: bool = True) -> None:
    while _kept:
        _kept.pop().end(is_whole=is_whole)
