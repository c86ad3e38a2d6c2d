"""Write the tiles of a study as images, their colours normalised, with a tile table in the form of the 2021 notebook.

Leaves OUT/<patient>/<slide>/*.jpg, OUT/key.csv (patient_ID, Path, Label, training_set, is_valid) and OUT/status.csv. The
sets come from the clinical table's column set, or from a fold (--splits, --fold): train and val are TRAIN, test is VALID.
features/extract_features.py --tiles OUT/key.csv embeds them. Run again, it makes what is missing.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import SlideError, SlideStatus, StudyError, command, exit_code, failed, failure_table, write_status
from common.files import write_table
from common.machine import default_workers
from common.parallel import over_slides
from common.settings import option, parse_config
from common.slide_files import find_slides
from common.study import Study, open_study

if TYPE_CHECKING:
    import pandas as pd

    from preprocessing.colour.stain import StainFit

FORMAT_NAMES = ("jpeg", "png")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """The settings of export_tiles.py."""

    study: Path = option(Path("study"), help="study folder, tiled", group="study")
    where: str | None = option(
        None,
        help="only slides of rows for which this holds, such as \"site == 'A'\" (of a missing value nothing holds); "
        "key.csv names these alone",
        group="study",
    )
    out: Path | None = option(None, help="folder for the images; unset: export in the study folder", group="images")
    format: str = option("jpeg", help="jpeg (quality 95) or png", group="images")
    max_tiles: int | None = option(None, help="most tiles of a slide, spread evenly; unset: all", group="images")
    normalise: bool = option(True, help="map each slide's colours to the reference by its fit", group="colour")
    stain_reference: Path | None = option(
        None, help="colours to map to: an image, or a JSON of make_stain_reference.py; unset: built in", group="colour"
    )
    splits: Path | None = option(None, help="table of folds that says who trains; unset: column set", group="sets")
    repeat: int = option(0, help="repeat of the table of folds", group="sets")
    fold: int = option(0, help="fold of the table of folds", group="sets")
    workers: int | None = option(None, help="worker processes; unset: one a processor", group="work")
    timeout_s: float = option(1800.0, help="time limit of a slide, seconds", group="work")

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.format not in FORMAT_NAMES:
            raise ValueError(f"--format is {' or '.join(FORMAT_NAMES)}, got {self.format!r}")
        if self.max_tiles is not None and self.max_tiles < 1:
            raise ValueError(f"--max_tiles is a number from 1, got {self.max_tiles}")
        if self.timeout_s <= 0:
            raise ValueError(f"--timeout_s is a time above 0 s, got {self.timeout_s}")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Export the tiles and say what became of each slide."""
    config = parse_config(ExportConfig, argv, section="export_tiles", description=__doc__)
    study = open_study(config.study)
    from common.cohort import read_cohort
    from preprocessing.colour.stain_store import read_reference
    from preprocessing.tiling.tile_export import sets_of_patients

    cohort = read_cohort(study.cohort_table, where=config.where)
    if "subtype" not in cohort.slides.columns:
        raise StudyError(f"{study.cohort_table}: no column subtype, which key.csv gives as Label")
    sets = sets_of_patients(cohort.patients, config.splits, repeat=config.repeat, fold=config.fold)
    reference = read_reference(config.stain_reference) if config.normalise else None
    out = config.out or study.root / "export"
    statuses = _export(study, cohort.slides, config, out, sets, reference)
    write_status(out / "status.csv", statuses)
    done = {status.slide_id for status in statuses if status.state == "done"}
    n_tiles = _write_key(out, cohort.slides[cohort.slides["slide_id"].isin(done)], sets)
    print(failure_table(statuses) or f"{len(done)} slides, {n_tiles} tiles")
    if sets is None:
        print("no sets in key.csv: the clinical table has no column set, and no --splits was given")
    print(f"tile table: {out / 'key.csv'}; status of each slide: {out / 'status.csv'}")
    return exit_code(statuses)


def _export(
    study: Study, slides: "pd.DataFrame", config: ExportConfig, out: Path, sets: Mapping[str, str] | None,
    reference: "StainFit | None",
) -> list[SlideStatus]:  # fmt: skip
    from preprocessing.tiling.tile_export import STEP, ExportJob, export_slide, remove_export

    files, jobs, statuses, folders = find_slides(study.slides), [], [], {}
    for _, row in slides.sort_values("slide_id").iterrows():
        slide_id, patient = str(row["slide_id"]), str(row["patient_id"])
        error = None
        if slide_id not in files:
            error = SlideError("the table has this slide, but there is no such file", "add the file, or remove the row")
        elif not isinstance(row["subtype"], str):
            error = SlideError(
                "it has no subtype to be its label", "fill the column subtype, or leave it out by --where"
            )
        elif sets is not None and patient not in sets:
            error = SlideError(f"patient {patient} is not in fold {config.fold}", "make the table of folds anew")
        if error is not None:
            statuses.append(failed(slide_id, STEP, error))
            continue
        job = ExportJob(
            slide_id=slide_id, slide=files[slide_id], tile_file=study.tile_file(slide_id), folder=out / patient / slide_id,
            format=config.format, max_tiles=config.max_tiles, reference=reference,
        )  # fmt: skip
        jobs.append((slide_id, (job,)))
        folders[slide_id] = job.folder
    workers = config.workers if config.workers is not None else default_workers()
    for outcome in over_slides(export_slide, jobs, workers=workers, timeout_s=config.timeout_s, title="exporting"):
        if outcome.value is not None:
            statuses.append(outcome.value)
        elif outcome.error is not None:
            remove_export(folders[outcome.name])  # what lies there is not of this slide and settings
            statuses.append(failed(outcome.name, STEP, outcome.error))
    return statuses


def _write_key(out: Path, slides: "pd.DataFrame", sets: Mapping[str, str] | None) -> int:
    """Write key.csv, by patient, slide and place; paths are relative to it."""
    from preprocessing.tiling.tile_export import TABLE_SETS, tile_names

    names, rows = ["patient_ID", "Path", "Label"], []
    for _, row in slides.sort_values(["patient_id", "slide_id"]).iterrows():
        patient, slide_id = str(row["patient_id"]), str(row["slide_id"])
        given = [] if sets is None else list(TABLE_SETS[sets[patient]])
        tiles = tile_names(out / patient / slide_id)
        rows += [[patient, f"{patient}/{slide_id}/{tile}", row["subtype"], *given] for tile in tiles]
    write_table(out / "key.csv", names if sets is None else [*names, "training_set", "is_valid"], rows)
    return len(rows)


if __name__ == "__main__":
    sys.exit(main())
