"""Predictions that no training run of this study made, as a run: what evaluation and report look at, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mil.runs.facts import CohortFlow, CovariateFacts, RunFacts, SplitFacts
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import FinishedRun


def bare_run(
    folder: RunFolder,
    predictions: pd.DataFrame,
    *,
    name: str,
    task: str,
    classes: tuple[str, ...],
    split: SplitFacts,
    command: str,
    settings: Mapping[str, Any],
    time_unit: str = "",
    is_synthetic: bool = False,
    n_slides: int = 0,
    n_tiles: int = 0,
    encoder: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
) -> FinishedRun:
    """Return predictions of patients as a run without folds, models, audit and training patients.

    Args:
        folder: where its report may go; nothing is written here.
        predictions: a row a patient (and repeat and fold), as in predictions.csv.
        name: of the run.
        task: its name.
        classes: of the task; () where it has none.
        split: what the patients were tested by.
        command: how it was made.
        settings: of the evaluation.
        time_unit: of follow-up.
        is_synthetic: whether patients or model are invented.
        n_slides: of the patients.
        n_tiles: of these.
        encoder: whose features were predicted from, as feature files say.
        versions: of the packages.
    """
    patients = predictions.drop_duplicates("patient_id")
    counts = {str(name): int(n) for name, n in patients["truth"].value_counts().items()} if "truth" in patients else {}
    n = len(patients)
    facts = RunFacts(
        task=task, run=name, study=folder.root.resolve().parent.name, is_synthetic=is_synthetic,
        encoder=dict(encoder or {}), classes=classes, n_patients=n,
        class_counts={name: int(counts.get(name, 0)) for name in classes},
        n_events=int(patients["event"].sum()) if "event" in patients else 0,
        split=split, settings=dict(settings), seed=0, defaults={}, versions=dict(versions or {}), command=command,
        n_slides=n_slides, n_tiles=n_tiles, n_bags_of_one_tile=0, excluded=(), slides_without_features=(), slide_losses=(),
        covariates=CovariateFacts(used=(), left_out={}), learning_curve=(), folds=(), evaluated=True,
        flow=CohortFlow(
            table_patients=n, table_slides=n_slides, kept_patients=n, kept_slides=n_slides, slides_lost={}, patients_lost={}
        ),
        tables={}, time_unit=time_unit,
    )  # fmt: skip
    empty = pd.DataFrame({"patient_id": [], "model": []}, dtype=str)
    return FinishedRun(
        folder=folder, facts=facts, predictions=predictions, predictions_sha256=None, validation=empty, follow_up=empty,
        patients=empty, images=empty, shares={}, audit=None, comparison=None,
    )  # fmt: skip
