"""One patient explained, here or by a worker: what its tiles contributed, the test of its map, its slides' files and exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from common.failures import SlideError, SlideStatus, StudyError, failed
from common.files import content_sha256
from common.study import Study
from mil.bags.bags import Bag, BagStore
from mil.explanation.contributions import Contributions, contributions
from mil.explanation.explained import ExplainedPatient, MapTest, PatientMade
from mil.explanation.exports.written import STEP, export_slide
from mil.explanation.faithfulness import likeness, untrained
from mil.explanation.flipping import flip
from mil.explanation.map_store import SlideMap, write_slide_map
from mil.explanation.settings import ExplainConfig
from mil.explanation.sheet_tiles import Furthest, furthest_of, merged
from mil.explanation.subsets import of_rows
from mil.heads.head import Head
from mil.models.ensemble import Ensemble, read_ensemble


@dataclass(frozen=True, kw_only=True)
class Explaining:
    """What is the same for all patients: the model's file, where things lie, and the settings."""

    study: Study
    out: Path
    tiles: Path  # the folder of the slides' contributions
    model_file: Path
    model_sha256: str  # by which a process knows the model that it has read
    config: ExplainConfig


@dataclass(frozen=True, kw_only=True)
class PatientJob:
    """A patient to be explained."""

    patient_id: str
    number: int  # its place, of which its random orders are drawn
    bags: BagStore  # of this patient alone
    places: tuple[int, ...]  # of the heads
    is_trained_on: bool
    files: Mapping[str, Path] | None  # slide files by slide id, a slide that lacks its own fails; None: no exports


def explain_patient(all_of: Explaining, job: PatientJob) -> PatientMade:
    """Explain a patient and leave its slides' files; the model is read once a process.

    Raises:
        SlideError: the patient's features cannot be read, or the model is another one now.
    """
    torch.set_num_threads(1)  # patients go side by side, and sums do not hang on the number of processors
    config = all_of.config
    model = _model(all_of.model_file, all_of.model_sha256)
    try:
        bag = job.bags.read(job.patient_id)
    except StudyError as error:
        raise SlideError(str(error)) from error
    heads, levels = [model.heads[place] for place in job.places], model.levels[list(job.places)]
    parts = contributions(heads, bag.tiles, model.output_names, levels)
    own = _explained(model, job, bag, parts)
    test = None
    if config.faithfulness:
        untaught = _untaught(all_of.model_file, all_of.model_sha256, config.seed)
        rng = np.random.default_rng([config.seed, job.number])
        test = _tested(heads, levels, [untaught[place] for place in job.places], bag, parts, rng)
    furthest: Furthest = {}
    exports: dict[str, dict[str, Path]] = {}
    lost: list[SlideStatus] = []
    known = _known(own, model.record.task, all_of.model_sha256)
    for each in _maps(bag, parts, own.told, known):
        write_slide_map(all_of.tiles / f"{each.slide_id}.h5", each)
        furthest = merged(furthest, furthest_of(each), config.sheet_tiles)
        if config.wanted and job.files is not None:
            try:
                exports[each.slide_id] = export_slide(
                    each, study=all_of.study, slide_file=job.files.get(each.slide_id), folder=all_of.out / "maps",
                    wanted=config.wanted,
                ).files  # fmt: skip
            except SlideError as error:
                lost.append(failed(each.slide_id, STEP, error))
    return PatientMade(own=own, test=test, furthest=furthest, exports=exports, failed=tuple(lost))


@lru_cache(maxsize=1)
def _model(file: Path, sha256: str) -> Ensemble:
    model = read_ensemble(file)
    if content_sha256(file) != sha256:
        raise SlideError(f"the model {file} was replaced meanwhile", "run explain.py again")
    return model


@lru_cache(maxsize=1)
def _untaught(file: Path, sha256: str, seed: int) -> Sequence[Head]:
    """Return the model's heads with weights drawn anew."""
    return [untrained(head, seed) for head in _model(file, sha256).heads]


def _explained(model: Ensemble, job: PatientJob, bag: Bag, parts: Contributions) -> ExplainedPatient:
    n = np.bincount(bag.slide_of_tile, minlength=len(bag.slide_ids))
    return ExplainedPatient(
        patient_id=bag.patient_id, told=parts.names[parts.told], told_at=parts.told, names=parts.names, values=parts.values,
        base=parts.base, residual=parts.residual, of_slides=parts.of_slides(bag.slide_of_tile, len(bag.slide_ids)),
        n_tiles=tuple(int(own) for own in n), slide_ids=bag.slide_ids, level=float(model.levels[list(job.places)].mean()),
        heads=tuple(model.record.folds[place].key for place in job.places), methods=parts.methods,
        is_trained_on=job.is_trained_on,
    )  # fmt: skip


def _tested(
    heads: Sequence[Head], levels: Float64[np.ndarray, " fold"], untaught: Sequence[Head], bag: Bag, parts: Contributions,
    rng: np.random.Generator,
) -> MapTest:  # fmt: skip
    told = parts.of_tiles[:, parts.told]
    outputs_of = of_rows(heads, bag.tiles, levels, is_of_classes=len(parts.names) > 1)
    other = contributions(untaught, bag.tiles, parts.names, levels)
    return MapTest(
        flipped=flip(outputs_of, {"contributions": told, "attention": parts.attention}, parts.told, rng),
        likeness=likeness(told, other.of_tiles[:, parts.told]), miss=float(abs(parts.residual[parts.told])),
        value=float(parts.values[parts.told] - parts.base[parts.told]),
    )  # fmt: skip


def _known(own: ExplainedPatient, task: str, model_sha256: str) -> dict[str, Any]:
    """Return what the file of each of a patient's slides says of the patient."""

    def by_output(values: np.ndarray) -> dict[str, float]:
        return {name: float(value) for name, value in zip(own.names, values, strict=True)}

    return {
        "task": task, "values": by_output(own.values), "base": by_output(own.base), "residual": by_output(own.residual),
        "level": own.level, "heads": list(own.heads), "methods": list(own.methods), "model_sha256": model_sha256,
    }  # fmt: skip


def _maps(bag: Bag, parts: Contributions, told: str, known: Mapping[str, Any]) -> Sequence[SlideMap]:
    is_placed = len(bag.coords) == len(bag.tiles)
    maps = []
    for place, slide in enumerate(bag.slide_ids):
        is_own = bag.slide_of_tile == place
        maps.append(
            SlideMap(
                slide_id=slide, patient_id=bag.patient_id, outputs=parts.names, told=told,
                contributions=parts.of_tiles[is_own], attention=parts.attention[is_own],
                coords=bag.coords[is_own] if is_placed else np.empty((0, 2), np.int64), coords_unit=bag.coords_unit,
                known=known,
            )
        )  # fmt: skip
    return maps
