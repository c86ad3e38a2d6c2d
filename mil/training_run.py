"""One training run: its folds, its tables, its facts, and the evaluation and report made of them."""

from __future__ import annotations

import dataclasses
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from common.cohort import read_cohort
from common.files import write_json, write_table, write_text
from common.own_files import check_own_folder, own_folder
from common.settings import settings_of
from mil.evaluation.evaluation import evaluate_run
from mil.report.report import write_report
from mil.runs.run_store import CURVE, FACTS, PATIENTS, share_folder
from mil.training.cohort_flow import cohort_flow, slide_losses
from mil.training.cross_validation import run_folds, write_fold_tables
from mil.training.image_predictions import write_image_predictions
from mil.training.nested_plans import drop_other_shares, nested_plan
from mil.training.preparation import Prepared
from mil.training.training_settings import TrainConfig

PACKAGES = (
    "torch", "timm", "openvino", "openslide-python", "numpy", "scipy", "scikit-learn", "pandas", "lifelines", "h5py",
)  # fmt: skip
ROWS = ("predictions", "validation", "training", "patients")  # of a fold's record: kept in tables of their own


def train_run(run: Prepared, run_dir: Path) -> dict[str, Any]:
    """Train every fold, evaluate out of fold and write the report into `run_dir`; return the figures of metrics.json."""
    config, classes = run.config, run.classes
    for part in ("models", "figures", CURVE):
        check_own_folder(run_dir / part, below=run_dir.parent)
    records = run_folds(run_dir, run.plans, run.bags, run.targets, classes, config, covariates=run.covariates)
    write_fold_tables(run_dir, records, config.task, classes)
    _write_patients(run, run_dir)
    curve = _learning_curve(run, run_dir)
    if config.task == "subtype":
        write_image_predictions(run_dir, run.plans, run.bags, run.targets.labels, classes)
    write_json(run_dir / FACTS, _facts(run, records, curve))
    settings = yaml.safe_dump({"train": settings_of(config, without=("study",))}, sort_keys=False)
    write_text(run_dir / "settings.yaml", settings)
    metrics = evaluate_run(run_dir, n_bootstrap=config.bootstrap, seed=config.seed)
    write_report(run_dir)
    return metrics


def _write_patients(run: Prepared, run_dir: Path) -> None:
    """Write site and covariates of the patients: subgroups are evaluated from the run folder alone."""
    patients, covariates = run.cohort.patients, run.covariates
    has_site = "site" in patients.columns
    rows = []
    for patient in run.usable:
        values = [*([patients.loc[patient, "site"]] if has_site else []), *covariates.of(patient)]
        rows.append([patient, *("" if value != value or value is None else value for value in values)])  # noqa: PLR0124
    write_table(run_dir / PATIENTS, ["patient_id", *(["site"] if has_site else []), *covariates.names], rows)


def _learning_curve(run: Prepared, run_dir: Path) -> list[dict[str, Any]]:
    """Train on parts of the training patients, if asked for; return each share and its training patients a fold."""
    points = []
    drop_other_shares(run_dir, run.shares)
    for share in run.shares:
        nested = [nested_plan(plan, run.targets, share, run.config.seed) for plan in run.plans]
        folder = share_folder(run_dir, share)
        own_folder(folder, below=run_dir)
        records = run_folds(folder, nested, run.bags, run.targets, run.classes, run.config)
        write_fold_tables(folder, records, run.config.task, run.classes)
        points.append({"share": share, "n_train": sum(len(plan.train) for plan in nested) / len(nested)})
    return points


def _facts(run: Prepared, records: list[dict[str, Any]], curve: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the report says of the run, without clock times and machine names."""
    config, classes, targets, splits = run.config, run.classes, run.targets, run.splits
    labels = np.array([targets.labels.get(patient, 0) for patient in run.usable], dtype=np.int64)
    counts = np.bincount(labels, minlength=len(classes))[: len(classes)]
    losses = slide_losses(run.study, config.encoder, run.missing_slides)
    whole = run.cohort if config.where is None else read_cohort(run.study.cohort_table)
    return {
        "task": config.task, "run": config.name, "encoder": run.bags.made_by, "classes": classes,
        "n_patients": len(run.usable),
        "class_counts": {name: int(count) for name, count in zip(classes, counts, strict=True)},
        "n_events": sum(targets.events.get(patient, 0) for patient in run.usable),
        "split": {
            "name": config.splits, "n_repeats": int(splits["repeat"].nunique()), "n_folds": int(splits["fold"].nunique()),
        },
        "settings": settings_of(config, without=("study",)), "seed": config.seed,
        "defaults": settings_of(TrainConfig(), without=("study",)),
        "versions": {name: version(name) for name in PACKAGES},
        "command": _command(config),
        "n_slides": sum(len(run.bags.slides_of(patient)) for patient in run.usable),
        "n_tiles": sum(len(run.bags.read(patient).tiles) for patient in run.usable),
        "excluded": [{"patient_id": patient, "reason": reason} for patient, reason in sorted(run.excluded.items())],
        "slides_without_features": run.missing_slides, "slide_losses": losses,
        "covariates": {"used": run.covariates.names, "left_out": dict(run.covariates.left_out)},
        "learning_curve": curve,
        "folds": [{key: value for key, value in record.items() if key not in ROWS} for record in records],
        "evaluated": run.is_evaluated,
        "flow": cohort_flow(whole, run.cohort, losses, run.excluded),
    }  # fmt: skip


def _command(config: TrainConfig) -> str:
    """Return the command that repeats the run: every setting that is not the default."""
    words = ["python", "mil/train.py", "--task", config.task]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name not in ("task", "study") and value != field.default:
            words += [f"--{field.name}", str(value)]
    return shlex.join(words)
