"""One patient explained, here or by a worker: what its tiles contributed, the test of its map, its slides' files and exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from common.failures import SlideError, SlideStatus, StudyError, failed
from mil.bags.bags import Bag
from mil.explanation.contributions import Contributions, contributions
from mil.explanation.explained import ExplainedPatient, MapTest, PatientMade
from mil.explanation.exports.written import STEP, export_slide
from mil.explanation.faithfulness import likeness, untrained
from mil.explanation.flipping import flip
from mil.explanation.map_store import SlideMap, write_slide_map
from mil.explanation.patients import ToExplain, find_patients
from mil.explanation.settings import ExplainConfig
from mil.explanation.sheet_tiles import Furthest, furthest_of, merged
from mil.explanation.subsets import of_rows
from mil.heads.head import Head


def explain_patient(config: ExplainConfig, run: str, number: int, files: Mapping[str, Path] | None) -> PatientMade:
    """Explain a patient and leave its slides' files; what holds for all patients is read once a process and run.

    Args:
        config: the settings.
        run: a mark of the run that asks: what was read for another one may have changed since.
        number: the patient's place.
        files: slide files by slide id, a slide that lacks its own fails; None: no exports.

    Raises:
        SlideError: the patient's features cannot be read.
    """
    torch.set_num_threads(1)  # patients go side by side, and sums do not hang on the number of processors
    known = _known(config, run)
    what, patient = known.what, known.what.patients[number]
    try:
        bag = what.bags.read(patient)
    except StudyError as error:
        raise SlideError(str(error)) from error
    places, is_trained_on = what.heads_of(bag)
    heads, levels = [what.model.heads[place] for place in places], what.model.levels[list(places)]
    parts = contributions(heads, bag.tiles, what.model.output_names, levels)
    own = _explained(what, bag, parts, places, is_trained_on)
    rng = np.random.default_rng([config.seed, number])
    untaught = [known.untaught[place] for place in places] if config.faithfulness else []
    test = _tested(heads, levels, untaught, bag, parts, rng) if untaught else None
    furthest: Furthest = {}
    exports: dict[str, dict[str, Path]] = {}
    lost: list[SlideStatus] = []
    for each in _maps(what, bag, parts, own):
        write_slide_map(what.tiles / f"{each.slide_id}.h5", each)
        furthest = merged(furthest, furthest_of(each), config.sheet_tiles)
        if config.wanted and files is not None:
            try:
                exports[each.slide_id] = export_slide(
                    each, study=what.study, slide_file=files.get(each.slide_id), folder=what.out / "maps",
                    wanted=config.wanted,
                ).files  # fmt: skip
            except SlideError as error:
                lost.append(failed(each.slide_id, STEP, error))
    return PatientMade(own=own, test=test, furthest=furthest, exports=exports, failed=tuple(lost))


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What holds for all patients."""

    what: ToExplain
    untaught: Sequence[Head]


@lru_cache(maxsize=1)
def _known(config: ExplainConfig, run: str) -> _Known:
    what = find_patients(config)
    untaught = [untrained(head, config.seed) for head in what.model.heads] if config.faithfulness else []
    return _Known(what=what, untaught=untaught)


def _explained(
    what: ToExplain, bag: Bag, parts: Contributions, places: Sequence[int], is_trained_on: bool
) -> ExplainedPatient:
    n = np.bincount(bag.slide_of_tile, minlength=len(bag.slide_ids))
    return ExplainedPatient(
        patient_id=bag.patient_id, told=parts.names[parts.told], told_at=parts.told, values=parts.values, base=parts.base,
        residual=parts.residual, of_slides=parts.of_slides(bag.slide_of_tile, len(bag.slide_ids)),
        n_tiles=tuple(int(own) for own in n), slide_ids=bag.slide_ids,
        level=float(what.model.levels[list(places)].mean()),
        heads=tuple(what.model.record.folds[place].key for place in places), methods=parts.methods,
        is_trained_on=is_trained_on,
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


def _maps(what: ToExplain, bag: Bag, parts: Contributions, own: ExplainedPatient) -> Sequence[SlideMap]:
    is_placed = len(bag.coords) == len(bag.tiles)

    def by_output(values: np.ndarray) -> dict[str, float]:
        return {name: float(value) for name, value in zip(parts.names, values, strict=True)}

    known = {
        "task": what.model.record.task, "values": by_output(parts.values), "base": by_output(parts.base),
        "residual": by_output(parts.residual), "level": own.level, "heads": list(own.heads), "methods": list(parts.methods),
        "model_sha256": what.model_sha256,
    }  # fmt: skip
    maps = []
    for place, slide in enumerate(bag.slide_ids):
        is_own = bag.slide_of_tile == place
        maps.append(
            SlideMap(
                slide_id=slide, patient_id=bag.patient_id, outputs=parts.names, told=own.told,
                contributions=parts.of_tiles[is_own], attention=parts.attention[is_own],
                coords=bag.coords[is_own] if is_placed else np.empty((0, 2), np.int64), coords_unit=bag.coords_unit,
                known=known,
            )
        )  # fmt: skip
    return maps
