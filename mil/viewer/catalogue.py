"""The catalogue: patients with what a run says of them, and their slides with what tiling said.

A slide has a number, and every address of the viewer names slides by it: no name of a file is ever part of a path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from common.cohort import TCGA_BARCODE, read_cohort
from common.failures import SlideStatus, StudyError, earlier_statuses
from common.remote.address import Address
from common.study import Study
from common.tables.study_slides import SlideCacheConfig, study_slides
from mil.runs.figure_names import ATTENTION
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import FinishedRun, by_patient, read_run
from mil.runs.run_tables import KEYS

if TYPE_CHECKING:
    import pandas as pd

OUTCOMES = ("truth", "time", "event")


@dataclass(frozen=True, kw_only=True)
class ListedSlide:
    """A slide on the list."""

    number: int
    slide_id: str
    patient_id: str
    path: Path | None  # None: there is no file of it
    map_file: Path | None  # what explain.py wrote of it
    n_tiles: str = ""
    flags: tuple[str, ...] = ()
    fault: str = ""  # why tiling failed


@dataclass(frozen=True, kw_only=True)
class ListedPatient:
    """A patient on the list."""

    patient_id: str
    slides: tuple[int, ...]
    values: Mapping[str, str | float] = field(default_factory=dict)  # by column; what is not known is not there


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All that the list shows."""

    study: Study
    folder: RunFolder
    run: FinishedRun | None  # None: nothing was trained yet
    columns: tuple[str, ...]
    patients: tuple[ListedPatient, ...]
    slides: tuple[ListedSlide, ...]
    notes: tuple[str, ...]

    def slide(self, number: int) -> ListedSlide | None:
        """Return a slide by its number; None where there is none."""
        return self.slides[number] if 0 <= number < len(self.slides) else None


def make_catalogue(
    study: Study,
    *,
    task: str,
    name: str,
    slides: Path | None = None,
    maps: Path | None = None,
    cache: SlideCacheConfig | None = None,
) -> Catalogue:
    """Look through a study.

    Args:
        study: with a clinical table or without; tiled or not.
        task: of the run whose predictions are shown.
        name: of the run.
        slides: folder of slide files; None: the study's.
        maps: folder that explain.py wrote; None: that of the run.
        cache: where slides that lie elsewhere are fetched to; None: the defaults.

    Raises:
        StudyError: there is neither a slide nor a run, or the run is damaged.
    """
    folder, notes = RunFolder(study.run(task, name)), []
    run = read_run(folder) if folder.facts.is_file() else None
    if run is None:
        notes.append(f"No finished run in {folder.root.relative_to(study.root)}: slides are shown without predictions.")
    patient_of, addresses = _patients_of_slides(study)
    files = _slide_files(study, slides, patient_of, addresses, cache or SlideCacheConfig(), notes)
    known_maps = _maps(maps or folder.root / "explanation")
    slide_ids = sorted({*patient_of, *files, *known_maps})
    if not slide_ids:
        raise StudyError(f"nothing to show: no slide in {slides or study.slides} and no clinical table in {study.root}")
    if run is not None and not known_maps:
        notes.append(f"No maps of this run: make them with python mil/explain.py --task {task} --name {name}.")
    statuses = {status.slide_id: status for status in earlier_statuses(study.status_file, set(slide_ids))}
    listed = tuple(
        _listed(number, slide_id, patient_of, files, known_maps, statuses) for number, slide_id in enumerate(slide_ids)
    )
    values = {} if run is None else predicted_values(run)
    own = dict[str, list[int]]()
    for slide in listed:
        own.setdefault(slide.patient_id, []).append(slide.number)
    patients = tuple(
        ListedPatient(patient_id=patient, slides=tuple(numbers), values=values.get(patient, {}))
        for patient, numbers in sorted(own.items())
    )
    columns = tuple(dict.fromkeys(column for patient in patients for column in patient.values))
    return Catalogue(
        study=study, folder=folder, run=run, columns=columns, patients=patients, slides=listed, notes=tuple(notes)
    )


def predicted_values(run: FinishedRun) -> dict[str, dict[str, str | float]]:
    """Return for each bag of a run what its model predicts out of fold, averaged over repeats, and the outcome.

    Classes come with the most probable one, and whether it is the true one.
    """
    table = run.predictions[run.predictions["model"] == ATTENTION]
    kept = [name for name in OUTCOMES if name in table]
    numbers = [name for name in table.columns if name not in (*KEYS, *kept) and _is_numeric(table[name])]
    rows = by_patient(run.predictions, ATTENTION, numbers, kept)
    values = dict[str, dict[str, str | float]]()
    for patient, row in rows.iterrows():
        own: dict[str, str | float] = {}
        if run.classes:
            told = max(run.classes, key=lambda name: float(row[f"p_{name}"]))
            own["predicted"] = told
            if "truth" in row:
                own["truth"] = str(row["truth"])
                own["agrees"] = "yes" if told == own["truth"] else "no"
        own |= {name: str(row[name]) if name == "truth" else float(row[name]) for name in kept if name not in own}
        own |= {name: float(row[name]) for name in numbers}
        values[str(patient)] = own
    return values


def _is_numeric(column: pd.Series) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(column))


def _patients_of_slides(study: Study) -> tuple[dict[str, str], Mapping[str, Address]]:
    if not study.cohort_table.is_file():
        return {}, {}
    cohort = read_cohort(study.cohort_table)
    return {str(row["slide_id"]): str(row["patient_id"]) for row in cohort.rows}, cohort.addresses


def _slide_files(
    study: Study, folder: Path | None, patient_of: Mapping[str, str], addresses: Mapping[str, Address],
    cache: SlideCacheConfig, notes: list[str],
) -> Mapping[str, Path]:  # fmt: skip
    try:
        return study_slides(study, addresses, patient_of, cache, folder=folder)
    except StudyError as error:
        notes.append(f"No slide files, so no pictures: {error}")
        return {}


def _maps(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted((folder / "tiles").glob("[!.]*.h5"))}


def _listed(
    number: int, slide_id: str, patient_of: Mapping[str, str], files: Mapping[str, Path], maps: Mapping[str, Path],
    statuses: Mapping[str, SlideStatus],
) -> ListedSlide:  # fmt: skip
    barcode, status = TCGA_BARCODE.match(slide_id), statuses.get(slide_id)
    figures: Mapping[str, object] = {} if status is None else status.figures
    return ListedSlide(
        number=number, slide_id=slide_id, path=files.get(slide_id), map_file=maps.get(slide_id),
        patient_id=patient_of.get(slide_id) or (barcode["patient"] if barcode else slide_id),
        n_tiles=str(figures.get("n_tiles") or ""), flags=_words(str(figures.get("flags") or "")),
        fault="" if status is None or status.state == "done" else status.reason,
    )  # fmt: skip


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";") if part.strip())


def as_json(catalogue: Catalogue) -> dict[str, object]:
    """Return what the page is told of the catalogue; paths stay here."""
    run = catalogue.run
    return {
        "study": catalogue.study.root.resolve().name,
        "run": f"{catalogue.folder.root.parent.name}/{catalogue.folder.name}",
        "is_synthetic": run.facts.is_synthetic if run is not None else catalogue.study.truth.is_dir(),
        "has_report": catalogue.folder.report.is_file(),
        "is_survival": run is not None and "log_hazard" in run.predictions,
        "notes": catalogue.notes,
        "columns": catalogue.columns,
        "patients": [
            {"id": patient.patient_id, "slides": patient.slides, "values": dict(patient.values)}
            for patient in catalogue.patients
        ],
        "slides": [_slide_json(slide) for slide in catalogue.slides],
    }


def _slide_json(slide: ListedSlide) -> dict[str, object]:
    return {
        "number": slide.number, "id": slide.slide_id, "patient": slide.patient_id, "n_tiles": slide.n_tiles,
        "flags": slide.flags, "fault": slide.fault, "has_file": slide.path is not None, "has_map": slide.map_file is not None,
    }  # fmt: skip


def numbers_of(catalogue: Catalogue) -> Mapping[str, int]:
    """Return the number of each slide by its id."""
    return {slide.slide_id: slide.number for slide in catalogue.slides}
