"""Predictions as files: a table, JSON with everything, a page a patient and one that lists them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.failures import SlideStatus
from common.files import write_json, write_table
from common.guards.own_files import own_folder, remove_own_files
from mil.models.ensemble import ClassOpinion, Ensemble, HazardOpinion
from mil.pages.page import write_page
from mil.prediction.new_slides import statuses_of
from mil.prediction.pages import index_page, patient_page
from mil.prediction.predicting import PatientPrediction, answer_of, set_of

SCHEMA = "predictions/1"
OWN_PAGE = re.compile(r"\d{4,}\.html")
Truth = Mapping[str, Mapping[str, Any]]


def write_predictions(
    out: Path, model: Ensemble, predictions: Sequence[PatientPrediction], *, failed: Sequence[SlideStatus],
    notes: Sequence[str], truth: Truth, model_sha256: str, evaluation: bool,
) -> None:  # fmt: skip
    """Write predictions.csv, predictions.json, index.html and patients/.

    Args:
        out: the folder.
        model: that predicted.
        predictions: in the order of patient ids.
        failed: slides that are in no prediction.
        notes: what is to be known of all.
        truth: what is known of patients, by column; empty without labels.
        model_sha256: of the model's file.
        evaluation: whether a page of an evaluation lies beside.
    """
    write_table(out / "predictions.csv", *_table(model, predictions, truth))
    write_json(out / "predictions.json", _record(model, predictions, failed, notes, truth, model_sha256))
    pages = own_folder(out / "patients", below=out)
    names = {own.patient_id: f"{number:04d}.html" for number, own in enumerate(predictions, start=1)}
    for own in predictions:
        write_page(pages / names[own.patient_id], patient_page(model, own, truth.get(own.patient_id, {})))
    remove_own_files(pages, OWN_PAGE, kept=set(names.values()))
    page = index_page(model, predictions, names, failed=failed, notes=notes, truth=truth, has_evaluation=evaluation)
    write_page(out / "index.html", page)


def _table(
    model: Ensemble, predictions: Sequence[PatientPrediction], truth: Truth
) -> tuple[list[str], list[list[object]]]:
    classes = model.record.classes
    known = sorted({name for row in truth.values() for name in row})
    of_task = (
        ["answer", "most_likely", *(f"p_{name}" for name in classes), "prediction_set"] if classes
        else ["log_hazard", "score", "risk_group", "median_survival", "restricted_mean"]
    )  # fmt: skip
    names = ["patient_id", "n_slides", "n_tiles", *of_task, "main_slide", "unlike", "in_training", "warnings"]
    rows: list[list[object]] = []
    for own in predictions:
        said: list[object] = []
        if own.classes is not None:
            among = set_of(own.classes, classes)
            likely = classes[int(own.classes.probabilities.argmax())]
            shares = [float(value) for value in own.classes.probabilities]
            said = [answer_of(own.classes, classes), likely, *shares, "" if among is None else " ".join(among)]
        if own.hazard is not None:
            hazard = own.hazard
            times = ("" if each is None else each for each in (hazard.median, hazard.restricted_mean))
            said = [hazard.log_hazard, hazard.score, hazard.group_name, *times]
        n_tiles, row = sum(slide.n_tiles for slide in own.slides), truth.get(own.patient_id, {})
        rows.append(
            [own.patient_id, len(own.slides), n_tiles, *said, own.main_slide, "; ".join(own.familiarity.unlike),
             int(own.trained[0] > 0), "; ".join(own.warnings), *(row.get(name, "") for name in known)]
        )  # fmt: skip
    return [*names, *(f"true_{name}" for name in known)], rows


def _record(
    model: Ensemble, predictions: Sequence[PatientPrediction], failed: Sequence[SlideStatus], notes: Sequence[str],
    truth: Truth, model_sha256: str,
) -> dict[str, Any]:  # fmt: skip
    record = model.record
    return {
        "schema": SCHEMA, "model_sha256": model_sha256, "task": record.task, "classes": list(record.classes),
        "unit": record.unit, "licence": record.licence, "is_by_synthetic_model": record.cohort.is_synthetic,
        "times": list(record.survival.times) if record.survival is not None else [],
        "time_unit": record.survival.unit if record.survival is not None else "",
        "notes": list(notes), "failed": statuses_of(failed),
        "patients": [_patient(model, own, truth.get(own.patient_id, {})) for own in predictions],
    }  # fmt: skip


def _patient(model: Ensemble, own: PatientPrediction, truth: Mapping[str, Any]) -> dict[str, Any]:
    names, opinion = model.output_names, own.classes or own.hazard
    assert opinion is not None, "a model says something"
    values = {"value": own.values, "base": own.base, "residual": own.residual}
    return {
        "patient_id": own.patient_id,
        **_said(model, opinion),
        "outputs": {
            name: {kind: float(part[place]) for kind, part in values.items()} for place, name in enumerate(names)
        },
        "told": names[own.told], "main_slide": own.main_slide,
        "slides": [
            {
                "slide_id": slide.slide_id, "n_tiles": slide.n_tiles,
                "contributions": {name: float(value) for name, value in zip(names, slide.contributions, strict=True)},
                "embedding_distance": own.familiarity.slides[slide.slide_id].embedding,
                "stain_distance": own.familiarity.slides[slide.slide_id].stain,
                "unlike": list(own.familiarity.slides[slide.slide_id].unlike),
            }
            for slide in own.slides
        ],
        "folds": [
            {
                "repeat": fold.repeat, "fold": fold.fold,
                "outputs": {name: float(value) for name, value in zip(names, row, strict=True)},
            }
            for fold, row in zip(model.record.folds, own.outputs, strict=True)
        ],
        "unlike": list(own.familiarity.unlike), "n_heads_trained_on": own.trained[0],
        "by_unseen_heads": None if own.unseen is None else _said(model, own.unseen),
        "warnings": list(own.warnings), "truth": dict(truth),
    }  # fmt: skip


def _said(model: Ensemble, opinion: ClassOpinion | HazardOpinion) -> dict[str, Any]:
    """Return an opinion as plain values."""
    classes = model.record.classes
    if isinstance(opinion, ClassOpinion):
        return {
            "answer": answer_of(opinion, classes),
            "probabilities": {name: float(p) for name, p in zip(classes, opinion.probabilities, strict=True)},
            "prediction_set": set_of(opinion, classes),
        }
    return {
        "log_hazard": opinion.log_hazard, "score": opinion.score, "risk_group": opinion.group_name,
        "median_survival": opinion.median, "restricted_mean": opinion.restricted_mean,
        "survival": [float(value) for value in opinion.survival],
    }  # fmt: skip
