"""The synthetic study: its slides painted, its clinical table, and the truth behind both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.failures import StudyError
from common.files import read_rows, write_table
from common.guards.one_at_a_time import alone
from common.machine import default_workers
from common.parallel import over_slides
from common.study import Study, as_study
from preprocessing.synthetic.demo_settings import DemoConfig
from preprocessing.synthetic.slide_and_truth import make_slide
from preprocessing.synthetic.synthetic_cohort import cohort_rows, make_cohort, truth_rows


@dataclass(frozen=True)
class PaintedStudy:
    """A synthetic study, and how large it is; kept slides were there from an earlier run."""

    study: Study
    n_patients: int
    n_slides: int
    n_kept: int
    n_events: int


def paint_study(study: Path | Study, config: DemoConfig) -> PaintedStudy:
    """Make a synthetic study in a folder, or what is missing of it.

    Raises:
        StudyError: the folder holds another study, a slide could not be painted, or another run paints it.
    """
    study = as_study(study)
    with alone(study.root, "slides", what="make_demo_study.py"):
        return _paint(study, config)


def _paint(study: Study, config: DemoConfig) -> PaintedStudy:
    patients = make_cohort(config.patients, config.seed)
    table = _as_table(cohort_rows(patients))
    _refuse_another(study, table)
    jobs = [
        (recipe.slide_id, (recipe, study.slides / f"{recipe.slide_id}.tif", study.truth / f"{recipe.slide_id}.json"))
        for patient in patients
        for recipe in patient.slides
    ]
    workers = config.workers or default_workers()
    outcomes = list(over_slides(make_slide, jobs, workers=workers, timeout_s=config.timeout_s, title="painting"))
    errors = [f"{outcome.name}: {outcome.error}" for outcome in outcomes if outcome.error]
    if errors:
        raise StudyError(f"{len(errors)} slides could not be painted: {'; '.join(errors[:3])}")
    write_table(study.truth / "patients.csv", *_as_table(truth_rows(patients)))
    write_table(study.cohort_table, *table)  # last: a half-made study has no clinical table
    n_kept = sum(outcome.value == "kept" for outcome in outcomes)
    return PaintedStudy(study, len(patients), len(jobs), n_kept, sum(patient.event for patient in patients))


def _as_table(rows: list[dict[str, object]]) -> tuple[list[str], list[list[object]]]:
    names = list(rows[0])
    return names, [[row[name] for name in names] for row in rows]


def _refuse_another(study: Study, table: tuple[list[str], list[list[object]]]) -> None:
    """Never write over a study that is not this one."""
    if study.cohort_table.is_file():
        wanted = [table[0], *([str(value) for value in row] for row in table[1])]
        if sorted(read_rows(study.cohort_table)) != sorted(wanted):
            raise StudyError(f"{study.cohort_table} belongs to another study; give another folder with --study DIR")
    elif study.slides.is_dir():
        foreign = sorted(path.name for path in study.slides.iterdir() if not path.name.startswith((".", "SYN-")))
        if foreign:
            raise StudyError(
                f"{study.slides} holds other slides ({foreign[0]}, ...); give another folder with --study DIR"
            )
