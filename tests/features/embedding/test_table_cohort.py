"""The clinical table of a tile table keeps its other columns, and what a person put into it."""

import csv

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from common.cohort import read_cohort
from common.failures import StudyError
from common.study import Study
from features.embedding.table_cohort import implied_cohort
from features.embedding.tile_table import columns_by_image, read_tile_table
from features.extract_features import main as extract

HEADER = "patient_ID,Path,Label,training_set,is_valid,site,Age,x"
ROWS = ("p,a.png,A,TRAIN,False,Kiel,58,1", "p,b.png,A,TRAIN,False,,58,2", "q,c.png,B,VALID,True,Mainz,,3")


def table_of(folder, rows=ROWS, header=HEADER):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "key.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder / "key.csv"


def made(tmp_path, rows=ROWS, header=HEADER):
    table = table_of(tmp_path, rows, header)
    patients = read_tile_table(table)
    cohort = implied_cohort(Study(tmp_path / "study"), patients, columns_by_image(table, patients))
    cohort.write()
    return cohort


def text_of(tmp_path):
    return (tmp_path / "study" / "cohort.csv").read_text()


def test_t12_other_columns_of_a_patient_are_kept_and_those_of_images_are_said(tmp_path):
    cohort = made(tmp_path)
    assert text_of(tmp_path).splitlines() == [
        "patient_id,slide_id,subtype,set,site,Age", "p,p,A,train,Kiel,58", "q,q,B,test,Mainz,",
    ]  # fmt: skip
    assert cohort.notes == ("x of the tile table goes by images, not patients, and stays out of cohort.csv",)
    assert made(tmp_path).rows == ()
    assert read_cohort(tmp_path / "study" / "cohort.csv").columns == (
        "patient_id",
        "slide_id",
        "subtype",
        "set",
        "site",
        "Age",
    )


def test_t12_a_name_of_the_clinical_table_is_known_whatever_its_case(tmp_path):
    made(
        tmp_path,
        ["p,a.png,A,TRAIN,Kiel,S1", "q,c.png,B,VALID,Mainz,S2"],
        "patient_ID,Path,Label,training_set,SITE,slide_id",
    )
    assert text_of(tmp_path).splitlines()[0] == "patient_id,slide_id,subtype,set,site"


@pytest.mark.parametrize(("name", "values"), [("site", "Kiel Mainz"), ("time", "3 4"), ("event", "0 1")])
def test_t12_two_values_of_what_a_patient_has_one_of_are_a_fault(tmp_path, name, values):
    one, other = values.split()
    rows = [f"p,a.png,A,{one}", f"p,b.png,A,{other}"]
    with pytest.raises(StudyError, match=f"patient p has two values of {name}: {one}, {other}"):
        made(tmp_path, rows, f"patient_ID,Path,Label,{name}")


def test_t12_what_a_person_added_or_corrected_survives_a_rerun(tmp_path):
    made(tmp_path)
    path = tmp_path / "study" / "cohort.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table["grade"] = ["3", "2"]
    table.loc[0, "Age"] = "59"
    table[::-1][["grade", *table.columns[:-1]]].to_csv(path, index=False)
    before = path.read_bytes()
    cohort = made(tmp_path)
    assert path.read_bytes() == before
    assert cohort.notes[1:] == ("Age differs between cohort.csv and the tile table (p); cohort.csv stands",)


def test_t12_a_column_that_the_tile_table_got_later_is_added(tmp_path):
    made(tmp_path)
    path = tmp_path / "study" / "cohort.csv"
    path.write_text(path.read_text().replace(",Age", ",Age,grade").replace("58", "58,3").replace("Mainz,", "Mainz,,2"))
    made(tmp_path, [f"{row},{sex}" for row, sex in zip(ROWS, "ffm", strict=True)], f"{HEADER},sex")
    with path.open() as file:
        assert list(csv.reader(file)) == [
            ["patient_id", "slide_id", "subtype", "set", "site", "Age", "grade", "sex"],
            ["p", "p", "A", "train", "Kiel", "58", "3", "f"], ["q", "q", "B", "test", "Mainz", "", "2", "m"],
        ]  # fmt: skip


def test_t12_a_workbook_of_a_person_is_read_and_left(tmp_path):
    made(tmp_path)
    path = tmp_path / "study" / "cohort.csv"
    table = pd.read_csv(path, dtype=str)
    path.unlink()
    table.assign(grade=["3", "2"]).drop(columns="Age").to_excel(path.with_suffix(".xlsx"), index=False)
    before = path.with_suffix(".xlsx").read_bytes()
    assert made(tmp_path).notes[1:] == ("cohort.xlsx lacks Age of the tile table; add them there if they are wanted",)
    assert path.with_suffix(".xlsx").read_bytes() == before
    assert not path.exists()


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (ROWS[:2], "the tile table lacks q"),
        ((*ROWS, "r,d.png,B,TRAIN,False,Kiel,1,1"), "only the tile table has r"),
        (tuple(row.replace(",A,", ",C,") for row in ROWS), "subtype of p is A there and C in the tile table"),
    ],
)  # fmt: skip
def test_t12_a_table_of_other_patients_or_labels_is_refused_with_the_difference(tmp_path, rows, fault):
    made(tmp_path)
    before = text_of(tmp_path)
    with pytest.raises(StudyError, match=f"belongs to another study: {fault}; give"):
        made(tmp_path, rows)
    assert text_of(tmp_path) == before


@pytest.mark.slow
@pytest.mark.usefixtures("kept_networks")
def test_t12_the_script_keeps_both(tmp_path, capsys):
    for seed, name in enumerate("abc"):
        pixels = np.random.default_rng(seed).integers(0, 255, (256, 256, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    flags = ["--study", str(tmp_path / "study"), "--tiles", str(table_of(tmp_path)), "--workers", "1"]
    assert extract(flags) == 0
    assert "note: x of the tile table goes by images" in capsys.readouterr().out
    path = tmp_path / "study" / "cohort.csv"
    path.write_text(path.read_text().replace(",Age", ",Age,grade").replace("58", "58,3").replace("Mainz,", "Mainz,,2"))
    before = path.read_bytes()
    assert extract(flags) == 0
    assert path.read_bytes() == before
