"""What folds leave: a record that counts while it and its model file are whole, tables in one order, and no other's files."""

from dataclasses import fields, replace

import pytest

from mil.heads.registry import make_head
from mil.runs.facts import FoldPatients, FoldRecord
from mil.runs.run_folder import RunFolder
from mil.training.fold_store import (
    drop_other_folds,
    finished_record,
    make_models_folder,
    read_models,
    write_fold,
    write_fold_tables,
    write_image_predictions,
    write_predictions,
)
from mil.training.task import ImageTable
from mil.training.training_settings import TrainConfig
from splits.fold_plan import FoldPlan
from tests.helpers.run_folders import FOLDS

PLANS = [FoldPlan(repeat=0, fold=fold, train=("a",), val=(), test=("b",)) for fold in (0, 1)]


def row(model, repeat, fold, patient):
    return {"repeat": repeat, "fold": fold, "patient_id": patient, "model": model}


def record_of(**changes):
    known = {field.name: getattr(FOLDS[0], field.name) for field in fields(FOLDS[0])} | {"fingerprint": "f"}
    record = FoldRecord(
        **known, patients=FoldPatients(train=("a",), val=(), test=("b",)), training=None, validation=(), predictions=()
    )
    return replace(record, **changes)


def head():
    return make_head("gated_attention", TrainConfig().with_widths(128), n_inputs=3, n_outputs=2)


@pytest.mark.parametrize("damage", ["none", "fingerprint", "model", "no model", "record", "no record"])
def test_a_fold_counts_while_record_and_model_are_whole_and_made_of_the_same(tmp_path, damage):
    folder, plan = RunFolder(tmp_path / "run"), PLANS[0]
    make_models_folder(folder)
    written = write_fold(folder, plan, head(), {}, record_of())
    assert written.model_file == "models/repeat0_fold0.safetensors"
    model, record = folder.model_file(plan.stem), folder.fold_record(plan.stem)
    if damage == "model":
        model.write_bytes(model.read_bytes() + b"x")
    elif damage == "no model":
        model.unlink()
    elif damage == "record":
        record.write_text(record.read_text().replace('"n_train": 16', '"n_train": 17'))
    elif damage == "no record":
        record.unlink()
    found = finished_record(folder, plan, "g" if damage == "fingerprint" else "f")
    assert found == (written if damage == "none" else None)


def test_models_are_read_fold_by_fold_and_files_of_other_folds_go(tmp_path):
    folder = RunFolder(tmp_path / "run")
    make_models_folder(folder)
    for plan in PLANS:
        write_fold(folder, plan, head(), {"fold": plan.fold}, record_of(fold=plan.fold))
    (folder.models / "mine.txt").touch()
    assert [(plan.fold, model.metadata["fold"]) for plan, model in read_models(folder, PLANS[::-1])] == [(1, 1), (0, 0)]
    drop_other_folds(folder, PLANS[:1])
    names = sorted(path.name for path in folder.models.iterdir())
    assert names == ["mine.txt", "repeat0_fold0.json", "repeat0_fold0.safetensors"]


def test_rows_are_written_by_model_repeat_fold_and_patient(tmp_path):
    places = [("b", 0, 0, "p"), ("a", 1, 0, "p"), ("a", 0, 1, "p"), ("a", 0, 0, "q"), ("a", 0, 0, "p")]
    write_predictions(tmp_path / "p.csv", [row(*place) for place in places], ["model", "patient_id", "fold", "repeat"])
    assert (tmp_path / "p.csv").read_text().splitlines() == [
        "model,patient_id,fold,repeat", "a,p,0,0", "a,q,0,0", "a,p,1,0", "a,p,0,1", "b,p,0,0",
    ]  # fmt: skip


def test_the_tables_of_a_run_unite_its_folds_and_follow_up_is_there_where_it_was_kept(tmp_path):
    folder, columns = RunFolder(tmp_path), ["model", "fold", "patient_id"]
    records = [
        record_of(predictions=(row("m", 0, fold, "t"),), validation=(row("m", 0, fold, "v"),)) for fold in (1, 0)
    ]
    write_fold_tables(folder, records, columns)
    assert folder.predictions.read_text().splitlines()[1:] == ["m,0,t", "m,1,t"]
    assert folder.validation.read_text().splitlines()[1:] == ["m,0,v", "m,1,v"]
    assert not folder.follow_up.exists()
    write_fold_tables(folder, [replace(records[0], training=(row("m", 0, 1, "x"),)), records[1]], columns)
    assert folder.follow_up.read_text().splitlines()[1:] == ["m,1,x"]


def test_images_have_a_table_where_there_are_any(tmp_path):
    folder = RunFolder(tmp_path)
    write_image_predictions(folder, ImageTable(columns=["a"], rows=[[1]]))
    assert folder.image_predictions.read_text().splitlines() == ["a", "1"]
    for table in (None, ImageTable(columns=["a"], rows=[])):
        write_image_predictions(folder, ImageTable(columns=["a"], rows=[[1]]))
        write_image_predictions(folder, table)
        assert not folder.image_predictions.exists()
