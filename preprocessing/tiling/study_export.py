"""The tiles of a study as images: the loop over slides, and the tile table of the 2021 notebook (key.csv)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.cohort import Cohort, read_cohort
from common.failures import SlideError, SlideStatus, StudyError, failed, write_status
from common.files import write_table
from common.guards.one_at_a_time import alone
from common.machine import default_workers
from common.parallel import over_slides
from common.remote.ahead import fetched_ahead
from common.slide_files import no_such_slide
from common.study import Study, open_study
from common.table_cells import with_texts
from common.tables.study_slides import study_slides
from preprocessing.colour.stain import StainFit
from preprocessing.colour.stain_store import read_reference
from preprocessing.tiling.export_folder import remove_export, tile_names
from preprocessing.tiling.tile_export import STEP, ExportJob, export_slide
from preprocessing.tiling.tiling_settings import ExportConfig

if TYPE_CHECKING:
    import pandas as pd

TABLE_SETS = {"train": ("TRAIN", False), "val": ("TRAIN", False), "test": ("VALID", True)}  # training_set, is_valid


@dataclass(frozen=True, kw_only=True)
class StudyExport:
    """What became of each slide, and the tile table of those that are done."""

    statuses: list[SlideStatus]
    n_tiles: int
    has_sets: bool
    key_file: Path
    status_file: Path

    @property
    def n_done(self) -> int:
        """Number of slides whose tiles are there."""
        return sum(status.state == "done" for status in self.statuses)


def export_study(study: Path | Study, config: ExportConfig) -> StudyExport:
    """Write the tiles of a study's slides as images, with the status of each and the tile table.

    Raises:
        StudyError: the study, its clinical table, the reference or the table of folds is missing or wrong, or another
            run writes to the same folder.
    """
    study = open_study(study)
    cohort = read_cohort(study.cohort_table, where=config.where)
    if "subtype" not in cohort.slides.columns:
        raise StudyError(f"{study.cohort_table}: no column subtype, which key.csv gives as Label")
    sets = sets_of_patients(cohort.patients, config.splits, repeat=config.repeat, fold=config.fold)
    reference = read_reference(config.stain_reference) if config.normalise else None
    out = config.out or study.root / "export"
    with alone(out, "export", what="export_tiles.py"):
        return _export_all(study, cohort, config, out, sets, reference)


def _export_all(
    study: Study, cohort: Cohort, config: ExportConfig, out: Path, sets: Mapping[str, str] | None,
    reference: StainFit | None,
) -> StudyExport:  # fmt: skip
    statuses = _export(study, cohort, config, out, sets, reference)
    write_status(out / "status.csv", statuses)
    done = {status.slide_id for status in statuses if status.state == "done"}
    n_tiles = _write_key(out / "key.csv", cohort.slides[cohort.slides["slide_id"].isin(done)], sets)
    return StudyExport(
        statuses=statuses, n_tiles=n_tiles, has_sets=sets is not None, key_file=out / "key.csv",
        status_file=out / "status.csv",
    )  # fmt: skip


def _export(
    study: Study, cohort: Cohort, config: ExportConfig, out: Path, sets: Mapping[str, str] | None,
    reference: StainFit | None,
) -> list[SlideStatus]:  # fmt: skip
    """Return the status of every slide of the table: what cannot be exported at once, then what the workers say."""
    statuses: list[SlideStatus] = []
    jobs: dict[str, ExportJob] = {}
    slides = cohort.slides
    files = study_slides(study, cohort.addresses, set(slides["slide_id"]), config)
    for slide_id, patient, error in _slides_in_turn(study, slides, files, sets, config):
        if error is not None:
            statuses.append(failed(slide_id, STEP, error))
            continue
        jobs[slide_id] = ExportJob(
            slide_id=slide_id, slide=files[slide_id], tile_file=study.tile_file(slide_id), folder=out / patient / slide_id,
            format=config.format, max_tiles=config.max_tiles, reference=reference,
        )  # fmt: skip
    workers = config.workers if config.workers is not None else default_workers()
    work = [(slide_id, (job,)) for slide_id, job in jobs.items()]
    paths = {slide_id: job.slide for slide_id, job in jobs.items()}
    with fetched_ahead(paths, window=workers + 2, is_needed=lambda slide: not jobs[slide].folder.exists()) as ahead:
        for outcome in over_slides(export_slide, work, workers=workers, timeout_s=config.timeout_s, title="exporting"):
            ahead.done(outcome.name)
            if outcome.value is not None:
                statuses.append(outcome.value)
            elif outcome.error is not None:
                remove_export(jobs[outcome.name].folder)  # what lies there is not of this slide and settings
                statuses.append(failed(outcome.name, STEP, outcome.error))
    return statuses


def _slides_in_turn(
    study: Study, slides: pd.DataFrame, files: Mapping[str, Path], sets: Mapping[str, str] | None, config: ExportConfig
) -> Iterator[tuple[str, str, SlideError | None]]:
    """Yield slide and patient by the slide's name, and why it cannot be exported."""
    for _, row in slides.sort_values("slide_id").iterrows():
        slide_id, patient = str(row["slide_id"]), str(row["patient_id"])
        error = None
        if slide_id not in files:
            error = no_such_slide(slide_id, study.slides)
        elif not isinstance(row["subtype"], str):
            error = SlideError(
                "it has no subtype to be its label", "fill the column subtype, or leave it out by --where"
            )
        elif sets is not None and patient not in sets:
            error = SlideError(f"patient {patient} is not in fold {config.fold}", "make the table of folds anew")
        yield slide_id, patient, error


def _write_key(path: Path, slides: pd.DataFrame, sets: Mapping[str, str] | None) -> int:
    """Write key.csv, by patient, slide and place, and return its number of tiles; paths are relative to it."""
    names, rows = ["patient_ID", "Path", "Label"], []
    for _, row in slides.sort_values(["patient_id", "slide_id"]).iterrows():
        patient, slide_id = str(row["patient_id"]), str(row["slide_id"])
        given = [] if sets is None else list(TABLE_SETS[sets[patient]])
        tiles = tile_names(path.parent / patient / slide_id)
        rows += [[patient, f"{patient}/{slide_id}/{tile}", row["subtype"], *given] for tile in tiles]
    write_table(path, names if sets is None else [*names, "training_set", "is_valid"], rows)
    return len(rows)


def sets_of_patients(patients: pd.DataFrame, splits: Path | None, *, repeat: int, fold: int) -> dict[str, str] | None:
    """Return each patient's set ("train", "val" or "test"), from a table of folds or the clinical table; else None.

    Raises:
        StudyError: the table of folds is missing, lacks a column, has no such fold, or names an unknown set.
    """
    import pandas as pd

    if splits is None:
        if "set" not in patients.columns:
            return None
        return {str(patient): str(value) for patient, value in patients["set"].items()}
    if not splits.is_file():
        raise StudyError(f"no table of folds at {splits}; make one with splits/make_splits.py")
    try:
        table = with_texts(pd.read_csv(splits, dtype=str, encoding="utf-8-sig"))
    except ValueError as error:
        raise StudyError(f"{splits}: not readable as a CSV table ({error})") from error
    missing = [name for name in ("repeat", "fold", "patient_id", "set") if name not in table.columns]
    if missing:
        raise StudyError(f"{splits}: no column {', '.join(missing)}; wanted repeat, fold, patient_id, set")
    rows = table[(table["repeat"] == str(repeat)) & (table["fold"] == str(fold))]
    if rows.empty:
        folds = ", ".join(sorted(set(table["repeat"] + "/" + table["fold"])))
        raise StudyError(f"{splits}: no fold {fold} of repeat {repeat}; it has (repeat/fold) {folds}")
    unknown = sorted(set(rows["set"]) - set(TABLE_SETS))
    if unknown:
        raise StudyError(f"{splits}: set {', '.join(unknown)} is not train, val or test")
    return dict(zip(rows["patient_id"], rows["set"], strict=True))
