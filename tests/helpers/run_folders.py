"""Run folders made by hand: predictions of known skill and the facts a report reads."""

from dataclasses import replace

import numpy as np
import pandas as pd

from mil.evaluation.evaluation import metrics_of_run
from mil.evaluation.metrics_record import write_metrics
from mil.report.report import write_report
from mil.runs.facts import (
    RUN_SCHEMA,
    CohortFlow,
    CovariateFacts,
    Epoch,
    Exclusion,
    FoldFacts,
    RunFacts,
    SlideLoss,
    SplitFacts,
)
from mil.runs.record import read_sealed, write_sealed
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import FinishedRun, read_run
from mil.runs.run_tables import table_sums
from mil.tasks.registry import TASKS

FOLDS = tuple(
    FoldFacts(
        repeat=0, fold=fold, n_train=16, n_val=4, n_test=20, stopped_by="inner validation", best_epoch=1, n_epochs=2,
        model_file=f"models/repeat0_fold{fold}.safetensors",
        history=(Epoch(epoch=1, train_loss=1.0, val_loss=1.1), Epoch(epoch=2, train_loss=0.5, val_loss=1.2)),
        covariate_medians={}, scale=None, n_train_events=None, model_sha256="", fingerprint="",
    )
    for fold in (0, 1)
)  # fmt: skip
FACTS = RunFacts(
    task="subtype", run="default", study="cohort-7", is_synthetic=False,
    encoder={"encoder": "e", "licence": "Apache-2.0"}, classes=(), n_patients=40,
    class_counts={}, n_events=20, split=SplitFacts(name="default", n_repeats=1, n_folds=2), settings={"epochs": 3}, seed=0,
    defaults={}, versions={"torch": "2"}, command="python mil/train.py --task subtype", n_slides=60, n_tiles=4000,
    n_bags_of_one_tile=0,
    excluded=(Exclusion(patient_id="<b>x</b>", reason="no subtype"),), slides_without_features=("s1",),
    slide_losses=(SlideLoss(slide_id="s1", step="tiling", reason="no tissue"),),
    covariates=CovariateFacts(used=(), left_out={}), learning_curve=(), folds=FOLDS, evaluated=True,
    flow=CohortFlow(
        table_patients=41, table_slides=61, kept_patients=41, kept_slides=61, slides_lost={"tiling": 1},
        patients_lost={"no subtype": 1},
    ),
    tables={},
)  # fmt: skip


def subtype_run(folder, *, skill=2.0, baseline_skill=0.0):
    rng = np.random.default_rng(0)
    classes, rows = ["A<1>", "B", "C"], []
    for model, strength in (("attention", skill), ("mean_pool", baseline_skill)):
        for index in range(40):
            logits = rng.normal(size=3) + strength * np.eye(3)[index % 3]
            p = np.exp(logits) / np.exp(logits).sum()
            rows.append([0, index % 2, f"p{index:02d}", model, classes[index % 3], *p])
    names = ["repeat", "fold", "patient_id", "model", "truth", *(f"p_{name}" for name in classes)]
    write_run(folder, pd.DataFrame(rows, columns=names), replace(FACTS, classes=tuple(classes)))


def survival_run(folder):
    rng, rows = np.random.default_rng(1), []
    risk = rng.normal(size=40)
    time, event = np.ceil(20 * np.exp(-risk) * rng.exponential(size=40)), rng.integers(0, 2, 40)
    for model in ("attention", "mean_pool"):
        for index in range(40):
            raw = risk[index] * (index % 2 + 1) + 30 * (index % 2)  # folds on two scales
            rows.append(
                [
                    0,
                    index % 2,
                    f"p{index:02d}",
                    model,
                    time[index],
                    event[index],
                    raw,
                    risk[index],
                    int(risk[index] > 0),
                ]
            )
    names = ["repeat", "fold", "patient_id", "model", "time", "event", "log_hazard", "score", "risk_group"]
    write_run(folder, pd.DataFrame(rows, columns=names), replace(FACTS, task="survival"))
    return risk, time, event


def write_run(folder, predictions, facts):
    folder.mkdir(parents=True)
    predictions.to_csv(folder / "predictions.csv", index=False)
    write_facts(folder, facts)


def write_facts(folder, facts):
    """Write run.json over the tables as they are."""
    tables = table_sums(RunFolder(folder), [point.share for point in facts.learning_curve])
    write_sealed(folder / "run.json", replace(facts, tables=tables), RUN_SCHEMA)


def reseal(folder):
    """Take a change of the tables into run.json."""
    write_facts(folder, read_sealed(folder / "run.json", RunFacts, RUN_SCHEMA, ""))


def run_of(folder, predictions, *, facts=FACTS, **tables):
    """Return a run whose other tables are empty, but for those given."""
    empty = {
        name: pd.DataFrame({"patient_id": [], "model": []})
        for name in ("validation", "follow_up", "patients", "images")
    }
    return FinishedRun(
        folder=RunFolder(folder),
        facts=facts,
        predictions=predictions,
        predictions_sha256=None,
        shares={},
        audit=None,
        comparison=None,
        **empty | tables,
    )


def evaluated(folder, *, n_bootstrap=100):
    """Evaluate a run folder and write its metrics and its report; return the metrics."""
    run = read_run(RunFolder(folder))
    metrics = metrics_of_run(run, TASKS[run.task].evaluation, n_bootstrap=n_bootstrap, seed=0)
    write_metrics(run.folder, metrics)
    write_report(run, metrics, TASKS[run.task].report)
    return metrics
