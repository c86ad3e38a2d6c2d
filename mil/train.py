"""Train an attention-MIL head on patient bags in cross-validation, and report what it is worth out of fold.

--task subtype predicts the subtype (class-balanced cross-entropy), --task survival the hazard (Cox, Efron ties). The inner
validation part of each fold decides when to stop; the test part is only predicted. A mean-pool baseline runs beside it.
Before it trains it looks for leaks between the parts, and stops at one (--audit true only prints what it found).
Leaves runs/<task>/<name>/: report.html, metrics.json, audit.json, predictions.csv, settings.yaml, run.json, figures/, models/.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import StudyError, command
from common.settings import parse_config, settings_of
from common.study import Study, open_study
from mil.training_settings import TrainConfig

if TYPE_CHECKING:
    import pandas as pd

    from common.cohort import Cohort
    from mil.fitting import Targets

PACKAGES = (
    "torch",
    "timm",
    "openvino",
    "openslide-python",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "lifelines",
    "h5py",
)
MIN_EVENTS = 2


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Train, evaluate, report."""
    config = parse_config(TrainConfig, argv, section="train", description=__doc__)
    study = open_study(config.study)
    from common.artifacts import write_json, write_text
    from common.cohort import read_cohort
    from features.exchange import origin
    from mil.audit import AUDIT_FILE, audit_run, audit_text, stop_at_leaks
    from mil.bags import open_bags
    from mil.cross_validation import check_plans, plan_folds, run_folds, write_predictions
    from mil.evaluation import evaluate_run, results_table
    from mil.image_results import image_line, write_image_predictions
    from mil.report import write_report

    cohort = read_cohort(study.cohort_table, where=config.where)
    targets, classes, excluded = find_targets(cohort, config.task)
    splits = _splits(study, cohort, config)
    limit = int(config.memory_gb * 1e9)
    bags, without_features, missing_slides = open_bags(
        study, cohort, config.encoder, features=config.features, limit_bytes=limit
    )
    print(origin(bags.made_by), flush=True)
    excluded |= without_features
    usable = set(bags.patients) - set(excluded)
    _check_usable(usable, targets, config.task, cohort)
    plans = plan_folds(splits, usable)
    check_plans(plans, targets, classes)
    audit = audit_run(
        study, cohort, bags=bags, plans=plans, splits_file=study.splits_file(config.splits), task=config.task,
        seed=config.seed,
    )  # fmt: skip
    print(audit_text(audit, in_full=config.audit))
    stop_at_leaks(audit)
    if config.audit:
        return 0
    run_dir = study.run(config.task, config.name)
    write_json(run_dir / AUDIT_FILE, audit)
    (run_dir / "models").mkdir(parents=True, exist_ok=True)
    records = run_folds(run_dir, plans, bags, targets, classes, config)
    write_predictions(run_dir / "predictions.csv", records, config.task, classes)
    if config.task == "subtype":
        write_image_predictions(run_dir, bags, targets.labels, classes)
    is_evaluated = any(plan.test for plan in plans)
    facts = _facts(config, bags.made_by, classes, sorted(usable), targets, splits)
    facts |= {
        "n_slides": sum(len(bags.slides_of(patient)) for patient in usable),
        "n_tiles": sum(len(bags.read(patient).tiles) for patient in sorted(usable)),
        "excluded": [{"patient_id": patient, "reason": reason} for patient, reason in sorted(excluded.items())],
        "slides_without_features": missing_slides,
        "folds": [{key: value for key, value in record.items() if key != "predictions"} for record in records],
        "evaluated": is_evaluated,
    }
    write_json(run_dir / "run.json", facts)
    write_text(run_dir / "settings.yaml", _yaml({"train": settings_of(config, without=("study",))}))
    metrics = evaluate_run(run_dir, n_bootstrap=config.bootstrap, seed=config.seed)
    write_report(run_dir)
    for patient, reason in sorted(excluded.items()):
        print(f"left out: {patient}: {reason}")
    if not is_evaluated:
        model_file = run_dir / records[0]["model_file"]
        print(
            f"trained on {len(usable)} patients; no patient is in a test set, so NOTHING WAS EVALUATED. Model: {model_file}"
        )
    else:
        print("\n".join(filter(None, [results_table(metrics), image_line(metrics)])))
    print(f"report: {run_dir / 'report.html'}")
    return 0


def find_targets(cohort: Cohort, task: str) -> tuple[Targets, list[str], dict[str, str]]:
    """Return labels (or times and events), the class names, and the patients without, with the reason.

    Raises:
        StudyError: the table lacks the task's columns, or has fewer than two classes, or two events.
    """
    from mil.fitting import Targets

    patients, path = cohort.patients, cohort.path
    wanted = ("subtype",) if task == "subtype" else ("time", "event")
    absent = [name for name in wanted if name not in patients.columns]
    if absent:
        raise StudyError(
            f"{path}: --task {task} needs the column {' and '.join(absent)}; it has {', '.join(patients.columns)}"
        )
    known = patients[patients[list(wanted)].notna().all(axis=1)]
    excluded = {patient: f"no {' and '.join(wanted)}" for patient in sorted(set(patients.index) - set(known.index))}
    if task == "subtype":
        classes = sorted(known["subtype"].unique())
        if len(classes) < 2:
            raise StudyError(f"{path}: a subtype model needs two classes or more, found {', '.join(classes) or 'none'}")
        labels = {str(patient): classes.index(name) for patient, name in known["subtype"].items()}
        return Targets(labels=labels, n_classes=len(classes)), classes, excluded
    n_events = int(known["event"].sum())
    if n_events < MIN_EVENTS:
        raise StudyError(
            f"{path}: a survival model needs two events or more, found {n_events} among {len(known)} patients"
        )
    times = {str(patient): float(time) for patient, time in known["time"].items()}
    events = {str(patient): int(event) for patient, event in known["event"].items()}
    return Targets(times=times, events=events), [], excluded


def _splits(study: Study, cohort: Cohort, config: TrainConfig) -> pd.DataFrame:
    """Read the splits; a table with sets of its own needs none made."""
    from splits.split_methods import make_given
    from splits.split_store import check_against_cohort, read_splits, write_splits

    path = study.splits_file(config.splits)
    if not path.is_file() and "set" in cohort.slides.columns:
        write_splits(path, *make_given(cohort, val_fraction=0.2, seed=config.seed))
        print(f"{path}: made from the table's own sets")
        return read_splits(path)
    splits = read_splits(path)
    if config.where is not None:  # a part of the cohort keeps its places in the folds
        splits = splits[splits["patient_id"].isin(cohort.slides["patient_id"])].reset_index(drop=True)
    check_against_cohort(path, splits, cohort)
    return splits


def _check_usable(usable: set[str], targets: Targets, task: str, cohort: Cohort) -> None:
    if task == "survival" and sum(targets.events[patient] for patient in usable) < MIN_EVENTS:
        raise StudyError(f"{cohort.path}: fewer than two events among the {len(usable)} patients with features")
    if task == "subtype" and len({targets.labels[patient] for patient in usable}) < targets.n_classes:
        raise StudyError(
            f"{cohort.path}: a subtype has no patient with features; run features/extract_features.py on all"
        )


def _facts(
    config: TrainConfig,
    made_by: dict[str, Any],
    classes: list[str],
    usable: list[str],
    targets: Targets,
    splits: pd.DataFrame,
) -> dict[str, Any]:
    """Return what the report says of the run, without clock times and machine names."""
    from importlib.metadata import version

    import numpy as np

    labels = np.array([targets.labels.get(patient, 0) for patient in usable], dtype=np.int64)
    counts = np.bincount(labels, minlength=len(classes))[: len(classes)]
    return {
        "task": config.task, "run": config.name, "encoder": made_by, "classes": classes, "n_patients": len(usable),
        "class_counts": {name: int(count) for name, count in zip(classes, counts, strict=True)},
        "n_events": sum(targets.events.get(patient, 0) for patient in usable),
        "split": {
            "name": config.splits, "n_repeats": int(splits["repeat"].nunique()), "n_folds": int(splits["fold"].nunique()),
        },
        "settings": settings_of(config, without=("study",)), "seed": config.seed,
        "versions": {name: version(name) for name in PACKAGES},
        "command": _command(config),
    }  # fmt: skip


def _command(config: TrainConfig) -> str:
    """Return the command that repeats the run: every setting that is not the default."""
    import dataclasses
    import shlex

    words = ["python", "mil/train.py", "--task", config.task]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name not in ("task", "study") and value != field.default:
            words += [f"--{field.name}", str(value)]
    return shlex.join(words)


def _yaml(settings: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(settings, sort_keys=False)


if __name__ == "__main__":
    sys.exit(main())
