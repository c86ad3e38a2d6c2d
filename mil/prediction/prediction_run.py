"""All of predict.py in its order: model, features, predictions, evaluation where labels are known, files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.cluster.cluster_settings import OF_CLUSTER
from common.cohort import read_cohort
from common.failures import SlideStatus, StudyError
from common.files import content_sha256, settings_text
from common.guards.one_at_a_time import alone
from common.running.progress import followed
from common.settings import settings_of
from common.sharing.claims import Claims
from common.study import open_study
from mil.evaluation.metrics_record import RunMetrics
from mil.models.ensemble import Ensemble, read_ensemble
from mil.models.known_patients import KnownPatients, known_patients
from mil.prediction.labelled import evaluate_predictions, truth_of
from mil.prediction.new_slides import NewBags, PartMade, new_bags
from mil.prediction.predicting import PatientPrediction, predict_patient
from mil.prediction.settings import PredictConfig
from mil.prediction.written import write_predictions
from mil.runs.notices import SYNTHETIC_MODEL
from mil.runs.run_folder import RunFolder
from mil.tasks.registry import task_named


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What was predicted, and what came of it."""

    patients: tuple[PatientPrediction, ...]
    failed: tuple[SlideStatus, ...]
    metrics: RunMetrics | None  # where labels are known
    words: str  # on the evaluation, or why there is none; "" without labels
    table: Path
    page: Path


def model_file(config: PredictConfig) -> Path:
    """Return the model that is named, or that of a run of the study.

    Raises:
        StudyError: there is no such study.
    """
    if config.model is not None:
        return config.model
    return RunFolder(open_study(config.study).run(config.task, config.name)).model


def _has_addresses(table: Path | None) -> bool:
    return table is not None and table.is_file() and bool(read_cohort(table).addresses)


def predict_slides(config: PredictConfig, *, say: Callable[[str], None] = print) -> Predictions | PartMade:
    """Do what the script does.

    Runs with the same settings share tiling and embedding, then predict one after the other.

    Args:
        config: the settings.
        say: receives what is to be known beforehand, a text at a time.

    Raises:
        StudyError: the model or an input is missing or faulty, or does not fit the other, or another run predicts otherwise into
            the same folder; the message says how.
    """
    path = model_file(config)
    model = read_ensemble(path)
    if config.slides is None and config.features is None and not _has_addresses(config.cohort):
        raise StudyError(
            "what is to be predicted? Give --slides (a folder of slide files), --features, or a --cohort whose column slide_url "
            f"says where slides lie; the model is {path}"
        )
    if model.record.cohort.is_synthetic:
        say(SYNTHETIC_MODEL)
    config.out.mkdir(parents=True, exist_ok=True)
    model_sha256 = content_sha256(path)
    settings = settings_of(
        config, without=("study", "task", "name", "model", "device", "workers", "threads", *OF_CLUSTER)
    )
    with Claims(config.out, {"predictions": settings_text({**settings, "model": model_sha256})}, what="predict.py"):
        found = new_bags(config, model)
        if isinstance(found, PartMade):
            return found
        with alone(config.out, "predictions", what="predict.py", waits=config.slides is not None):
            return _predicted(config, model, found, known_patients(path, model), model_sha256, say)


def _predicted(
    config: PredictConfig, model: Ensemble, found: NewBags, known: KnownPatients, model_sha256: str,
    say: Callable[[str], None],
) -> Predictions:  # fmt: skip
    """Predict the patients and write all that there is to say."""
    for note in found.notes:
        say(f"note: {note}")
    patients = found.bags.patients
    predictions = [
        predict_patient(model, found.bags.read(patient), study=found.study, known=known, unit=model.record.unit)
        for patient in followed(patients, title="predicting", unit=model.record.unit)
    ]
    task = task_named(model.record.task)
    truth = truth_of(found.cohort, task, patients)
    metrics, words = None, ""
    if truth:
        metrics, words = evaluate_predictions(
            config.out, model, predictions, truth, n_bootstrap=config.bootstrap, seed=config.seed
        )
    write_predictions(
        config.out, model, predictions, failed=found.failed, notes=found.notes, truth=truth,
        model_sha256=model_sha256, evaluation=metrics is not None,
    )  # fmt: skip
    return Predictions(
        patients=tuple(predictions), failed=found.failed, metrics=metrics, words=words,
        table=config.out / "predictions.csv", page=config.out / "index.html",
    )  # fmt: skip
