"""Who trained a model: known from the run beside it, where that lies there, and never from the model itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from common.cohort import read_cohort
from common.failures import StudyError
from common.study import Study
from mil.models.ensemble import Ensemble
from mil.runs.facts import FOLD_SCHEMA, RUN_SCHEMA, TRAIN_AGAIN, FoldRecord, RunFacts
from mil.runs.record import read_sealed
from mil.runs.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class KnownPatients:
    """The patients of the run, the patient of each of their slides, and who trained which head (in the model's order)."""

    is_known: bool  # whether a run lies beside the model
    patients: frozenset[str] = frozenset()
    patient_of_slide: dict[str, str] = field(default_factory=dict)
    trained: tuple[frozenset[str], ...] = ()

    def match(self, patient: str, slides: tuple[str, ...]) -> str | None:
        """Return the run's patient who this is, by id or by one of the slides; None where it is nobody of the run."""
        if patient in self.patients:
            return patient
        return next((self.patient_of_slide[slide] for slide in slides if slide in self.patient_of_slide), None)

    def unseen_by(self, patient: str) -> list[int]:
        """Return the places of the heads that this patient did not train."""
        return [place for place, own in enumerate(self.trained) if patient not in own]


def patients_of_run(folder: RunFolder, facts: RunFacts) -> set[str]:
    """Return everybody who stands in a part of a fold."""
    return {patient for record in _records(folder, facts) for part in _parts(record) for patient in part}


def known_patients(model_file: Path, model: Ensemble) -> KnownPatients:
    """Return who trained a model.

    Raises:
        StudyError: the run beside it is another training: the model is not the run's own.
    """
    folder = RunFolder(model_file.resolve().parent)
    if not folder.facts.is_file():
        return KnownPatients(is_known=False)
    facts = read_sealed(folder.facts, RunFacts, RUN_SCHEMA, TRAIN_AGAIN)
    if [fold.sha256 for fold in model.record.folds] != [fold.model_sha256 for fold in facts.folds]:
        raise StudyError(
            f"{model_file} is not of the run beside it, which was trained anew since; write it with the same python "
            "mil/train.py, or move it away from there"
        )
    records = _records(folder, facts)
    patients = {patient for record in records for part in _parts(record) for patient in part}
    trained = tuple(frozenset((*record.patients.train, *record.patients.val)) for record in records)
    return KnownPatients(
        is_known=True, patients=frozenset(patients), trained=trained,
        patient_of_slide=_slides(folder, facts, patients),
    )  # fmt: skip


def _records(folder: RunFolder, facts: RunFacts) -> list[FoldRecord]:
    paths = [(folder.root / fold.model_file).with_suffix(".json") for fold in facts.folds]
    return [read_sealed(path, FoldRecord, FOLD_SCHEMA, TRAIN_AGAIN) for path in paths]


def _parts(record: FoldRecord) -> tuple[tuple[str, ...], ...]:
    return record.patients.train, record.patients.val, record.patients.test


def _slides(folder: RunFolder, facts: RunFacts, patients: set[str]) -> dict[str, str]:
    """Return slide to patient by the study's table, where the run still lies in its study."""
    if facts.patient_of:
        return {slide: slide for slide in patients}
    try:
        rows = read_cohort(Study(folder.root.parents[2]).cohort_table).rows
    except (StudyError, IndexError):
        return {}
    return {str(row["slide_id"]): str(row["patient_id"]) for row in rows if row["patient_id"] in patients}
