"""One training run: its folds, its tables, its facts, and the evaluation and report made of them."""

from __future__ import annotations

import dataclasses
import shlex
from importlib.metadata import version

import numpy as np
import yaml

from common.cohort import read_cohort
from common.files import write_table, write_text
from common.settings import settings_of
from mil.evaluation.evaluation import metrics_of_run
from mil.evaluation.metrics_record import NotEvaluated, RunMetrics, write_metrics
from mil.report.report import write_report
from mil.runs.facts import RUN_SCHEMA, CovariateFacts, Exclusion, FoldRecord, RunFacts, ShareFacts, SplitFacts
from mil.runs.record import write_record
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import read_run
from mil.task_parts import TASKS
from mil.training.cohort_flow import cohort_flow, slide_losses
from mil.training.cross_validation import run_folds, write_fold_tables
from mil.training.image_predictions import write_image_predictions
from mil.training.nested_plans import drop_other_shares, nested_plan
from mil.training.preparation import Prepared
from mil.training.training_settings import TrainConfig

PACKAGES = (
    "torch", "timm", "openvino", "openslide-python", "numpy", "scipy", "scikit-learn", "pandas", "lifelines", "h5py",
)  # fmt: skip


def train_run(run: Prepared, folder: RunFolder) -> RunMetrics | NotEvaluated:
    """Train every fold, evaluate out of fold and write the report; return the metrics."""
    config, classes = run.config, run.classes
    task = TASKS[config.task]
    folder.models.mkdir(parents=True, exist_ok=True)
    records = run_folds(folder, run.plans, run.bags, run.targets, classes, config, covariates=run.covariates)
    write_fold_tables(folder, records, config.task, classes)
    _write_patients(run, folder)
    curve = _learning_curve(run, folder)
    if config.task == "subtype":
        write_image_predictions(folder, run.bags, run.targets.labels, classes)
    write_record(folder.facts, _facts(run, records, curve), RUN_SCHEMA)
    settings = yaml.safe_dump({"train": settings_of(config, without=("study",))}, sort_keys=False)
    write_text(folder.settings, settings)
    finished = read_run(folder)
    metrics = metrics_of_run(finished, task.evaluation, n_bootstrap=config.bootstrap, seed=config.seed)
    write_metrics(folder, metrics)
    write_report(finished, metrics, task.report)
    return metrics


def _write_patients(run: Prepared, folder: RunFolder) -> None:
    """Write site and covariates of the patients: subgroups are evaluated from the run folder alone."""
    patients, covariates = run.cohort.patients, run.covariates
    has_site = "site" in patients.columns
    rows = []
    for patient in run.usable:
        values = [*([patients.loc[patient, "site"]] if has_site else []), *covariates.of(patient)]
        rows.append([patient, *("" if value != value or value is None else value for value in values)])  # noqa: PLR0124
    write_table(folder.patients, ["patient_id", *(["site"] if has_site else []), *covariates.names], rows)


def _learning_curve(run: Prepared, folder: RunFolder) -> list[ShareFacts]:
    """Train on parts of the training patients, if asked for; return each share and its training patients a fold."""
    points = []
    drop_other_shares(folder, run.shares)
    for share in run.shares:
        nested = [nested_plan(plan, run.targets, share, run.config.seed) for plan in run.plans]
        own = folder.share(share)
        own.models.mkdir(parents=True, exist_ok=True)
        records = run_folds(own, nested, run.bags, run.targets, run.classes, run.config)
        write_fold_tables(own, records, run.config.task, run.classes)
        points.append(ShareFacts(share=share, n_train=sum(len(plan.train) for plan in nested) / len(nested)))
    return points


def _facts(run: Prepared, records: list[FoldRecord], curve: list[ShareFacts]) -> RunFacts:
    """Return what the report says of the run, without clock times and machine names."""
    config, classes, targets, splits = run.config, run.classes, run.targets, run.splits
    labels = np.array([targets.labels.get(patient, 0) for patient in run.usable], dtype=np.int64)
    counts = np.bincount(labels, minlength=len(classes))[: len(classes)]
    losses = slide_losses(run.study, config.encoder, run.missing_slides)
    whole = run.cohort if config.where is None else read_cohort(run.study.cohort_table)
    return RunFacts(
        task=config.task, run=config.name, encoder=run.bags.made_by, classes=tuple(classes), n_patients=len(run.usable),
        class_counts={name: int(count) for name, count in zip(classes, counts, strict=True)},
        n_events=sum(targets.events.get(patient, 0) for patient in run.usable),
        split=SplitFacts(
            name=config.splits, n_repeats=int(splits["repeat"].nunique()), n_folds=int(splits["fold"].nunique())
        ),
        settings=settings_of(config, without=("study",)), seed=config.seed,
        defaults=settings_of(TrainConfig(), without=("study",)),
        versions={name: version(name) for name in PACKAGES},
        command=_command(config),
        n_slides=sum(len(run.bags.slides_of(patient)) for patient in run.usable),
        n_tiles=sum(len(run.bags.read(patient).tiles) for patient in run.usable),
        excluded=tuple(Exclusion(patient_id=patient, reason=reason) for patient, reason in sorted(run.excluded.items())),
        slides_without_features=tuple(run.missing_slides), slide_losses=losses,
        covariates=CovariateFacts(used=tuple(run.covariates.names), left_out=dict(run.covariates.left_out)),
        learning_curve=tuple(curve), folds=tuple(record.facts() for record in records), evaluated=run.is_evaluated,
        flow=cohort_flow(whole, run.cohort, losses, run.excluded),
    )  # fmt: skip


def _command(config: TrainConfig) -> str:
    """Return the command that repeats the run: every setting that is not the default."""
    words = ["python", "mil/train.py", "--task", config.task]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name not in ("task", "study") and value != field.default:
            words += [f"--{field.name}", str(value)]
    return shlex.join(words)
