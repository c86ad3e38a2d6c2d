"""Slides, or the images of a tile table, to feature files: the loop, with a status for each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.failures import SlideError, SlideStatus, failed
from common.files import file_fingerprint, settings_text, whats_stale
from common.parallel import default_workers
from common.study import Study
from features.embedding.extraction_settings import ExtractionConfig, default_readers
from features.embedding.loop import STEP, Embedder, PendingBag, ReadingSettings, SlideJob, done_status, embed_slides
from features.embedding.tile_table import TilePatient, usable_images
from features.encoder.registry import EncoderCard
from features.store.feature_store import SCHEMA
from features.stream.tile_reader import TileRequest
from preprocessing.checks.installation import memory_gb
from preprocessing.colour.stain import StainFit, stain_map
from preprocessing.colour.stain_store import read_reference, reference_text
from preprocessing.tiling.tile_store import TileSheet, read_tile_sheet, trident_attributes

if TYPE_CHECKING:
    from features.device.runtime import Runtime


def encoder_attributes(card: EncoderCard, weights_sha256: str, runtime: Runtime) -> dict[str, Any]:
    """Return what every feature file says of the network that made it."""
    return {
        "encoder": card.name, "encoder_source": card.source, "weights_sha256": weights_sha256, "licence": card.licence,
        "dimension": card.dimension, "transform": card.transform, "runtime": runtime.name, "precision": runtime.precision,
    }  # fmt: skip


def ready_embedder(card: EncoderCard, config: ExtractionConfig, tile_px: int) -> Embedder:
    """Build an encoder with its weights, bind it to the device, and say so, with its licence."""
    from features.device.runtime import bind, default_batch
    from features.encoder.registry import build_encoder

    encoder = build_encoder(card, config.weights)
    runtime = bind(
        encoder, device=config.device, batch=config.batch or default_batch(config.device), tile_px=tile_px,
        threads=config.threads or default_workers(), precision=config.precision,
    )  # fmt: skip
    print(f"{card.name} ({card.licence}) on {runtime.name}, {runtime.told}", flush=True)
    if not card.is_commercial:
        print(
            f"{card.name}: its licence ({card.licence}) does not allow commercial use, and may bind what is made from its "
            f"features; see {card.source}",
            flush=True,
        )
    return Embedder(name=card.name, runtime=runtime, made_by=encoder_attributes(card, encoder.weights_sha256, runtime))


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
            statuses += _failed_at_once(study, slide_id, embedders, error)
            continue
        _keep_or_queue(job, jobs, statuses)
    return statuses + list(embed_slides(jobs, _reading(config, embedders)))


def scale_note(card: EncoderCard, tile_um: float, tile_px: int) -> str:
    """Say that tiles reach an encoder of histology at another scale than it was trained at; empty where they do not."""
    side_px = card.resize_px or card.input_px or tile_px
    if card.mpp is None or 1 / 1.5 < tile_um / side_px / card.mpp < 1.5:
        return ""
    return (
        f"{card.name} was trained at {card.mpp:g} µm a pixel; tiles of {tile_um:g} µm reach it at {tile_um / side_px:.2f}. For its "
        f"own scale tile with --tile_um {side_px * card.mpp:g}"
    )


def _reading(config: ExtractionConfig, embedders: Sequence[Embedder]) -> ReadingSettings:
    runtimes = [embedder.runtime for embedder in embedders]
    n_gpus = max(len(runtime.gpus) for runtime in runtimes)
    workers = config.workers or default_readers(default_workers(), n_gpus=n_gpus, memory_gb=memory_gb())
    return ReadingSettings(
        workers=workers, ahead=config.ahead or workers + 2, timeout_s=config.timeout_s,
        held=max(runtime.blocks_held for runtime in runtimes), hold=runtimes[0].hold,
    )  # fmt: skip


def _failed_at_once(
    study: Study, slide_id: str, embedders: Sequence[Embedder], error: SlideError
) -> Iterator[tuple[str, SlideStatus]]:
    for embedder in embedders:
        study.feature_file(embedder.name, slide_id).unlink(missing_ok=True)
        yield embedder.name, failed(slide_id, STEP, error)


def _slide_job(
    study: Study, files: dict[str, Path], slide_id: str, config: ExtractionConfig, embedders: Sequence[Embedder],
    reference: StainFit,
) -> SlideJob:  # fmt: skip
    sheet = _tile_sheet(study, files, slide_id)
    is_mapped = config.normalise and sheet.stain.method != "none"
    of_slide = {
        "schema": SCHEMA,
        # which fit a slide's guards allowed may differ between slides of a run; that colours were mapped may not
        "stain": "normalised" if is_mapped else "none",
        "stain_fit": sheet.stain.method if is_mapped else "none",
        "stain_reference": reference_text(reference) if is_mapped else "none",
        "tile_um": sheet.tile_um, "tile_px": sheet.tile_px, "mpp_x": sheet.mpp_x, "mpp_y": sheet.mpp_y,
        "mpp_source": sheet.mpp_source, "tile_fingerprint": sheet.content_sha256,
    }  # fmt: skip
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
            wanted={**embedder.made_by, **of_slide, **_transform_of(config, embedder), **_copies_of(config)},
            coords=sheet.coords,
            coords_attributes=trident_attributes(sheet),
            image_index=np.empty(0, np.int64),
            datasets=_datasets(config, tuple(_scales(config, sheet))),
            copy_strength=config.hed_strength,
        )
        for embedder in embedders
    ]
    return SlideJob(slide_id=slide_id, requests=requests, bags=bags)


def _scales(config: ExtractionConfig, sheet: TileSheet) -> dict[str, float]:
    """Return part to side in µm; one nameless part where there is one scale, the tile's."""
    return {f"{side:g} um": side for side in config.scales_um} or {"": sheet.tile_um}


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


def extract_tile_table(
    study: Study,
    patients: Iterable[TilePatient],
    config: ExtractionConfig,
    embedders: Sequence[Embedder],
    field_px: int,
) -> list[tuple[str, SlideStatus]]:
    """Embed the images of a tile table, one bag a patient; large images are cut into fields, none is rescaled."""
    jobs: list[SlideJob] = []
    statuses: list[tuple[str, SlideStatus]] = []
    for patient in patients:
        try:
            job = _patient_job(study, patient, embedders, field_px)
        except SlideError as error:
            statuses += _failed_at_once(study, patient.patient_id, embedders, error)
            continue
        _keep_or_queue(job, jobs, statuses)
    return statuses + list(embed_slides(jobs, _reading(config, embedders)))


def _patient_job(study: Study, patient: TilePatient, embedders: Sequence[Embedder], field_px: int) -> SlideJob:
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
    return SlideJob(slide_id=patient.patient_id, requests=requests, bags=bags)


def _keep_or_queue(job: SlideJob, jobs: list[SlideJob], statuses: list[tuple[str, SlideStatus]]) -> None:
    """Keep the files that are whole and were made alike; queue the job for the others."""
    missing = []
    for bag in job.bags:
        reason = whats_stale(bag.path, bag.wanted)
        if reason is None:
            statuses.append((bag.embedder.name, done_status(job.slide_id, bag.path)))
            continue
        if bag.path.exists():
            print(f"{job.slide_id}: made again, because {reason}", flush=True)
        missing.append(bag)
    if missing:
        job.bags = missing
        jobs.append(job)
