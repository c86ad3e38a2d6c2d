"""What a spreadsheet would run stands in our tables as text, and our readers give back what was written."""

import csv

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.failures import SlideStatus, earlier_statuses, write_status
from common.files import read_named_rows, read_rows, write_table
from common.study import Study
from common.table_cells import cell_of, text_of, with_texts
from common.tables.clinical_table import read_text_table
from features.embedding.table_cohort import implied_cohort
from features.embedding.tile_table import read_tile_table
from features.store.feature_store import read_feature_bag, write_feature_bag
from mil.evaluate import main as evaluate
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import read_run
from mil.train import main as train
from preprocessing.make_contact_sheet import main as make_contact_sheet
from splits.make_splits import main as make_splits
from splits.split_store import read_splits
from tests.helpers.feature_study import ENCODER, make_feature_study

FORMULAS = (
    "=1+1",
    "+1-1",
    "-A1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "=cmd|' /C calc'!A0",
    "'=1+1",
    "''@x",
    "+49 170",
    "＝1+1",
    "\n=1",
)
HARMLESS = ("1", "-1", "+1.5", "-2e-05", "a=1", "'", "'a", "", "-", "=", "x@y", "-.5", " =1")


def raw(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("text", FORMULAS)
def test_s7_what_would_be_a_formula_has_an_apostrophe_before_it(text):
    assert cell_of(text) == f"'{text}"
    assert text_of(f"'{text}") == text


@pytest.mark.parametrize("text", HARMLESS)
def test_s7_other_texts_and_numbers_stay_as_they_are(text):
    assert cell_of(text) == text == text_of(text)


@given(st.text(st.sampled_from("'=+-@\t\r\n1e. a"), max_size=6) | st.integers() | st.floats(allow_nan=False))
def test_s7_reading_undoes_writing(value):
    cell = cell_of(value)
    assert (text_of(cell) if isinstance(value, str) else cell) == value
    if isinstance(value, str) and len(value) > 1 and value[0] in "=+-@\t\r":
        assert cell[0] == "'" or float(value) == float(value)


def test_s7_all_readers_of_tables_give_back_what_was_written(tmp_path):
    path, names = tmp_path / "t.csv", ["patient_id", "slide_id", "=note"]
    rows = [[text.strip(), f"s{number}", -1] for number, text in enumerate(FORMULAS)]
    write_table(path, names, rows)
    assert raw(path)[0][2] == "'=note"
    assert all(row[0][0] == "'" for row in raw(path)[1:])
    assert read_rows(path)[0] == names
    assert [row["patient_id"] for row in read_named_rows(path)] == [row[0] for row in rows]
    found = with_texts(pd.read_csv(path, keep_default_na=False))
    assert found["patient_id"].tolist() == [row[0] for row in rows]
    assert found["=note"].tolist() == [-1] * len(rows)
    assert [row["patient_id"] for _, row in read_text_table(path).rows] == [row[0] for row in rows]
    statuses = [SlideStatus(slide_id="=1+1", step="s", state="failed", reason="=A1", figures={"n": "-1"})]
    write_status(path, statuses)
    assert raw(path)[1] == ["'=1+1", "s", "failed", "'=A1", "", "-1"]
    assert earlier_statuses(path, ["=1+1"]) == statuses


def test_s7_a_tile_table_and_its_cohort_come_back(tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "=i.png")
    write_table(tmp_path / "key.csv", ["patient_ID", "Path", "Label"], [["=1+1", "=i.png", "@LMS"]])
    patients = read_tile_table(tmp_path / "key.csv")
    assert [(own.patient_id, own.subtype, own.images) for own in patients] == [("=1+1", "@LMS", (tmp_path / "=i.png",))]
    study = Study(tmp_path)
    implied_cohort(study, patients).write()
    assert raw(study.cohort_table)[1] == ["'=1+1", "'=1+1", "'@LMS"]
    assert implied_cohort(study, patients).rows == ()  # it is known again
    assert [row["patient_id"] for _, row in read_text_table(study.cohort_table).rows] == ["=1+1"]


def test_s7_a_study_of_odd_names_goes_through_training(tmp_path):
    study = make_feature_study(tmp_path / "study", n_patients=12)
    table = pd.read_csv(study.cohort_table).assign(site="-A")
    for column in ("patient_id", "slide_id"):
        table[column] = [f"={name[0]}+{name[1:]}" for name in table[column]]
    for path in sorted(study.features(ENCODER).glob("P*.h5")):
        new = path.with_name(f"=P+{path.name[1:]}")
        bag = read_feature_bag(path)
        attributes = {
            key: value for key, value in bag.attributes.items() if key not in ("schema", "slide_id", "content_sha256")
        }
        path.unlink()
        write_feature_bag(new, type(bag)(slide_id=new.stem, features=bag.features, coords=bag.coords,
                                         unreadable=bag.unreadable, attributes=attributes))  # fmt: skip
    table["subtype"] = [f"@{name}" for name in table["subtype"]]
    table.to_csv(study.cohort_table, index=False)
    flags = ["--study", str(study.root)]
    assert make_splits([*flags, "--folds", "2", "--method", "k_fold"]) == 0
    assert set(read_splits(study.splits_file("default"))["patient_id"]) == set(table["patient_id"])
    assert train([*flags, "--epochs", "2", "--bootstrap", "100"]) == 0
    assert evaluate([*flags, "--bootstrap", "100"]) == 0
    run = read_run(RunFolder(study.run("subtype", "default")))
    assert set(run.predictions["patient_id"]) == set(run.patients["patient_id"]) == set(table["patient_id"])
    assert set(run.predictions["truth"]) == set(table["subtype"])
    for path in [study.splits_file("default"), *run.folder.root.rglob("*.csv")]:
        assert not [cell for row in raw(path) for cell in row if cell[:1] in ("=", "@")], path


def test_s7_the_contact_sheet_reads_the_status_table(tmp_path):
    study = Study(tmp_path)
    write_status(
        study.tiles / "status.csv", [SlideStatus(slide_id="=1+1", step="s", state="failed", reason="=x", figures={})]
    )
    assert make_contact_sheet(["--study", str(tmp_path)]) == 0
    page = next(tmp_path.rglob("*.html")).read_text()
    assert "=1+1" in page
    assert "'=1+1" not in page
