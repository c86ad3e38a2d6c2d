"""Slides to jobs of embedding, one a slide, with a status for those that need or allow none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from common.failures import SlideError
from common.sharing.claims import Sharing
from common.slide_files import no_such_slide
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
from preprocessing.tiling.slide_tiles import SlideTiles, trident_attributes
from preprocessing.tiling.tile_store import check_not_replaced, tiles_of_slide


def extract_slides(
    study: Study, files: dict[str, Path], slide_ids: Sequence[str], config: ExtractionConfig,
    embedders: Sequence[Embedder], sharing: Sharing,
) -> list[EncoderStatus]:  # fmt: skip
    """Embed the tiles of every slide that was tiled.

    Args:
        study: where tile files are and feature files go.
        files: slide id to slide file.
        slide_ids: the slides wanted.
        config: the settings.
        embedders: the encoders; the pixels of a slide are read once for all.
        sharing: what other runs hold.

    Returns:
        Encoder and status, one for each slide and encoder.
    """
    reference = read_reference(config.stain_reference)
    makers = (
        (slide_id, partial(slide_job, study, files, slide_id, config, embedders, reference))
        for slide_id in sorted(slide_ids)
    )
    embed = partial(embed_slides, reading=reading_of(config, embedders), sharing=sharing)
    return run_jobs(study, makers, embedders, embed)


def slide_job(
    study: Study, files: dict[str, Path], slide_id: str, config: ExtractionConfig, embedders: Sequence[Embedder],
    reference: StainFit,
) -> EmbeddingJob:  # fmt: skip
    """Return what is to be read of a slide, and the feature files that are made of it.

    Raises:
        SlideError: the slide or its tile file is missing or damaged, or its colours cannot be mapped.
    """
    tiles = _slide_tiles(study, files, slide_id)
    is_mapped = config.normalise and tiles.stain.method != "none"
    of_slide: dict[str, Stated] = {
        "schema": SCHEMA,
        # which fit a slide's guards allowed may differ between slides of a run; that colours were mapped may not
        "stain_fit": tiles.stain.method if is_mapped else "none",
        "mpp_x": tiles.mpp_x, "mpp_y": tiles.mpp_y, "mpp_source": tiles.mpp_source, "tile_fingerprint": tiles.content_sha256,
    }  # fmt: skip
    reference_used = reference_text(reference) if is_mapped else "none"
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
            wanted=file_attributes(_provenance(embedder, config, tiles, reference_used), of_slide),
            coords=tiles.coords,
            coords_attributes=trident_attributes(tiles),
            image_index=np.empty(0, np.int64),
            datasets=_datasets(config, tuple(_scales(config, tiles))),
            copy_strength=config.hed_strength,
        )
        for embedder in embedders
    ]
    check = partial(check_not_replaced, files[slide_id], tiles.slide_fingerprint)
    return EmbeddingJob(slide_id=slide_id, requests=requests, bags=bags, check_source=check)


def _scales(config: ExtractionConfig, tiles: SlideTiles) -> dict[str, float]:
    """Return part to side in µm; one nameless part where there is one scale, the tile's."""
    return {f"{side:g} um": side for side in config.scales_um} or {"": tiles.tile_um}


def _provenance(embedder: Embedder, config: ExtractionConfig, tiles: SlideTiles, reference: str) -> Provenance:
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
        own, stain="none" if reference == "none" else "normalised", stain_reference=reference, tile_um=tiles.tile_um,
        tile_px=tiles.tile_px, others=others,
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


def corners_of_scale(tiles: SlideTiles, side_um: float) -> np.ndarray:
    """Return the corners of squares of another side around the centres of a tiles's tiles, level-0 pixels."""
    shift = [(tiles.tile_um - side_um) / 2 / mpp for mpp in (tiles.mpp_x, tiles.mpp_y)]
    return tiles.coords + np.round(shift).astype(np.int64)


def _slide_tiles(study: Study, files: dict[str, Path], slide_id: str) -> SlideTiles:
    if slide_id not in files:
        raise no_such_slide(slide_id, study.slides)
    return tiles_of_slide(study.tile_file(slide_id), files[slide_id])
