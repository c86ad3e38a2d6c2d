"""What folds leave in a run folder: a model file and a record each, and the tables that unite them.

A record is written after its model file and carries a fingerprint of everything it depends on, so it counts only while
both are whole and made of the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.files import write_table
from common.guards.own_files import own_folder, remove_own_files
from mil.heads.head import Head
from mil.runs.facts import FOLD_SCHEMA, TRAIN_AGAIN, FoldRecord
from mil.runs.figure_names import LOG_ODDS
from mil.runs.model_file import Model, read_model, write_model
from mil.runs.record import read_sealed, write_sealed
from mil.runs.run_folder import RunFolder
from mil.training.recipe.epoch_store import STATE_FILE
from mil.training.task import ImageTable
from splits.fold_plan import FoldPlan

FOLD_FILE = re.compile(r"repeat-?\d+_fold-?\d+(\.safetensors|(_search)?\.json)")


def make_models_folder(folder: RunFolder) -> None:
    """Make the folder of models and records.

    Raises:
        StudyError: it, or the run's folder, is a link: what lies behind it belongs to somebody else.
    """
    own_folder(folder.models, below=folder.root.parent)


def finished_record(folder: RunFolder, plan: FoldPlan, fingerprint: str) -> FoldRecord | None:
    """Return a fold's record; None where it, or its model file, is missing, damaged or made of something else."""
    model_file = folder.model_file(plan.stem)
    try:
        record = read_sealed(folder.fold_record(plan.stem), FoldRecord, FOLD_SCHEMA, TRAIN_AGAIN)
    except (OSError, ValueError):
        return None
    if record.fingerprint != fingerprint or not model_file.is_file():
        return None
    return record if _sha256(model_file) == record.model_sha256 else None


def write_fold(
    folder: RunFolder, plan: FoldPlan, head: Head, metadata: Mapping[str, Any], record: FoldRecord
) -> FoldRecord:
    """Write a fold's model file and then its record, and return the record with name and checksum of the model file."""
    model_file = folder.model_file(plan.stem)
    write_model(model_file, head, metadata)
    name = model_file.relative_to(folder.root).as_posix()
    whole = replace(record, model_file=name, model_sha256=_sha256(model_file))
    write_sealed(folder.fold_record(plan.stem), whole, FOLD_SCHEMA)
    return whole


def drop_other_folds(folder: RunFolder, plans: Sequence[FoldPlan], *, is_searched: bool = False) -> None:
    """Remove models, records and searches of folds that are no longer part of the run, and no other files."""
    wanted = {path.name for plan in plans for path in (folder.model_file(plan.stem), folder.fold_record(plan.stem))}
    wanted |= {folder.fold_search(plan.stem).name for plan in plans} if is_searched else set()
    remove_own_files(folder.models, FOLD_FILE, kept=wanted)
    remove_own_files(folder.models, STATE_FILE)  # of folds that are no longer part of the run


def read_models(folder: RunFolder, plans: Sequence[FoldPlan]) -> Iterator[tuple[FoldPlan, Model]]:
    """Yield each fold with its model."""
    for plan in plans:
        yield plan, read_model(folder.model_file(plan.stem))


def write_fold_tables(folder: RunFolder, records: Sequence[FoldRecord], columns: Sequence[str]) -> None:
    """Write what all folds predicted: out of fold, for patients held out of training, and, where kept, for training patients."""
    tables = {
        folder.predictions: [record.predictions for record in records],
        folder.validation: [record.validation for record in records],
        folder.follow_up: [record.training for record in records if record.training is not None],
    }
    for path, parts in tables.items():
        if parts:
            write_predictions(path, [row for rows in parts for row in rows], columns)


def write_predictions(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write predictions of all folds; only the header when there are none."""
    ordered = sorted(rows, key=lambda row: (row["model"], row["repeat"], row["fold"], row["patient_id"]))
    write_table(path, columns, [[_cell(row, name) for name in columns] for row in ordered])


def _cell(row: Mapping[str, Any], name: str) -> Any:
    """Return what a row says; nothing for an interval that its model has not."""
    return row.get(name, "") if name.startswith(LOG_ODDS) else row[name]


def write_image_predictions(folder: RunFolder, table: ImageTable | None) -> None:
    """Write predictions_tiles.csv; without images of test patients there is no such file."""
    if table is None or not table.rows:
        folder.image_predictions.unlink(missing_ok=True)
        return
    write_table(folder.image_predictions, table.columns, table.rows)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
