"""Tables of tile images to jobs, one a bag: the images of a patient, or of a slide where the table names slides."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from common.failures import SlideError
from common.files import settings_text
from common.sharing.claims import Sharing
from common.slide_files import file_fingerprint
from common.study import Study
from features.embedding.extraction_settings import ExtractionConfig
from features.embedding.image_stain import fit_image_stains
from features.embedding.jobs import (
    Embedder,
    EmbeddingJob,
    EncoderStatus,
    PendingBag,
    reading_of,
    run_jobs,
)
from features.embedding.loop import embed_slides
from features.embedding.tile_fields import field_corners, field_side
from features.embedding.tile_images import TileImages, image_notes, none_usable
from features.embedding.tile_table import TilePatient, survey_images
from features.store.feature_store import SCHEMA
from features.store.provenance import Stated, file_attributes
from features.stream.tile_reader import TileRequest
from preprocessing.colour.stain import StainFit, stain_map
from preprocessing.colour.stain_store import read_reference, reference_text

DECIMALS = 4  # of shares


@dataclass(frozen=True, kw_only=True)
class _Table:
    """What the jobs of all bags share."""

    study: Study
    embedders: Sequence[Embedder]
    field_px: int
    images: Mapping[str, TileImages]  # by bag
    reference: StainFit | None  # what colours are mapped to; None: they stay as they are
    fits: Mapping[str, StainFit | SlideError]  # by bag


def extract_tile_table(
    study: Study,
    patients: Sequence[TilePatient],
    config: ExtractionConfig,
    embedders: Sequence[Embedder],
    field_px: int,
    sharing: Sharing,
) -> list[EncoderStatus]:
    """Embed the images of a tile table, one file a bag; large images are cut into fields, small ones scaled up to one."""
    assert config.tiles is not None, "called for a tile table"
    images = {patient.bag_id: survey_images(patient, field_px) for patient in patients}
    for line in image_notes(images, field_px, config.tiles.parent if config.images is None else config.images):
        print(line, flush=True)
    table = _Table(
        study=study, embedders=embedders, field_px=field_px, images=images,
        reference=read_reference(config.stain_reference) if config.is_mapped_table else None,
        fits=fit_image_stains(images, config, field_px) if config.is_mapped_table else {},
    )  # fmt: skip
    makers = [(bag, partial(_bag_job, table, bag)) for bag in images]
    embed = partial(embed_slides, reading=reading_of(config, embedders), sharing=sharing)
    return run_jobs(study, makers, embedders, embed)


def _bag_job(table: _Table, bag: str) -> EmbeddingJob:
    images, field_px = table.images[bag], table.field_px
    if not images.usable:
        raise none_usable(images)
    fit, colour = table.fits.get(bag), None
    if isinstance(fit, SlideError):
        raise fit
    if fit is not None and table.reference is not None and fit.method != "none":
        try:
            colour = stain_map(fit, table.reference)
        except ValueError as error:
            raise SlideError(str(error), "give another --stain, or another --stain_reference") from error
    requests: list[TileRequest] = []
    n_rows = 0
    for image, width, height in images.usable:
        side = field_side(width, height, field_px)
        corners = field_corners(width, height, side)
        requests.append(
            TileRequest(
                name=bag, path=image, mpp=None, coords=corners, tile_um=None, tile_px=field_px, field_px=side,
                colour=colour, first_row=n_rows,
            )
        )  # fmt: skip
        n_rows += len(corners)
    stain, text = ("none", "none") if table.reference is None else ("normalised", reference_text(table.reference))
    bags = [
        PendingBag(
            embedder=embedder,
            path=table.study.feature_file(embedder.name, bag),
            wanted=file_attributes(
                replace(embedder.provenance, stain=stain, stain_reference=text, tile_um=0.0, tile_px=field_px),
                _of_bag(images, fit, field_px),
            ),
            coords=np.concatenate([request.coords for request in requests]),
            coords_attributes={},
            image_index=np.repeat(np.arange(len(requests)), [len(request.coords) for request in requests]).astype(
                np.int64
            ),
            image_names=tuple(images.names),
        )
        for embedder in table.embedders
    ]
    return EmbeddingJob(slide_id=bag, requests=requests, bags=bags)


def _of_bag(images: TileImages, fit: StainFit | None, field_px: int) -> dict[str, Stated]:
    """Return the attributes of one bag's file."""
    attributes: dict[str, Stated] = {
        "schema": SCHEMA, "stain_fit": "none (tile table)" if fit is None else fit.method,
        "mpp_source": "unknown (tile table)",
        "images": json.dumps(images.names), "images_left_out": json.dumps(images.left_out),
        "n_images_scaled_up": len(images.upscaled(field_px)),
        "unused_share": round(images.unused_share(field_px), DECIMALS),
        "tile_fingerprint": settings_text({"images": [file_fingerprint(path) for path, _, _ in images.usable]}),
    }  # fmt: skip
    return attributes if fit is None else attributes | {"stain_fallback": fit.fallback}
