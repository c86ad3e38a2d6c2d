"""Make a synthetic study: slides painted by the physics of staining, a clinical table, and the truth behind both.

Five sarcoma subtypes, three sites with their own stains and scanners, one to three slides a patient, survival that
depends on planted mitoses and necrosis. Leaves slides/*.tif, cohort.csv and truth/. Run again, it makes what is missing.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import StudyError, command
from common.files import read_rows, write_table
from common.machine import default_workers
from common.parallel import over_slides
from common.settings import option, parse_config
from common.study import Study


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """The settings of make_demo_study.py."""

    study: Path = option(Path("study"), help="study folder to make", group="study")
    patients: int = option(60, help="number of patients; about 1.9 slides each", group="study")
    seed: int = option(0, help="seed of the whole study", group="study")
    workers: int | None = option(None, help="worker processes; unset: one a processor", group="work")
    timeout_s: float = option(600.0, help="time limit of a slide, seconds", group="work")

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.patients < 1:
            raise ValueError(f"--patients is a number from 1, got {self.patients}")
        if self.seed < 0:
            raise ValueError(f"--seed is a number from 0, got {self.seed}")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Make the study and say what is in it."""
    config = parse_config(DemoConfig, argv, section="make_demo_study", description=__doc__)
    from preprocessing.synthetic.slide_and_truth import make_slide
    from preprocessing.synthetic.synthetic_cohort import cohort_rows, make_cohort, truth_rows

    study = Study(config.study)
    patients = make_cohort(config.patients, config.seed)
    table = _as_table(cohort_rows(patients))
    _refuse_another(study, table)
    recipes = [slide for patient in patients for slide in patient.slides]
    jobs = [
        (recipe.slide_id, (recipe, study.slides / f"{recipe.slide_id}.tif", study.truth / f"{recipe.slide_id}.json"))
        for recipe in recipes
    ]
    workers = config.workers or default_workers()
    outcomes = list(over_slides(make_slide, jobs, workers=workers, timeout_s=config.timeout_s, title="painting"))
    errors = [f"{outcome.name}: {outcome.error}" for outcome in outcomes if outcome.error]
    if errors:
        raise StudyError(f"{len(errors)} slides could not be painted: {'; '.join(errors[:3])}")
    write_table(study.truth / "patients.csv", *_as_table(truth_rows(patients)))
    write_table(study.cohort_table, *table)  # last: a half-made study has no clinical table
    n_kept = sum(outcome.value == "kept" for outcome in outcomes)
    n_events = sum(patient.event for patient in patients)
    print(
        f"{study.root}: {len(patients)} patients, {len(recipes)} slides ({n_kept} were there), "
        f"{n_events} events. SYNTHETIC: no real patient is in it"
    )
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
