"""Slides, or the images of a tile table, to feature files: the loop, with a status for each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.artifacts import file_fingerprint, settings_text, whats_stale
from common.failures import SlideError, SlideStatus, failed
from common.parallel import default_workers
from common.settings import option
from common.study import Study
from features.encoder import EncoderCard
from features.feature_store import SCHEMA, FeatureBag, write_feature_bag
from features.tile_stream import TileBlock, TileRequest, stream_blocks
from features.tile_table import TilePatient, usable_images
from preprocessing.stain import StainFit, stain_map
from preprocessing.stain_store import read_reference, reference_text
from preprocessing.tile_store import TileSheet, read_tile_sheet, trident_attributes

if TYPE_CHECKING:
    from features.runtime import Runtime

STEP = "extract_features"


@dataclass(frozen=True, kw_only=True)
class ExtractionConfig:
    """The settings of extract_features.py."""

    study: Path = option(Path("study"), help="study folder", group="input")
    where: str | None = option(
        None, help="only slides of rows for which this holds, such as \"site == 'A'\"", group="input"
    )
    tiles: Path | None = option(
        None, help="instead of slides: a table of tile images (patient_ID, Path, Label, training_set)", group="input"
    )
    images: Path | None = option(
        None, help="base folder of the table's relative paths; unset: the table's own folder", group="input"
    )
    encoder: str = option(
        "efficientnet_lite0", help="efficientnet_lite0 (built in), resnet50 or densenet121", group="encoder"
    )
    weights: Path | None = option(None, help="file of the encoder's weights (.pth, .pt, .safetensors)", group="encoder")
    normalise: bool = option(True, help="map each slide's colours to the reference by its stain fit", group="colour")
    stain_reference: Path | None = option(
        None, help="colours to map to: an image, or a JSON of make_stain_reference.py; unset: built in", group="colour"
    )
    device: str = option("auto", help="auto (a GPU if there is one), cpu or cuda", group="work")
    batch: int | None = option(None, help="tiles a batch; unset: 8 on a CPU, 128 on a GPU", group="work")
    workers: int | None = option(None, help="reading processes; unset: one a processor, at most 8", group="work")
    threads: int | None = option(None, help="processor threads of the network on a CPU; unset: all", group="work")
    ahead: int = option(6, help="blocks of 64 tiles read ahead (13 MB each at 256 px)", group="work")
    timeout_s: float = option(300.0, help="time limit of reading a block of 64 tiles, seconds", group="work")

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"--device is auto, cpu or cuda, got {self.device!r}")
        for name in ("batch", "workers", "threads", "ahead"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name} is a number from 1, got {value}")
        if self.timeout_s <= 0:
            raise ValueError(f"--timeout_s is a time above 0 s, got {self.timeout_s}")

    @property
    def reading_workers(self) -> int:
        """The number of reading processes."""
        return self.workers or min(8, default_workers())


@dataclass
class _Bag:
    """A bag on its way: what was asked, and what has come back so far."""

    slide_id: str
    path: Path
    wanted: dict[str, Any]
    coords: np.ndarray
    coords_attributes: dict[str, Any]
    image_index: np.ndarray
    n_requests: int = 1
    features: list[np.ndarray] = field(default_factory=list)
    unreadable: list[np.ndarray] = field(default_factory=list)


def encoder_attributes(card: EncoderCard, weights_sha256: str, runtime: Runtime) -> dict[str, Any]:
    """Return what every feature file says of the network that made it."""
    return {
        "encoder": card.name, "encoder_source": card.source, "weights_sha256": weights_sha256, "licence": card.licence,
        "transform": card.transform, "runtime": runtime.name, "precision": runtime.precision,
    }  # fmt: skip


def extract_slides(
    study: Study, files: dict[str, Path], slide_ids: Sequence[str], config: ExtractionConfig, runtime: Runtime,
    made_by: dict[str, Any],
) -> list[SlideStatus]:  # fmt: skip
    """Embed the tiles of every slide that was tiled.

    Args:
        study: where tile files are and feature files go.
        files: slide id to slide file.
        slide_ids: the slides wanted.
        config: the settings.
        runtime: the network.
        made_by: attributes from `encoder_attributes`.
    """
    statuses: list[SlideStatus] = []
    bags: list[tuple[_Bag, list[TileRequest]]] = []
    reference = read_reference(config.stain_reference)
    for slide_id in sorted(slide_ids):
        try:
            bag = _slide_bag(study, files, slide_id, config, made_by, reference)
        except SlideError as error:
            study.feature_file(config.encoder, slide_id).unlink(missing_ok=True)
            statuses.append(failed(slide_id, STEP, error))
            continue
        _keep_or_queue(bag, bags, statuses)
    return statuses + list(_embed_bags(bags, config, runtime))


def _slide_bag(
    study: Study, files: dict[str, Path], slide_id: str, config: ExtractionConfig, made_by: dict[str, Any],
    reference: StainFit,
) -> tuple[_Bag, list[TileRequest]]:  # fmt: skip
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
    is_mapped = config.normalise and sheet.stain.method != "none"
    wanted = {
        **made_by,
        "schema": SCHEMA,
        "stain": sheet.stain.method if is_mapped else "none",
        "stain_reference": reference_text(reference) if is_mapped else "none",
        "tile_um": sheet.tile_um, "tile_px": sheet.tile_px, "mpp_x": sheet.mpp_x, "mpp_y": sheet.mpp_y,
        "mpp_source": sheet.mpp_source, "tile_fingerprint": sheet.content_sha256,
    }  # fmt: skip
    # which fit a slide's guards allowed may differ between slides of a run; that colours were mapped may not
    wanted["stain"], wanted["stain_fit"] = ("normalised" if is_mapped else "none"), wanted["stain"]
    try:
        colour = stain_map(sheet.stain, reference) if is_mapped else None
    except ValueError as error:
        raise SlideError(
            str(error), "run preprocessing/tile_slides.py again, or give another --stain_reference"
        ) from error
    request = TileRequest(
        name=slide_id, path=files[slide_id], mpp=(sheet.mpp_x, sheet.mpp_y), coords=sheet.coords, tile_um=sheet.tile_um,
        tile_px=sheet.tile_px, colour=colour,
    )  # fmt: skip
    return _bag_of(study, config, slide_id, wanted, sheet), [request]


def _bag_of(study: Study, config: ExtractionConfig, slide_id: str, wanted: dict[str, Any], sheet: TileSheet) -> _Bag:
    attributes = trident_attributes(sheet)
    return _Bag(
        slide_id, study.feature_file(config.encoder, slide_id), wanted, sheet.coords, attributes, np.empty(0, np.int64)
    )


def extract_tile_table(
    study: Study, patients: Iterable[TilePatient], config: ExtractionConfig, runtime: Runtime, made_by: dict[str, Any],
    field_px: int,
) -> list[SlideStatus]:  # fmt: skip
    """Embed the images of a tile table, one bag a patient; large images are cut into fields, none is rescaled."""
    statuses: list[SlideStatus] = []
    bags: list[tuple[_Bag, list[TileRequest]]] = []
    for patient in patients:
        try:
            bag = _patient_bag(study, patient, config, made_by, field_px)
        except SlideError as error:
            study.feature_file(config.encoder, patient.patient_id).unlink(missing_ok=True)
            statuses.append(failed(patient.patient_id, STEP, error))
            continue
        _keep_or_queue(bag, bags, statuses)
    return statuses + list(_embed_bags(bags, config, runtime))


def _patient_bag(
    study: Study, patient: TilePatient, config: ExtractionConfig, made_by: dict[str, Any], field_px: int
) -> tuple[_Bag, list[TileRequest]]:
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
            )
        )
    wanted = {
        **made_by, "schema": SCHEMA, "stain": "none", "stain_fit": "none (tile table)", "stain_reference": "none",
        "tile_um": 0.0, "tile_px": field_px, "mpp_source": "unknown (tile table)",
        "images": json.dumps(images.names), "images_left_out": json.dumps(images.left_out),
        "tile_fingerprint": settings_text({"images": prints}),
    }  # fmt: skip
    index = np.repeat(np.arange(len(coords)), [len(corners) for corners in coords]).astype(np.int64)
    path = study.feature_file(config.encoder, patient.patient_id)
    return _Bag(patient.patient_id, path, wanted, np.concatenate(coords), {}, index, n_requests=len(requests)), requests


def _keep_or_queue(
    bag: tuple[_Bag, list[TileRequest]], bags: list[tuple[_Bag, list[TileRequest]]], statuses: list[SlideStatus]
) -> None:
    reason = whats_stale(bag[0].path, bag[0].wanted)
    if reason is None:
        statuses.append(_done(bag[0].slide_id, bag[0].path))
        return
    if bag[0].path.exists():
        print(f"{bag[0].slide_id}: made again, because {reason}", flush=True)
    bags.append(bag)


def _embed_bags(
    bags: list[tuple[_Bag, list[TileRequest]]], config: ExtractionConfig, runtime: Runtime
) -> Iterator[SlideStatus]:
    from tqdm import tqdm

    by_id = {bag.slide_id: bag for bag, _ in bags}
    requests = [request for _, parts in bags for request in parts]
    blocks = stream_blocks(requests, workers=config.reading_workers, ahead=config.ahead, timeout_s=config.timeout_s)
    n_tiles = sum(len(request.coords) for request in requests)
    with tqdm(total=n_tiles, desc="embedding", unit="tile", disable=None) as progress:
        for request, outcome, is_last in blocks:
            bag = by_id.get(request.name)
            if bag is None:
                continue  # it failed before
            error = outcome.error
            if outcome.value is not None:
                progress.update(len(outcome.value.tiles) + len(outcome.value.unreadable))
                error = _add(bag, outcome.value, runtime)
            if error is not None:
                del by_id[request.name]
                bag.path.unlink(missing_ok=True)
                yield failed(bag.slide_id, STEP, error)
            elif is_last:
                bag.n_requests -= 1
                if bag.n_requests == 0:
                    del by_id[request.name]
                    yield _finish(bag)


def _add(bag: _Bag, block: TileBlock, runtime: Runtime) -> SlideError | None:
    from features.runtime import embed

    bag.unreadable.append(block.unreadable)
    if len(block.tiles):
        try:
            bag.features.append(embed(runtime, block.tiles))
        except ValueError as error:
            return SlideError(str(error))
    return None


def _finish(bag: _Bag) -> SlideStatus:
    unreadable = np.concatenate(bag.unreadable) if bag.unreadable else np.empty(0, np.int64)
    if not bag.features:
        bag.path.unlink(missing_ok=True)
        error = SlideError(
            f"none of its {len(bag.coords)} tiles can be read", "the file is damaged; copy or scan it again"
        )
        return failed(bag.slide_id, STEP, error)
    is_read = np.ones(len(bag.coords), dtype=bool)
    is_read[unreadable] = False
    index = bag.image_index[is_read] if len(bag.image_index) else bag.image_index
    features = np.concatenate(bag.features)
    assert len(features) == is_read.sum(), "a tile without an embedding"
    whole = FeatureBag(
        slide_id=bag.slide_id, features=features, coords=bag.coords[is_read], unreadable=unreadable,
        attributes=bag.wanted, image_index=index,
    )  # fmt: skip
    write_feature_bag(bag.path, whole, coords_attributes=bag.coords_attributes)
    return _done(bag.slide_id, bag.path)


def _done(slide_id: str, path: Path) -> SlideStatus:
    from features.feature_store import read_feature_bag

    bag = read_feature_bag(path)
    figures: dict[str, object] = {"n_tiles": len(bag.features), "n_unreadable": len(bag.unreadable)}
    if "images_left_out" in bag.attributes:
        figures["images_left_out"] = "; ".join(json.loads(bag.attributes["images_left_out"]))
    return SlideStatus(slide_id=slide_id, step=STEP, state="done", figures=figures)
