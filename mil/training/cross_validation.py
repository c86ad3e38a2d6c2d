"""All folds of a run: each trained once, kept with its predictions, and united out of fold.

A fold's record is written after its model file and carries a fingerprint of everything it depends on, so a run that was
killed goes on at the first unfinished fold and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.failures import StudyError
from common.files import settings_text, write_json
from common.own_files import own_folder, remove_own_files
from common.settings import settings_of
from features.exchange.folder import ALIKE
from mil.bags.bags import BagStore
from mil.heads.gated_attention import GatedAttentionHead
from mil.runs.figure_names import ATTENTION
from mil.runs.model_file import SCHEMA, write_model
from mil.runs.run_store import FOLLOW_UP, PREDICTIONS, VALIDATION
from mil.training.classification_task import softmax, subtype_rows
from mil.training.covariates import Covariates
from mil.training.fitting import fit
from mil.training.fold_predictions import baseline_rows, write_predictions
from mil.training.packed import predict
from mil.training.survival_task import scale_of, survival_rows
from mil.training.targets import Targets
from mil.training.training_settings import WITHOUT_EFFECT, TrainConfig
from splits.fold_plan import FoldPlan

FOLD_FILE = re.compile(r"repeat-?\d+_fold-?\d+\.(json|safetensors)")

SHARED_FACTS = frozenset(
    {*ALIKE, "encoder_source", "licence", "dimension", "runtime"}
)  # of the features, in a model file


def check_plans(plans: Sequence[FoldPlan], targets: Targets, classes: Sequence[str]) -> None:
    """Refuse folds that cannot be trained.

    Raises:
        StudyError: a fold has no training patient, lacks a class, or has no event to learn from.
    """
    for plan in plans:
        where = f"repeat {plan.repeat}, fold {plan.fold}"
        if not plan.train:
            raise StudyError(f"{where} has no training patient with features and label")
        if classes:
            absent = set(range(len(classes))) - {targets.labels[patient] for patient in plan.train}
            if absent:
                named = ", ".join(classes[index] for index in sorted(absent))
                raise StudyError(f"{where} has no training patient of {named}; make splits with fewer --folds")
        elif not any(targets.events[patient] for patient in plan.train):
            raise StudyError(f"{where} has no event among its training patients; make splits with fewer --folds")


def run_folds(
    run_dir: Path,
    plans: Sequence[FoldPlan],
    bags: BagStore,
    targets: Targets,
    classes: Sequence[str],
    config: TrainConfig,
    *,
    covariates: Covariates | None = None,
) -> list[dict[str, Any]]:
    """Train every fold that is not finished and return the records of all."""
    from tqdm import tqdm

    models = own_folder(run_dir / "models", below=run_dir.parent)
    records, known = [], covariates or Covariates()
    for plan in tqdm(plans, desc=f"training {config.task}", unit="fold", disable=None):
        record_file = run_dir / "models" / f"{plan.stem}.json"
        fingerprint = _fingerprint(plan, bags, targets, classes, config, known)
        record = _finished(record_file, fingerprint)
        if record is None:
            record = _train_fold(run_dir, plan, bags, targets, classes, config, known) | {"fingerprint": fingerprint}
            write_json(record_file, record)
        records.append(record)
    wanted = {f"{plan.stem}{ending}" for plan in plans for ending in (".json", ".safetensors")}
    remove_own_files(models, FOLD_FILE, kept=wanted)  # of folds that are no longer part of the run
    return records


def _fingerprint(
    plan: FoldPlan,
    bags: BagStore,
    targets: Targets,
    classes: Sequence[str],
    config: TrainConfig,
    covariates: Covariates,
) -> str:
    everyone = [*plan.train, *plan.val, *plan.test]
    known = {
        "settings": settings_of(config, without=WITHOUT_EFFECT),
        "sets": [plan.repeat, plan.fold, plan.train, plan.val, plan.test],
        "classes": list(classes),
        "targets": [
            [part[patient] for patient in everyone if patient in part]
            for part in (targets.labels, targets.times, targets.events)
        ],
        "covariates": [covariates.names, [covariates.of(patient) for patient in everyone]],
        "features": [bags.fingerprint(patient) for patient in everyone],
        "versions": _numeric_versions(),
        "model": SCHEMA,
    }
    return hashlib.sha256(settings_text(known).encode()).hexdigest()


def _numeric_versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "numpy", "scikit-learn", "scipy")}


def _finished(record_file: Path, fingerprint: str) -> dict[str, Any] | None:
    try:
        record = json.loads(record_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    model_file = record_file.with_suffix(".safetensors")
    if record.get("fingerprint") != fingerprint or not model_file.is_file():
        return None
    is_same = hashlib.sha256(model_file.read_bytes()).hexdigest() == record["model_sha256"]
    return record if is_same else None


def _train_fold(
    run_dir: Path,
    plan: FoldPlan,
    bags: BagStore,
    targets: Targets,
    classes: Sequence[str],
    config: TrainConfig,
    covariates: Covariates,
) -> dict[str, Any]:
    fitted = fit(bags.read, plan.train, plan.val, targets, config, seed=[config.seed, plan.repeat, plan.fold])
    record: dict[str, Any] = {
        "repeat": plan.repeat, "fold": plan.fold, "n_train": len(plan.train), "n_val": len(plan.val),
        "n_test": len(plan.test), "stopped_by": fitted.stopped_by, "best_epoch": fitted.best_epoch,
        "n_epochs": len(fitted.history), "history": list(fitted.history), "model_file": f"models/{plan.stem}.safetensors",
        "covariate_medians": covariates.medians(plan.train),
    }  # fmt: skip
    record |= _attention_rows(fitted.head, plan, bags, targets, classes)
    means = {patient: bags.read(patient).tiles.mean(axis=0, dtype=np.float64) for patient in (*plan.train, *plan.test)}
    record["predictions"] += baseline_rows(plan, targets, classes, means, covariates)
    record["patients"] = {"train": list(plan.train), "val": list(plan.val), "test": list(plan.test)}
    metadata = {  # no patient's or slide's name: the model file is made to be given away
        "task": config.task, "classes": list(classes), "repeat": plan.repeat, "fold": plan.fold,
        "encoder": {name: value for name, value in bags.made_by.items() if name in SHARED_FACTS},
        "n_train": len(plan.train), "n_val": len(plan.val), "n_test": len(plan.test),
        "scale": record.get("scale"), "best_epoch": fitted.best_epoch,
        "settings": settings_of(config, without=WITHOUT_EFFECT),
    }  # fmt: skip
    model_file = run_dir / record["model_file"]
    write_model(model_file, fitted.head, metadata)
    record["model_sha256"] = hashlib.sha256(model_file.read_bytes()).hexdigest()
    return record


def _attention_rows(
    head: GatedAttentionHead, plan: FoldPlan, bags: BagStore, targets: Targets, classes: Sequence[str]
) -> dict[str, Any]:
    """Return test and inner validation predictions; for survival also the training risks that put them on a scale."""
    if classes:
        tested, held = (
            subtype_rows(plan, part, targets, softmax(predict(head, bags.read, part)), model=ATTENTION, classes=classes)
            for part in (plan.test, plan.val)
        )
        return {"predictions": tested, "validation": held}
    train_risk = predict(head, bags.read, plan.train)[:, 0]
    scale = scale_of(train_risk)
    tested, held, trained = (
        survival_rows(plan, part, targets, risk, model=ATTENTION, scale=scale)
        for part, risk in (
            (plan.test, predict(head, bags.read, plan.test)[:, 0]),
            (plan.val, predict(head, bags.read, plan.val)[:, 0]),
            (plan.train, train_risk),
        )
    )
    n_events = sum(targets.events[patient] for patient in plan.train)
    return {"predictions": tested, "validation": held, "training": trained, "scale": scale, "n_train_events": n_events}


def write_fold_tables(run_dir: Path, records: Sequence[dict[str, Any]], task: str, classes: Sequence[str]) -> None:
    """Write what all folds predicted: out of fold, for the inner validation part, and (survival) for training patients."""
    tables = {PREDICTIONS: "predictions", VALIDATION: "validation", FOLLOW_UP: "training"}
    for name, part in tables.items():
        if part == "training" and task == "subtype":
            continue
        rows = [row for record in records for row in record[part]]
        write_predictions(run_dir / name, rows, task, classes)
