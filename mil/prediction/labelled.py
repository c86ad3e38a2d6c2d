"""The evaluation of predictions of patients whose labels are known: all metrics of a run, of one model and no baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from common.cohort import Cohort
from common.failures import StudyError
from common.files import write_table
from common.guards.own_files import own_folder
from mil.evaluation.evaluation import metrics_of_run
from mil.evaluation.metrics_record import NotEvaluated, RunMetrics, write_metrics
from mil.models.ensemble import Ensemble
from mil.prediction.predicting import PatientPrediction
from mil.report.report import write_results_of_new_patients
from mil.runs.bare_run import bare_run
from mil.runs.facts import SplitFacts
from mil.runs.figure_names import ATTENTION
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import FinishedRun
from mil.tasks.registry import task_named
from mil.tasks.task import Task

Truth = Mapping[str, Mapping[str, Any]]


def truth_of(cohort: Cohort, task: Task, patients: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what the table knows of the patients in the task's columns; nobody where a column is missing."""
    columns = list(task.training.columns)
    table = cohort.patients
    if not set(columns) <= set(table.columns):
        return {}
    known = table.reindex(pd.Index(list(patients)))[columns].dropna()
    return {
        str(patient): {str(name): _plain(value) for name, value in row.items()}
        for patient, row in known.to_dict("index").items()
    }


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def evaluate_predictions(
    out: Path, model: Ensemble, predictions: Sequence[PatientPrediction], truth: Truth, *, n_bootstrap: int, seed: int
) -> tuple[RunMetrics | None, str]:
    """Write evaluation/ (predictions.csv, metrics.json, report.html, figures/), and return the metrics, or why there are none.

    Patients in whose training the model was are left out: their predictions are no evidence.

    Args:
        out: the folder of the predictions.
        model: that predicted.
        predictions: of all patients.
        truth: labels by patient.
        n_bootstrap: patient bootstraps of the intervals.
        seed: of the bootstrap.
    """
    record, task = model.record, task_named(model.record.task)
    used = [own for own in predictions if own.patient_id in truth and not own.trained[0]]
    strange: list[str] = []
    if record.classes:
        column = task.training.columns[0]
        strange = sorted({str(truth[own.patient_id][column]) for own in used} - set(record.classes))
        used = [own for own in used if str(truth[own.patient_id][column]) in record.classes]
    left_out = len([own for own in predictions if own.patient_id in truth]) - len(used)
    why = f"; {left_out} with labels left out (in the training, or of a class the model does not know{_named(strange)})"
    if len(used) < 2:
        return None, f"too few patients with labels to evaluate: {len(used)}{why if left_out else ''}"
    names, rows = _rows(model, task, used, truth)
    folder = RunFolder(own_folder(out / "evaluation", below=out))
    run = _run(folder, model, pd.DataFrame(rows, columns=names), used)
    try:
        metrics = metrics_of_run(run, task.evaluation, n_bootstrap=n_bootstrap, seed=seed)
    except StudyError as error:
        return None, str(error)
    assert not isinstance(metrics, NotEvaluated), "there are predictions"
    write_table(folder.predictions, names, rows)
    write_metrics(folder, metrics)
    words = f"{len(used)} {record.unit}s who trained nothing of the model{why if left_out else ''}."
    write_results_of_new_patients(run, metrics, task.report, words)
    return metrics, words


def _named(classes: Sequence[str]) -> str:
    return f": {', '.join(classes)}" if classes else ""


def _rows(
    model: Ensemble, task: Task, used: Sequence[PatientPrediction], truth: Truth
) -> tuple[list[str], list[list[object]]]:
    first, rows = ["repeat", "fold", "patient_id", "model"], []
    for own in used:
        known, start = truth[own.patient_id], [0, 0, own.patient_id, ATTENTION]
        if own.classes is not None:
            shares = [float(value) for value in own.classes.probabilities]
            rows.append([*start, str(known[task.training.columns[0]]), *shares])
        elif own.hazard is not None:
            said = [own.hazard.log_hazard, own.hazard.score, own.hazard.group]
            rows.append([*start, float(known["time"]), int(known["event"]), *said])
    if model.record.classes:
        return [*first, "truth", *(f"p_{name}" for name in model.record.classes)], rows
    return [*first, "time", "event", "log_hazard", "score", "risk_group"], rows


def _run(folder: RunFolder, model: Ensemble, table: pd.DataFrame, used: Sequence[PatientPrediction]) -> FinishedRun:
    """Return the predictions as a run of which nothing was trained here."""
    record = model.record
    return bare_run(
        folder, table, name="predictions", task=record.task, classes=record.classes,
        command="python mil/predict.py", settings=record.settings,
        split=SplitFacts(name="new patients", n_repeats=1, n_folds=1), is_synthetic=record.cohort.is_synthetic,
        n_slides=sum(len(own.slides) for own in used),
        n_tiles=sum(slide.n_tiles for own in used for slide in own.slides), encoder=record.encoder,
        versions=record.versions, time_unit="" if record.survival is None else record.survival.unit,
    )  # fmt: skip
