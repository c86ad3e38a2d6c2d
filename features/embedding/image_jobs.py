"""Tables of tile images to jobs, one bag a patient."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from common.files import settings_text
from common.slide_files import file_fingerprint
from common.study import Study
from features.embedding.extraction_settings import ExtractionConfig
from features.embedding.jobs import (
    Embedder,
    EmbeddingJob,
    EncoderStatus,
    PendingBag,
    reading_of,
    run_jobs,
)
from features.embedding.loop import embed_slides
from features.embedding.tile_table import TilePatient, usable_images
from features.store.feature_store import SCHEMA
from features.store.provenance import file_attributes
from features.stream.tile_reader import TileRequest


def extract_tile_table(
    study: Study,
    patients: Iterable[TilePatient],
    config: ExtractionConfig,
    embedders: Sequence[Embedder],
    field_px: int,
) -> list[EncoderStatus]:
    """Embed the images of a tile table, one bag a patient; large images are cut into fields, none is rescaled."""
    makers = ((patient.patient_id, partial(_patient_job, study, patient, embedders, field_px)) for patient in patients)
    return run_jobs(study, makers, embedders, partial(embed_slides, reading=reading_of(config, embedders)))


def _patient_job(study: Study, patient: TilePatient, embedders: Sequence[Embedder], field_px: int) -> EmbeddingJob:
    requests, coords, prints = [], [], []
    images = usable_images(patient, field_px)
    for reason in images.left_out:
        print(f"{patient.patient_id}: left out: {reason}", flush=True)
    for image, width, height in images.usable:
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
    of_patient = {
        "schema": SCHEMA, "stain_fit": "none (tile table)", "mpp_source": "unknown (tile table)",
        "images": json.dumps(images.names), "images_left_out": json.dumps(images.left_out),
        "tile_fingerprint": settings_text({"images": prints}),
    }  # fmt: skip
    index = np.repeat(np.arange(len(coords)), [len(corners) for corners in coords]).astype(np.int64)
    bags = []
    for embedder in embedders:
        provenance = replace(embedder.provenance, stain="none", stain_reference="none", tile_um=0.0, tile_px=field_px)
        bags.append(
            PendingBag(
                embedder=embedder,
                path=study.feature_file(embedder.name, patient.patient_id),
                wanted=file_attributes(provenance, of_patient),
                coords=np.concatenate(coords),
                coords_attributes={},
                image_index=index,
                image_names=tuple(images.names),
            )
        )
    return EmbeddingJob(slide_id=patient.patient_id, requests=requests, bags=bags)
