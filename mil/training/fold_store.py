"""What folds leave in a run folder: a model file and a record each, and the tables that unite them.

A record is written after its model file and carries a fingerprint of everything it depends on, so it counts only while
both are whole and made of the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.files import write_json, write_table
from mil.heads.head import Head
from mil.runs.model_file import Model, read_model, write_model
from mil.runs.run_store import FILE, FOLLOW_UP, PREDICTIONS, VALIDATION
from mil.training.task import ImageTable
from splits.fold_plan import FoldPlan

MODELS, MODEL_ENDING = "models", ".safetensors"
TABLES = {PREDICTIONS: "predictions", VALIDATION: "validation", FOLLOW_UP: "training"}  # file to part of a record


def model_name(plan: FoldPlan) -> str:
    """Return the path of a fold's model file inside the run folder."""
    return f"{MODELS}/{plan.stem}{MODEL_ENDING}"


def finished_record(run_dir: Path, plan: FoldPlan, fingerprint: str) -> dict[str, Any] | None:
    """Return a fold's record; None where it, or its model file, is missing, damaged or made of something else."""
    model_file = run_dir / model_name(plan)
    try:
        record = json.loads(_record_file(run_dir, plan).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if record.get("fingerprint") != fingerprint or not model_file.is_file():
        return None
    return record if _sha256(model_file) == record["model_sha256"] else None


def write_fold(
    run_dir: Path, plan: FoldPlan, head: Head, metadata: Mapping[str, Any], record: Mapping[str, Any], fingerprint: str
) -> dict[str, Any]:
    """Write a fold's model file and then its record, and return the record with the checksums of both."""
    model_file = run_dir / model_name(plan)
    model_file.parent.mkdir(parents=True, exist_ok=True)
    write_model(model_file, head, metadata)
    whole = {**record, "model_sha256": _sha256(model_file), "fingerprint": fingerprint}
    write_json(_record_file(run_dir, plan), whole)
    return whole


def drop_other_folds(run_dir: Path, plans: Sequence[FoldPlan]) -> None:
    """Remove models and records of folds that are no longer part of the run."""
    wanted = {path.name for plan in plans for path in (run_dir / model_name(plan), _record_file(run_dir, plan))}
    for path in sorted((run_dir / MODELS).iterdir()):
        if path.name not in wanted:
            path.unlink()


def read_models(run_dir: Path) -> Iterator[Model]:
    """Yield the models of a run, fold by fold."""
    for path in sorted((run_dir / MODELS).glob(f"*{MODEL_ENDING}")):
        yield read_model(path)


def write_fold_tables(run_dir: Path, records: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write what all folds predicted: out of fold, for the inner validation part, and, where kept, for training patients."""
    for name, part in TABLES.items():
        if all(part in record for record in records):
            write_predictions(run_dir / name, [row for record in records for row in record[part]], columns)


def write_predictions(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write predictions of all folds; only the header when there are none."""
    ordered = sorted(rows, key=lambda row: (row["model"], row["repeat"], row["fold"], row["patient_id"]))
    write_table(path, columns, [[row[name] for name in columns] for row in ordered])


def write_image_predictions(run_dir: Path, table: ImageTable | None) -> None:
    """Write predictions_tiles.csv; without images of test patients there is no such file."""
    if table is None or not table.rows:
        (run_dir / FILE).unlink(missing_ok=True)
        return
    write_table(run_dir / FILE, table.columns, table.rows)


def _record_file(run_dir: Path, plan: FoldPlan) -> Path:
    return run_dir / MODELS / f"{plan.stem}.json"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
