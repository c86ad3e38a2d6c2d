"""Slides to jobs of embedding, one a slide, with a status for those that need or allow none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from common.failures import SlideError
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
from features.store.feature_store import SCHEMA
from features.store.provenance import Provenance, Stated, file_attributes
from features.stream.tile_reader import TileRequest
from preprocessing.colour.stain import StainFit, stain_map
from preprocessing.colour.stain_store import read_reference, reference_text
from preprocessing.tiling.tile_store import TileSheet, read_tile_sheet, trident_attributes


def extract_slides(
    study: Study, files: dict[str, Path], slide_ids: Sequence[str], config: ExtractionConfig,
    embedders: Sequence[Embedder],
) -> list[EncoderStatus]:  # fmt: skip
    """Embed the tiles of every slide that was tiled.

    Args:
        study: where tile files are and feature files go.
        files: slide id to slide file.
        slide_ids: the slides wanted.
        config: the settings.
        embedders: the encoders; the pixels of a slide are read once for all.

    Returns:
        Encoder and status, one for each slide and encoder.
    """
    reference = read_reference(config.stain_reference)
    makers = (
        (slide_id, partial(_slide_job, study, files, slide_id, config, embedders, reference))
        for slide_id in sorted(slide_ids)
    )
    return run_jobs(study, makers, embedders, partial(embed_slides, reading=reading_of(config, embedders)))


def _slide_job(
    study: Study, files: dict[str, Path], slide_id: str, config: ExtractionConfig, embedders: Sequence[Embedder],
    reference: StainFit,
) -> EmbeddingJob:  # fmt: skip
    sheet = _tile_sheet(study, files, slide_id)
    is_mapped = config.normalise and sheet.stain.method != "none"
    of_slide: dict[str, Stated] = {
        "schema": SCHEMA,
        # which fit a slide's guards allowed may differ between slides of a run; that colours were mapped may not
        "stain_fit": sheet.stain.method if is_mapped else "none",
        "mpp_x": sheet.mpp_x, "mpp_y": sheet.mpp_y, "mpp_source": sheet.mpp_source, "tile_fingerprint": sheet.content_sha256,
    }  # fmt: skip
    reference_used = reference_text(reference) if is_mapped else "none"
    try:
        colour = stain_map(sheet.stain, reference) if is_mapped else None
    except ValueError as error:
        raise SlideError(
            str(error), "run preprocessing/tile_slides.py again, or give another --stain_reference"
        ) from error
    requests = [
        TileRequest(
            name=slide_id, path=files[slide_id], mpp=(sheet.mpp_x, sheet.mpp_y), coords=corners_of_scale(sheet, side_um),
            tile_um=side_um, tile_px=sheet.tile_px, colour=colour, part=part,
            stains=reference if is_mapped else sheet.stain,
        )
        for part, side_um in _scales(config, sheet).items()
    ]  # fmt: skip
    bags = [
        PendingBag(
            embedder=embedder,
            path=study.feature_file(embedder.name, slide_id),
            wanted=file_attributes(_provenance(embedder, config, sheet, reference_used), of_slide),
            coords=sheet.coords,
            coords_attributes=trident_attributes(sheet),
            image_index=np.empty(0, np.int64),
            datasets=_datasets(config, tuple(_scales(config, sheet))),
            copy_strength=config.hed_strength,
        )
        for embedder in embedders
    ]
    return EmbeddingJob(slide_id=slide_id, requests=requests, bags=bags)


def _scales(config: ExtractionConfig, sheet: TileSheet) -> dict[str, float]:
    """Return part to side in µm; one nameless part where there is one scale, the tile's."""
    return {f"{side:g} um": side for side in config.scales_um} or {"": sheet.tile_um}


def _provenance(embedder: Embedder, config: ExtractionConfig, sheet: TileSheet, reference: str) -> Provenance:
    """Return what made a slide's embeddings; several scales stand in the transform, which must agree within a run."""
    own = embedder.provenance
    others: dict[str, Stated] = {}
    if config.scales_um:
        sides = ", ".join(f"{side:g}" for side in config.scales_um)
        own = replace(own, transform=f"{own.transform}; squares of {sides} µm side by side")
        others["scale_columns"] = json.dumps(_scale_columns(config.scales_um, embedder.width))
    if config.hed_copies:
        others |= {"hed_copies": config.hed_copies, "hed_strength": config.hed_strength}
    return replace(
        own, stain="none" if reference == "none" else "normalised", stain_reference=reference, tile_um=sheet.tile_um,
        tile_px=sheet.tile_px, others=others,
    )  # fmt: skip


def _scale_columns(scales_um: Sequence[float], width: int) -> list[list[float]]:
    """Return side, first and behind the last column of each scale."""
    return [[side, index * width, (index + 1) * width] for index, side in enumerate(scales_um)]


def _datasets(config: ExtractionConfig, parts: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return dataset to parts: the embeddings, and those of each copy in varied stains."""
    copies = {
        f"features_hed{copy}": tuple(f"{part}+{copy}" for part in parts) for copy in range(1, config.hed_copies + 1)
    }
    return {"features": parts, **copies}


def corners_of_scale(sheet: TileSheet, side_um: float) -> np.ndarray:
    """Return the corners of squares of another side around the centres of a sheet's tiles, level-0 pixels."""
    shift = [(sheet.tile_um - side_um) / 2 / mpp for mpp in (sheet.mpp_x, sheet.mpp_y)]
    return sheet.coords + np.round(shift).astype(np.int64)


def _tile_sheet(study: Study, files: dict[str, Path], slide_id: str) -> TileSheet:
    if slide_id not in files:
        raise SlideError(
            "the table has this slide, but there is no such file", "add the file to slides/, or remove the row"
        )
    tile_file = study.tile_file(slide_id)
    remedy = "run preprocessing/tile_slides.py (its status.csv says why, if the slide failed there)"
    if not tile_file.is_file():
        raise SlideError("it has no tile file", remedy)
    try:
        sheet = read_tile_sheet(tile_file)
    except ValueError as error:
        raise SlideError(str(error), remedy) from error
    if file_fingerprint(files[slide_id]) != sheet.slide_fingerprint:
        raise SlideError(f"{files[slide_id].name} is not the file its tiles were made from", remedy)
    return sheet
