"""All folds of a run: each trained once, kept with its predictions, and united out of fold.

A fold's record is written after its model file and carries a fingerprint of everything it depends on, so a run that was
killed goes on at the first unfinished fold and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from common.artifacts import settings_text, write_json, write_table
from common.failures import StudyError
from common.settings import settings_of
from mil.bags import BagStore
from mil.baseline import fit_mean_pool_classifier, fit_mean_pool_cox
from mil.fitting import Targets, fit, predict
from mil.model_file import write_model
from mil.training_settings import WITHOUT_EFFECT, TrainConfig

if TYPE_CHECKING:
    import pandas as pd

ATTENTION, MEAN_POOL = "attention", "mean_pool"


@dataclass(frozen=True, kw_only=True)
class FoldPlan:
    """Who trains, decides when to stop, and is tested in one fold."""

    repeat: int
    fold: int
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def stem(self) -> str:
        """The file name of the fold's model and record."""
        return f"repeat{self.repeat}_fold{self.fold}"


def plan_folds(splits: pd.DataFrame, usable: set[str]) -> list[FoldPlan]:
    """Turn a table of folds into plans over the usable patients."""
    plans = []
    for _, rows in splits.groupby(["repeat", "fold"], sort=True):
        sets = {
            name: tuple(sorted(set(rows.loc[rows["set"] == name, "patient_id"]) & usable))
            for name in ("train", "val", "test")
        }
        plans.append(FoldPlan(repeat=int(rows["repeat"].iloc[0]), fold=int(rows["fold"].iloc[0]), **sets))
    return plans


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
) -> list[dict[str, Any]]:
    """Train every fold that is not finished and return the records of all."""
    from tqdm import tqdm

    records = []
    for plan in tqdm(plans, desc=f"training {config.task}", unit="fold", disable=None):
        record_file = run_dir / "models" / f"{plan.stem}.json"
        fingerprint = _fingerprint(plan, bags, targets, classes, config)
        record = _finished(record_file, fingerprint)
        if record is None:
            record = _train_fold(run_dir, plan, bags, targets, classes, config) | {"fingerprint": fingerprint}
            write_json(record_file, record)
        records.append(record)
    wanted = {f"{plan.stem}{ending}" for plan in plans for ending in (".json", ".safetensors")}
    for path in sorted((run_dir / "models").iterdir()):
        if path.name not in wanted:
            path.unlink()  # of folds that are no longer part of the run
    return records


def _fingerprint(plan: FoldPlan, bags: BagStore, targets: Targets, classes: Sequence[str], config: TrainConfig) -> str:
    everyone = [*plan.train, *plan.val, *plan.test]
    known = {
        "settings": settings_of(config, without=WITHOUT_EFFECT),
        "sets": [plan.repeat, plan.fold, plan.train, plan.val, plan.test],
        "classes": list(classes),
        "targets": [
            [part[patient] for patient in everyone if patient in part]
            for part in (targets.labels, targets.times, targets.events)
        ],
        "features": [bags.fingerprint(patient) for patient in everyone],
        "versions": _numeric_versions(),
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
    run_dir: Path, plan: FoldPlan, bags: BagStore, targets: Targets, classes: Sequence[str], config: TrainConfig
) -> dict[str, Any]:
    fitted = fit(bags.read, plan.train, plan.val, targets, config, seed=[config.seed, plan.repeat, plan.fold])
    is_cox = config.task == "survival"
    record: dict[str, Any] = {
        "repeat": plan.repeat, "fold": plan.fold, "n_train": len(plan.train), "n_val": len(plan.val),
        "n_test": len(plan.test), "stopped_by": fitted.stopped_by, "best_epoch": fitted.best_epoch,
        "n_epochs": len(fitted.history), "history": list(fitted.history), "model_file": f"models/{plan.stem}.safetensors",
    }  # fmt: skip
    outputs = predict(fitted.head, bags.read, plan.test)
    pooled = {patient: bags.read(patient).tiles.mean(axis=0, dtype=np.float64) for patient in (*plan.train, *plan.test)}
    train_means, test_means = _stacked(pooled, plan.train), _stacked(pooled, plan.test)
    if is_cox:
        record["n_train_events"] = sum(targets.events[patient] for patient in plan.train)
        train_risk = predict(fitted.head, bags.read, plan.train)[:, 0]
        record["scale"] = _scale(train_risk)
        time = np.array([targets.times[patient] for patient in plan.train])
        event = np.array([targets.events[patient] for patient in plan.train])
        baseline = fit_mean_pool_cox(train_means, time, event)
        baseline_scale = _scale(baseline.log_hazard(train_means))
        rows = _survival_rows(plan, targets, ATTENTION, outputs[:, 0], record["scale"])
        if plan.test:
            rows += _survival_rows(plan, targets, MEAN_POOL, baseline.log_hazard(test_means), baseline_scale)
    else:
        labels = np.array([targets.labels[patient] for patient in plan.train])
        rows = _subtype_rows(plan, targets, ATTENTION, _softmax(outputs), classes)
        if plan.test:
            classifier = fit_mean_pool_classifier(train_means, labels, len(classes))
            rows += _subtype_rows(plan, targets, MEAN_POOL, classifier.probabilities(test_means), classes)
    metadata = {
        "task": config.task, "classes": list(classes), "encoder": bags.made_by, "repeat": plan.repeat, "fold": plan.fold,
        "train_patients": list(plan.train), "val_patients": list(plan.val), "test_patients": list(plan.test),
        "scale": record.get("scale"), "best_epoch": fitted.best_epoch,
        "settings": settings_of(config, without=WITHOUT_EFFECT),
    }  # fmt: skip
    model_file = run_dir / record["model_file"]
    write_model(model_file, fitted.head, metadata)
    record["model_sha256"] = hashlib.sha256(model_file.read_bytes()).hexdigest()
    record["predictions"] = rows
    return record


def _stacked(pooled: dict[str, np.ndarray], patients: Sequence[str]) -> Float64[np.ndarray, "n d"]:
    return np.stack([pooled[patient] for patient in patients]) if patients else np.empty((0, 1))


def _scale(train_risk: Float64[np.ndarray, " n"]) -> dict[str, float]:
    """Return what puts a fold's risks on a common scale, and the cut-off: from its training patients alone."""
    return {
        "mean": float(train_risk.mean()),
        "sd": float(max(train_risk.std(), 1e-9)),
        "cutoff": float(np.median(train_risk)),
    }


def _softmax(outputs: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(axis=1, keepdims=True)


def _subtype_rows(
    plan: FoldPlan, targets: Targets, model: str, probabilities: Float64[np.ndarray, "n k"], classes: Sequence[str]
) -> list[dict[str, Any]]:
    return [
        {
            "repeat": plan.repeat, "fold": plan.fold, "patient_id": patient, "model": model,
            "truth": classes[targets.labels[patient]],
            **{f"p_{name}": float(value) for name, value in zip(classes, row, strict=True)},
        }
        for patient, row in zip(plan.test, probabilities, strict=True)
    ]  # fmt: skip


def _survival_rows(
    plan: FoldPlan, targets: Targets, model: str, risks: Float64[np.ndarray, " n"], scale: dict[str, float]
) -> list[dict[str, Any]]:
    return [
        {
            "repeat": plan.repeat, "fold": plan.fold, "patient_id": patient, "model": model,
            "time": targets.times[patient], "event": targets.events[patient], "log_hazard": float(risk),
            "score": float((risk - scale["mean"]) / scale["sd"]), "high_risk": int(risk > scale["cutoff"]),
        }
        for patient, risk in zip(plan.test, risks, strict=True)
    ]  # fmt: skip


def write_predictions(path: Path, records: Sequence[dict[str, Any]], task: str, classes: Sequence[str]) -> None:
    """Write the out-of-fold predictions of all folds; only the header when there was no test patient."""
    last = [f"p_{name}" for name in classes] if task == "subtype" else ["event", "log_hazard", "score", "high_risk"]
    names = ["repeat", "fold", "patient_id", "model", "truth" if task == "subtype" else "time", *last]
    rows = [row for record in records for row in record["predictions"]]
    rows.sort(key=lambda row: (row["model"], row["repeat"], row["fold"], row["patient_id"]))
    write_table(path, names, [[row[name] for name in names] for row in rows])
