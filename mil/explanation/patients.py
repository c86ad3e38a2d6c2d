"""Who is explained, and by which heads: patients of the run by those that never saw them, others by all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.failures import StudyError
from common.files import content_sha256
from common.guards.names import nearest
from common.study import Study, open_study
from mil.bags.bags import BagStore, bags_as_trained
from mil.explanation.settings import ExplainConfig
from mil.models.ensemble import Ensemble, read_ensemble
from mil.models.known_patients import KnownPatients, known_patients
from mil.runs.facts import RUN_SCHEMA, TRAIN_AGAIN, RunFacts
from mil.runs.record import read_sealed
from mil.runs.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class ToExplain:
    """The model, the patients with features, and where things lie."""

    study: Study
    slides: Path
    out: Path
    model_file: Path
    model: Ensemble
    model_sha256: str
    known: KnownPatients
    bags: BagStore
    patients: tuple[str, ...]
    is_by_other_model: bool = False  # a model from elsewhere, not that of a run of this study

    @property
    def tiles(self) -> Path:
        """The folder of the slides' contributions."""
        return self.out / "tiles"

    def heads_of(self, patient_id: str) -> tuple[list[int], bool]:
        """Return the places of the heads that explain a patient, and whether they trained on it."""
        was = self.known.match(patient_id, tuple(self.bags.slides_of(patient_id)))
        everyone = list(range(len(self.model.heads)))
        if was is None:
            return everyone, False
        unseen = self.known.unseen_by(was)
        return (unseen, False) if unseen else (everyone, True)


def find_patients(config: ExplainConfig) -> ToExplain:
    """Return what is to be explained.

    Raises:
        StudyError: no such run, model or patient, or features that do not fit the model.
    """
    study = open_study(config.study)
    folder = RunFolder(study.run(config.task, config.name))
    path = folder.model if config.model is None else config.model
    model = read_ensemble(path)
    settings = _settings_of_run(folder) if config.model is None else {}
    bags = bags_as_trained(
        study, settings, by_slide=model.record.unit == "slide", features=config.features,
        encoder=str(model.record.encoder.get("encoder", "")), limit_bytes=0,
    )  # fmt: skip
    model.check_features(bags.provenance)
    known = known_patients(path, model)
    out = config.out or (folder.explanation if config.model is None else study.root / "explanation")
    patients = bags.patients if config.model is not None else [own for own in bags.patients if own in known.patients]
    if config.only is not None:
        if strange := sorted(config.only - set(patients)):
            raise StudyError(
                f"--patients: nobody with features is called {strange[0]!r}{nearest(strange[0], patients)}"
            )
        patients = [own for own in patients if own in config.only]
    if not patients:
        raise StudyError(f"no patient of {folder.root} has features any more; make them again, or give --features")
    return ToExplain(
        study=study, slides=config.slides or study.slides, out=out, model_file=path, model=model, model_sha256=content_sha256(path),
        known=known, bags=bags, patients=tuple(patients), is_by_other_model=config.model is not None,
    )  # fmt: skip


def _settings_of_run(folder: RunFolder) -> dict[str, str]:
    if not folder.facts.is_file():
        raise StudyError(f"no finished run in {folder.root}; train it with python mil/train.py")
    return dict(read_sealed(folder.facts, RunFacts, RUN_SCHEMA, TRAIN_AGAIN).settings)
