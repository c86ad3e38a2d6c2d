"""All patients of a run explained: a file a slide, exports, sheets, the tests of the maps, tables and pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.cohort import read_cohort
from common.failures import SlideError, SlideStatus, StudyError, failed
from common.files import write_table
from common.guards.one_at_a_time import alone
from common.guards.own_files import own_folder
from common.running.progress import followed
from common.tables.study_slides import study_slides
from mil.bags.bags import Bag
from mil.explanation.contributions import Contributions, contributions
from mil.explanation.explained import ExplainedPatient
from mil.explanation.exports.dicom import check_installed
from mil.explanation.exports.written import STEP, export_slide
from mil.explanation.faithfulness import SCHEMA, Faithfulness, judge, likeness, untrained
from mil.explanation.flipping import BagFaithfulness, flip
from mil.explanation.map_store import SlideMap, write_slide_map
from mil.explanation.page import write_pages
from mil.explanation.patients import ToExplain, find_patients
from mil.explanation.settings import ExplainConfig
from mil.explanation.sheet_tiles import SheetChoice, write_sheets
from mil.explanation.subsets import of_rows
from mil.heads.head import Head
from mil.runs.record import write_record


@dataclass(kw_only=True)
class _Measured:
    """What is gathered over patients."""

    bags: list[BagFaithfulness] = field(default_factory=list)
    likenesses: list[float] = field(default_factory=list)
    misses: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What was explained, and what came of it."""

    out: Path
    page: Path
    patients: tuple[ExplainedPatient, ...]
    faithfulness: Faithfulness | None
    failed: tuple[SlideStatus, ...]  # slides without the maps that were wanted
    most_residual: float


def explain_run(config: ExplainConfig, *, say: Callable[[str], None] = print) -> Explained:
    """Do what the script does.

    Args:
        config: the settings.
        say: receives what is to be known beforehand.

    Raises:
        StudyError: run, model, patients or features are missing, or do not fit each other.
    """
    if "dicom" in config.wanted:
        check_installed()
    what = find_patients(config)
    what.out.mkdir(parents=True, exist_ok=True)
    with alone(what.out, "explanation", what="explain.py"):
        return _explain(what, config, say)


def _explain(what: ToExplain, config: ExplainConfig, say: Callable[[str], None]) -> Explained:
    tiles_folder = own_folder(what.out / "tiles", below=what.out)
    files = _slide_files(what, config, say)
    untaught = [untrained(head, config.seed) for head in what.model.heads] if config.faithfulness else []
    measured, patients, lost, made = _Measured(), [], [], {}
    choice = SheetChoice(what.model.output_names, config.sheet_tiles)
    for number, patient in enumerate(followed(what.patients, title="explaining", unit=what.model.record.unit)):
        bag = what.bags.read(patient)
        places, is_trained_on = what.heads_of(bag)
        parts = _parts(what, bag, places)
        explained = _explained(what, bag, parts, places, is_trained_on)
        patients.append(explained)
        if config.faithfulness:
            _measure(measured, what, bag, parts, places, untaught, np.random.default_rng([config.seed, number]))
        for own in _maps(what, bag, parts, explained):
            write_slide_map(tiles_folder / f"{own.slide_id}.h5", own)
            choice.look(own)
            if config.wanted and files:
                try:
                    exported = export_slide(
                        own,
                        study=what.study,
                        slide_file=files.get(own.slide_id),
                        folder=what.out / "maps",
                        wanted=config.wanted,
                    )
                    made[own.slide_id] = exported.files
                except SlideError as error:
                    lost.append(failed(own.slide_id, STEP, error))
    found = judge(measured.bags, measured.likenesses, _relative(measured)) if measured.bags else None
    if found is not None:
        write_record(what.out / "faithfulness.json", found, SCHEMA)
    sheets = write_sheets(what.out, choice, study=what.study, files=files)
    _write_table(what.out / "contributions.csv", what, patients)
    page = write_pages(what, patients, found, made, sheets, lost)
    most = max(float(np.abs(own.parts.residual).max()) for own in patients)
    return Explained(
        out=what.out, page=page, patients=tuple(patients), faithfulness=found, failed=tuple(lost), most_residual=most
    )


def _slide_files(what: ToExplain, config: ExplainConfig, say: Callable[[str], None]) -> Mapping[str, Path]:
    """Return the slide files; none where there is no folder of them, unless one was named."""
    if not config.wanted and not config.sheet_tiles:
        return {}
    try:
        slides = {slide for patient in what.patients for slide in what.bags.slides_of(patient)}
        table = what.study.cohort_table
        addresses = read_cohort(table).addresses if table.is_file() else {}
        wanted = {slide: address for slide, address in addresses.items() if slide in slides}
        return study_slides(what.study, wanted, slides, config, folder=what.slides)
    except StudyError as error:
        if config.slides is not None:
            raise
        say(f"note: no slide files, so no maps on slides and no sheets ({error})")
        return {}


def _parts(what: ToExplain, bag: Bag, places: Sequence[int]) -> Contributions:
    heads = [what.model.heads[place] for place in places]
    return contributions(heads, bag.tiles, what.model.output_names, what.model.levels[list(places)])


def _explained(
    what: ToExplain, bag: Bag, parts: Contributions, places: Sequence[int], is_trained_on: bool
) -> ExplainedPatient:
    n = np.bincount(bag.slide_of_tile, minlength=len(bag.slide_ids))
    return ExplainedPatient(
        patient_id=bag.patient_id, told=parts.names[parts.told], parts=parts,
        of_slides=parts.of_slides(bag.slide_of_tile, len(bag.slide_ids)), n_tiles=tuple(int(own) for own in n),
        slide_ids=bag.slide_ids, level=float(what.model.levels[list(places)].mean()),
        heads=tuple(what.model.record.folds[place].key for place in places), is_trained_on=is_trained_on,
    )  # fmt: skip


def _measure(
    measured: _Measured, what: ToExplain, bag: Bag, parts: Contributions, places: Sequence[int], untaught: Sequence[Head],
    rng: np.random.Generator,
) -> None:  # fmt: skip
    heads, levels = [what.model.heads[place] for place in places], what.model.levels[list(places)]
    own = parts.of_tiles[:, parts.told]
    outputs_of = of_rows(heads, bag.tiles, levels, is_of_classes=len(parts.names) > 1)
    scores = {"contributions": own, "attention": parts.attention}
    measured.bags.append(flip(outputs_of, scores, parts.told, rng))
    other = contributions([untaught[place] for place in places], bag.tiles, parts.names, levels)
    if (alike := likeness(own, other.of_tiles[:, parts.told])) is not None:
        measured.likenesses.append(alike)
    measured.misses.append(float(abs(parts.residual[parts.told])))
    measured.values.append(float(parts.values[parts.told] - parts.base[parts.told]))


def _relative(measured: _Measured) -> list[float]:
    """Return what contributions miss of each patient, beside how far outputs lie from their base."""
    spread = max(float(np.sqrt(np.mean(np.square(measured.values)))), 1e-9)
    return [miss / spread for miss in measured.misses]


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


def _write_table(path: Path, what: ToExplain, patients: Sequence[ExplainedPatient]) -> None:
    names = [
        "patient_id", "slide_id", "output", "told", "n_tiles", "contribution", "patient_value", "patient_base", "patient_residual",
        "level", "heads", "methods", "in_training",
    ]  # fmt: skip
    rows = [
        [
            own.patient_id, slide, output, own.told, own.n_tiles[place], float(own.of_slides[place, at]),
            float(own.parts.values[at]), float(own.parts.base[at]), float(own.parts.residual[at]), own.level,
            " ".join(own.heads), " ".join(own.parts.methods), int(own.is_trained_on),
        ]
        for own in patients
        for place, slide in enumerate(own.slide_ids)
        for at, output in enumerate(what.model.output_names)
    ]  # fmt: skip
    write_table(path, names, rows)
