"""Tables of tile images to jobs, one bag a patient."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import numpy as np

from common.failures import SlideError, SlideStatus
from common.files import settings_text
from common.slide_files import file_fingerprint
from common.study import Study
from features.embedding.extraction_settings import ExtractionConfig
from features.embedding.jobs import (
    Embedder,
    EmbeddingJob,
    PendingBag,
    failed_at_once,
    keep_or_queue,
    reading_of,
)
from features.embedding.loop import embed_slides
from features.embedding.tile_table import TilePatient, usable_images
from features.store.feature_store import SCHEMA
from features.stream.tile_reader import TileRequest


def extract_tile_table(
    study: Study,
    patients: Iterable[TilePatient],
    config: ExtractionConfig,
    embedders: Sequence[Embedder],
    field_px: int,
) -> list[tuple[str, SlideStatus]]:
    """Embed the images of a tile table, one bag a patient; large images are cut into fields, none is rescaled."""
    jobs: list[EmbeddingJob] = []
    statuses: list[tuple[str, SlideStatus]] = []
    for patient in patients:
        try:
            job = _patient_job(study, patient, embedders, field_px)
        except SlideError as error:
            statuses += failed_at_once(study, patient.patient_id, embedders, error)
            continue
        keep_or_queue(job, jobs, statuses)
    return statuses + list(embed_slides(jobs, reading_of(config, embedders)))


def _patient_job(study: Study, patient: TilePatient, embedders: Sequence[Embedder], field_px: int) -> EmbeddingJob:
    requests, coords, prints = [], [], []
    images = usable_images(patient, field_px)
    for reason in images.left_out:
        print(f"{patient.patient_id}: left out: {reason}", flush=True)
    for image, width, height in images.found:
        corners = [
            (x, y) for y in range(0, height - field_px + 1, field_px) for x in range(0, width - field_px + 1, field_px)
        ]
        coords.append(np.array(corners, dtype=np.int64))
        prints.append(file_fingerprint(image))
        requests.append(
            TileRequest(
                name=patient.patient_id,
                path=image,
                mpp=None,
                coords=coords[-1],
                tile_um=None,
                tile_px=field_px,
                colour=None,
                first_row=sum(map(len, coords[:-1])),
            )
        )
    wanted = {
        "schema": SCHEMA, "stain": "none", "stain_fit": "none (tile table)", "stain_reference": "none",
        "tile_um": 0.0, "tile_px": field_px, "mpp_source": "unknown (tile table)",
        "images": json.dumps(images.names), "images_left_out": json.dumps(images.left_out),
        "tile_fingerprint": settings_text({"images": prints}),
    }  # fmt: skip
    index = np.repeat(np.arange(len(coords)), [len(corners) for corners in coords]).astype(np.int64)
    bags = [
        PendingBag(
            embedder=embedder, path=study.feature_file(embedder.name, patient.patient_id),
            wanted={**embedder.made_by, **wanted}, coords=np.concatenate(coords), coords_attributes={}, image_index=index,
        )
        for embedder in embedders
    ]  # fmt: skip
    return EmbeddingJob(slide_id=patient.patient_id, requests=requests, bags=bags)
