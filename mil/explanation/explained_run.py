"""All patients of a run explained: each by a worker, then the verdict on the maps, sheets, table and pages of all together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.cluster.engine import engine_of
from common.cohort import read_cohort
from common.failures import SlideStatus, StudyError, failed, failure_table
from common.files import write_table
from common.guards.one_at_a_time import alone
from common.guards.own_files import own_folder
from common.machine import default_workers
from common.parallel import over_slides
from common.tables.study_slides import study_slides
from mil.explanation.explained import ExplainedPatient, MapTest, PatientMade
from mil.explanation.exports.dicom import check_installed
from mil.explanation.exports.written import STEP
from mil.explanation.faithfulness import SCHEMA, Faithfulness, judge
from mil.explanation.one_patient import Explaining, PatientJob, explain_patient
from mil.explanation.page import write_pages
from mil.explanation.patients import ToExplain, find_patients
from mil.explanation.settings import ExplainConfig
from mil.explanation.sheet_tiles import Furthest, merged, write_sheets
from mil.runs.record import write_record

MAX_WORKERS = 8  # each has PyTorch in its memory


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What was explained, and what came of it."""

    out: Path
    page: Path
    patients: tuple[ExplainedPatient, ...]
    faithfulness: Faithfulness | None
    failed: tuple[SlideStatus, ...]  # slides that are not explained, or without the maps that were wanted
    most_residual: float


def explain_run(config: ExplainConfig, *, say: Callable[[str], None] = print) -> Explained:
    """Do what the script does.

    Args:
        config: the settings.
        say: receives what is to be known beforehand.

    Raises:
        StudyError: run, model, patients or features are missing, or do not fit each other; or no patient can be explained.
    """
    if "dicom" in config.wanted:
        check_installed()
    what = find_patients(config)
    what.out.mkdir(parents=True, exist_ok=True)
    with alone(what.out, "explanation", what="explain.py"):
        own_folder(what.tiles, below=what.out)
        files = _slide_files(what, config, say)
        return _gathered(what, config, files, *_explain(what, config, files))


def _explain(
    what: ToExplain, config: ExplainConfig, files: Mapping[str, Path]
) -> tuple[list[PatientMade], list[SlideStatus]]:
    """Explain each patient; return what came of them, in their order, and slides that are lost."""
    made, lost = [], []
    slides = {patient: what.bags.slides_of(patient) for patient in what.patients}
    all_of = Explaining(
        study=what.study, out=what.out, tiles=what.tiles, model_file=what.model_file, model_sha256=what.model_sha256,
        config=config,
    )  # fmt: skip
    jobs = []
    for number, patient in enumerate(what.patients):
        own = {slide: files[slide] for slide in slides[patient] if slide in files} if files else None
        places, is_trained_on = what.heads_of(patient)
        job = PatientJob(
            patient_id=patient, number=number, bags=what.bags.of(patient), places=tuple(places), is_trained_on=is_trained_on,
            files=own,
        )  # fmt: skip
        jobs.append((patient, (all_of, job)))
    workers = min(default_workers(), MAX_WORKERS) if config.workers is None else config.workers
    with engine_of(config) as engine:
        for outcome in over_slides(
            explain_patient, jobs, workers=workers, timeout_s=config.timeout_s, title="explaining", unit=what.model.record.unit,
            engine=engine,
        ):  # fmt: skip
            if outcome.error is not None:
                lost += [failed(slide, STEP, outcome.error) for slide in slides[outcome.name]]
            else:
                assert outcome.value is not None
                made.append(outcome.value)
                lost += outcome.value.failed
    if not made:
        raise StudyError(f"no {what.model.record.unit} can be explained.\n{failure_table(lost)}")
    return made, lost


def _gathered(
    what: ToExplain, config: ExplainConfig, files: Mapping[str, Path], made: Sequence[PatientMade],
    lost: Sequence[SlideStatus],
) -> Explained:  # fmt: skip
    """Write what is of all patients together."""
    patients = [each.own for each in made]
    tests = [each.test for each in made if each.test is not None]
    found = _judged(tests) if tests else None
    if found is not None:
        write_record(what.out / "faithfulness.json", found, SCHEMA)
    furthest: Furthest = {}
    for each in made:
        furthest = merged(furthest, each.furthest, config.sheet_tiles)
    sheets = write_sheets(what.out, furthest, what.model.output_names, study=what.study, files=files)
    _write_table(what.out / "contributions.csv", what, patients)
    exports = {slide: kinds for each in made for slide, kinds in each.exports.items()}
    page = write_pages(what, patients, found, exports, sheets, lost)
    most = max(float(np.abs(own.residual).max()) for own in patients)
    return Explained(
        out=what.out, page=page, patients=tuple(patients), faithfulness=found, failed=tuple(lost), most_residual=most
    )


def _judged(tests: Sequence[MapTest]) -> Faithfulness:
    """Return the verdict; what contributions miss of each patient is told beside how far outputs lie from their base."""
    spread = max(float(np.sqrt(np.mean(np.square([test.value for test in tests])))), 1e-9)
    likenesses = [test.likeness for test in tests if test.likeness is not None]
    return judge([test.flipped for test in tests], likenesses, [test.miss / spread for test in tests])


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


def _write_table(path: Path, what: ToExplain, patients: Sequence[ExplainedPatient]) -> None:
    names = [
        "patient_id", "slide_id", "output", "told", "n_tiles", "contribution", "patient_value", "patient_base", "patient_residual",
        "level", "heads", "methods", "in_training",
    ]  # fmt: skip
    rows = [
        [
            own.patient_id, slide, output, own.told, own.n_tiles[place], float(own.of_slides[place, at]),
            float(own.values[at]), float(own.base[at]), float(own.residual[at]), own.level,
            " ".join(own.heads), " ".join(own.methods), int(own.is_trained_on),
        ]
        for own in patients
        for place, slide in enumerate(own.slide_ids)
        for at, output in enumerate(what.model.output_names)
    ]  # fmt: skip
    write_table(path, names, rows)
