"""Slides, or the images of a tile table, to feature files: the loop, with a status for each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.failures import SlideError, SlideStatus
from common.slide_files import file_fingerprint
from common.study import Study
from features.embedding.extraction_settings import ExtractionConfig
from features.embedding.jobs import (
    Embedder,
    PendingBag,
    SlideJob,
    failed_at_once,
    keep_or_queue,
    reading_of,
)
from features.embedding.loop import embed_slides
from features.store.feature_store import SCHEMA
from features.stream.tile_reader import TileRequest
from preprocessing.colour.stain import StainFit, stain_map
from preprocessing.colour.stain_store import read_reference, reference_text
from preprocessing.tiling.slide_tiles import SlideTiles, trident_attributes
from preprocessing.tiling.tile_store import read_slide_tiles


def extract_slides(
    study: Study, files: dict[str, Path], slide_ids: Sequence[str], config: ExtractionConfig,
    embedders: Sequence[Embedder],
) -> list[tuple[str, SlideStatus]]:  # fmt: skip
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
    jobs: list[SlideJob] = []
    statuses: list[tuple[str, SlideStatus]] = []
    reference = read_reference(config.stain_reference)
    for slide_id in sorted(slide_ids):
        try:
            job = _slide_job(study, files, slide_id, config, embedders, reference)
        except SlideError as error:
            statuses += failed_at_once(study, slide_id, embedders, error)
            continue
        keep_or_queue(job, jobs, statuses)
    return statuses + list(embed_slides(jobs, reading_of(config, embedders)))


def _slide_job(
    study: Study, files: dict[str, Path], slide_id: str, config: ExtractionConfig, embedders: Sequence[Embedder],
    reference: StainFit,
) -> SlideJob:  # fmt: skip
    tiles = _slide_tiles(study, files, slide_id)
    is_mapped = config.normalise and tiles.stain.method != "none"
    of_slide = {
        "schema": SCHEMA,
        # which fit a slide's guards allowed may differ between slides of a run; that colours were mapped may not
        "stain": "normalised" if is_mapped else "none",
        "stain_fit": tiles.stain.method if is_mapped else "none",
        "stain_reference": reference_text(reference) if is_mapped else "none",
        "tile_um": tiles.tile_um, "tile_px": tiles.tile_px, "mpp_x": tiles.mpp_x, "mpp_y": tiles.mpp_y,
        "mpp_source": tiles.mpp_source, "tile_fingerprint": tiles.content_sha256,
    }  # fmt: skip
    try:
        colour = stain_map(tiles.stain, reference) if is_mapped else None
    except ValueError as error:
        raise SlideError(
            str(error), "run preprocessing/tile_slides.py again, or give another --stain_reference"
        ) from error
    requests = [
        TileRequest(
            name=slide_id, path=files[slide_id], mpp=(tiles.mpp_x, tiles.mpp_y), coords=corners_of_scale(tiles, side_um),
            tile_um=side_um, tile_px=tiles.tile_px, colour=colour, part=part,
            stains=reference if is_mapped else tiles.stain,
        )
        for part, side_um in _scales(config, tiles).items()
    ]  # fmt: skip
    bags = [
        PendingBag(
            embedder=embedder,
            path=study.feature_file(embedder.name, slide_id),
            wanted={**embedder.made_by, **of_slide, **_transform_of(config, embedder), **_copies_of(config)},
            coords=tiles.coords,
            coords_attributes=trident_attributes(tiles),
            image_index=np.empty(0, np.int64),
            datasets=_datasets(config, tuple(_scales(config, tiles))),
            copy_strength=config.hed_strength,
        )
        for embedder in embedders
    ]
    return SlideJob(slide_id=slide_id, requests=requests, bags=bags)


def _scales(config: ExtractionConfig, tiles: SlideTiles) -> dict[str, float]:
    """Return part to side in µm; one nameless part where there is one scale, the tile's."""
    return {f"{side:g} um": side for side in config.scales_um} or {"": tiles.tile_um}


def _transform_of(config: ExtractionConfig, embedder: Embedder) -> dict[str, Any]:
    """Return the transform with the scales, which must agree within a run, and the columns of each."""
    if not config.scales_um:
        return {}
    width = embedder.made_by["dimension"]
    columns = [[side, index * width, (index + 1) * width] for index, side in enumerate(config.scales_um)]
    sides = ", ".join(f"{side:g}" for side in config.scales_um)
    return {
        "transform": f"{embedder.made_by['transform']}; squares of {sides} µm side by side",
        "scale_columns": json.dumps(columns),
    }


def _datasets(config: ExtractionConfig, parts: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return dataset to parts: the embeddings, and those of each copy in varied stains."""
    copies = {
        f"features_hed{copy}": tuple(f"{part}+{copy}" for part in parts) for copy in range(1, config.hed_copies + 1)
    }
    return {"features": parts, **copies}


def _copies_of(config: ExtractionConfig) -> dict[str, Any]:
    return {"hed_copies": config.hed_copies, "hed_strength": config.hed_strength} if config.hed_copies else {}


def corners_of_scale(tiles: SlideTiles, side_um: float) -> np.ndarray:
    """Return the corners of squares of another side around the centres of a slide's tiles, level-0 pixels."""
    shift = [(tiles.tile_um - side_um) / 2 / mpp for mpp in (tiles.mpp_x, tiles.mpp_y)]
    return tiles.coords + np.round(shift).astype(np.int64)


def _slide_tiles(study: Study, files: dict[str, Path], slide_id: str) -> SlideTiles:
    if slide_id not in files:
        raise SlideError(
            "the table has this slide, but there is no such file", "add the file to slides/, or remove the row"
        )
    tile_file = study.tile_file(slide_id)
    remedy = "run preprocessing/tile_slides.py (its status.csv says why, if the slide failed there)"
    if not tile_file.is_file():
        raise SlideError("it has no tile file", remedy)
    try:
        tiles = read_slide_tiles(tile_file)
    except ValueError as error:
        raise SlideError(str(error), remedy) from error
    if file_fingerprint(files[slide_id]) != tiles.slide_fingerprint:
        raise SlideError(f"{files[slide_id].name} is not the file its tiles were made from", remedy)
    return tiles
