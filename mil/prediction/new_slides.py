"""Slide files to features made as the model's were, in a study folder of its own: the stages of a study, with its settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.cohort import TCGA_BARCODE, Cohort, read_cohort
from common.failures import SlideStatus, StudyError, failure_table
from common.files import write_table
from common.slide_files import find_slides
from common.study import Study
from common.tables.study_slides import CACHE_OPTIONS
from features.embedding.extraction_settings import ExtractionConfig
from features.embedding.study_embedding import embed_study
from features.encoder.registry import build_encoder, find_card
from features.exchange.folder import FeatureFolder, open_folder
from mil.bags.bags import BagStore, open_bags
from mil.models.ensemble import Ensemble
from mil.models.record import EnsembleRecord, StainReference
from mil.prediction.settings import PredictConfig
from preprocessing.colour.stain import REFERENCE, StainFit
from preprocessing.colour.stain_store import read_reference, reference_text, write_reference
from preprocessing.tiling.study_tiles import tile_study
from preprocessing.tiling.tiling_settings import TilingConfig

UNKNOWN = ("", "unknown", "None", "0", "0.0")


@dataclass(frozen=True)
class NewSlides(Study):
    """A study folder for slides that lie elsewhere, and perhaps a table that does."""

    slides_folder: Path
    table: Path

    @property
    def slides(self) -> Path:
        """The folder of slide files."""
        return self.slides_folder

    @property
    def cohort_table(self) -> Path:
        """The clinical table."""
        return self.table


@dataclass(frozen=True, kw_only=True)
class NewBags:
    """The bags to be predicted, and what became of slides that are in none."""

    study: NewSlides
    cohort: Cohort
    bags: BagStore
    failed: tuple[SlideStatus, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class PartMade:
    """Tiles and features of a part of the slides (--shard) were made; other parts are missing."""

    n_slides: int
    n_missing: int
    failed: tuple[SlideStatus, ...]


def new_bags(config: PredictConfig, model: Ensemble) -> NewBags | PartMade:
    """Return the bags of --slides, tiled and embedded with the model's own settings, or of --features.

    Of a part of the slides (`config.shard`) the bags of all, where the other parts have been made; else what was made.

    Raises:
        StudyError: an input is missing or faulty, nothing of it can be used, or features are not made as the model's.
    """
    record = model.record
    study = _study(config)
    cohort = read_cohort(study.cohort_table)
    notes = list(cohort.notes) if config.cohort is not None else []
    if record.unit == "slide":
        cohort = cohort.by_slide
    failed: list[SlideStatus] = []
    encoder = str(record.encoder.get("encoder", ""))
    if config.features is None:
        made, of_making = _features(study, config, record)
        notes += of_making
        if isinstance(made, PartMade):
            return made
        failed = made
    bags, _, missing = open_bags(study, cohort, encoder, features=config.features)
    what = f"the features in {config.features}" if config.features is not None else "the features made here"
    model.check_features(bags.provenance, what=what)
    known = {status.slide_id for status in failed}
    failed += [
        SlideStatus(
            slide_id=slide, step="predict", state="failed", reason="it has no features", remedy="make its features"
        )
        for slide in missing
        if slide not in known
    ]
    return NewBags(study=study, cohort=cohort, bags=bags, failed=tuple(failed), notes=tuple(notes))


def _study(config: PredictConfig) -> NewSlides:
    """Return the study folder, with a table of the slides found where none was given."""
    slides = config.slides if config.slides is not None else config.out / "slides"
    if config.cohort is not None:
        if not config.cohort.is_file():
            raise StudyError(f"--cohort: no table at {config.cohort}")
        return NewSlides(config.out, slides, config.cohort)
    names = sorted(find_slides(slides)) if config.slides is not None else sorted(_folder_of(config).files)
    table = config.out / "cohort.csv"
    write_table(table, ["patient_id", "slide_id"], [[_patient_of(name), name] for name in names])
    return NewSlides(config.out, slides, table)


def _folder_of(config: PredictConfig) -> FeatureFolder:
    assert config.features is not None, "the settings have one input"
    return open_folder(config.features)


def _patient_of(slide: str) -> str:
    """Return the patient in a TCGA barcode; else the slide is a patient of its own."""
    barcode = TCGA_BARCODE.search(slide)
    return slide if barcode is None else str(barcode["patient"])


def _features(
    study: NewSlides, config: PredictConfig, record: EnsembleRecord
) -> tuple[list[SlideStatus] | PartMade, list[str]]:
    """Tile and embed the slides; return those that failed, or that parts are missing, and what is to be known of the making."""
    tiling, extraction, notes = _settings(study, config, record)
    tiled = tile_study(study, tiling)
    is_part = config.shard is not None
    if not is_part and all(status.state == "failed" for status in tiled.statuses):
        raise StudyError(f"no slide of {study.slides} can be used.\n{failure_table(tiled.statuses)}")
    embedded: list[SlideStatus] = []
    if not is_part or any(study.tiles.glob("*.h5")):  # a part may have no slide that can be used
        embedded = [row for outcome in embed_study(study, extraction).outcomes for row in outcome.all_statuses]
    lost = {row.slide_id: row for row in (*embedded, *tiled.all_statuses) if row.state == "failed"}
    known = {row.slide_id for row in embedded} | lost.keys()
    wanted = {str(row["slide_id"]) for row in read_cohort(study.cohort_table).rows}
    if is_part and (missing := wanted - known):
        own = {row.slide_id for row in tiled.statuses}
        return PartMade(len(own), len(missing), tuple(lost[slide] for slide in sorted(own & lost.keys()))), notes
    return [lost[slide] for slide in sorted(lost)], [*notes, *tiled.notes]


def _settings(
    study: NewSlides, config: PredictConfig, record: EnsembleRecord
) -> tuple[TilingConfig, ExtractionConfig, list[str]]:
    encoder, notes = record.encoder, []
    for name in ("encoder", "tile_um", "tile_px"):
        if str(encoder.get(name)) in UNKNOWN:
            raise StudyError(
                f"the model was trained on features whose {name} is not known; make features of these slides as those were "
                "made, and give them with --features"
            )
    tiling = record.tiling
    if tiling is None:
        tiling = {"tile_um": float(encoder["tile_um"]), "tile_px": int(encoder["tile_px"])}
        notes.append("the model does not say how tissue and tiles were chosen for its training; defaults were taken")
    try:
        tiles = TilingConfig(
            study=study.root, mpp=config.mpp, workers=config.workers, shard=config.shard, scheduler=config.scheduler,
            slurm=config.slurm, **_cache_of(config), **tiling,
        )  # fmt: skip
    except TypeError as error:
        raise StudyError(f"the model's settings of tiles are of another version ({error}); train it again") from error
    _check_weights(config, record)
    reference = _reference(study, config, record, notes)
    sides = re.search(r"; squares of ([\d., ]+) µm side by side", str(encoder.get("transform", "")))
    extraction = ExtractionConfig(
        study=study.root, encoder=str(encoder["encoder"]), weights=config.weights, precision=str(encoder["precision"]),
        scales=None if sides is None else sides[1].replace(" ", ""), normalise=encoder.get("stain") == "normalised",
        stain_reference=reference, device=config.device, threads=config.threads,
        workers=config.workers, shard=config.shard, scheduler=config.scheduler, slurm=config.slurm, **_cache_of(config),
    )  # fmt: skip
    return tiles, extraction, notes


def _cache_of(config: PredictConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in CACHE_OPTIONS}


def _check_weights(config: PredictConfig, record: EnsembleRecord) -> None:
    """Refuse other weights of the encoder before any slide is read."""
    wanted = record.encoder.get("weights_sha256")
    found = build_encoder(find_card(str(record.encoder["encoder"])), config.weights).weights_sha256
    if found != wanted:
        raise StudyError(
            f"the model was trained on features of {record.encoder['encoder']} with weights_sha256 {wanted!r}, and its weights "
            f"here have {found!r}; give the file of those weights with --weights"
        )


def _reference(study: NewSlides, config: PredictConfig, record: EnsembleRecord, notes: list[str]) -> Path | None:
    """Return the file of the model's colour reference; None for the built-in one, or where colours stay as they are."""
    text = str(record.encoder.get("stain_reference", "none"))
    if config.stain_reference is not None:
        given = reference_text(read_reference(config.stain_reference))
        if given != text:
            raise StudyError(
                f"--stain_reference {config.stain_reference}: the model's slides were mapped to stain_reference {text!r}, and this "
                f"is {given!r}; leave the option out, or give that reference"
            )
        return config.stain_reference
    if record.stain_reference is None or text == reference_text(REFERENCE):
        return None
    if not record.stain_reference.is_exact:
        notes.append(
            "the model has its colour reference in four digits only; for the very same colours give its file with --stain_reference"
        )
    path = study.root / "stain_reference.json"
    write_reference(path, _fit_of(record.stain_reference), name="of the model", made_of={})
    return path


def _fit_of(known: StainReference) -> StainFit:
    lab = None if known.lab is None else np.array(known.lab)
    return StainFit(
        method="reference", matrix=np.array(known.matrix), p99=np.array(known.p99), pink=np.array(known.pink), lab=lab
    )


def statuses_of(failed: Sequence[SlideStatus]) -> list[dict[str, str]]:
    """Return failed slides as plain values."""
    return [
        {"slide_id": status.slide_id, "step": status.step, "reason": status.reason, "remedy": status.remedy}
        for status in failed
    ]
