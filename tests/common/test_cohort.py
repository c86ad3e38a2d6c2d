"""The clinical table: every fault at once with its row, any order the same, TCGA barcodes, mapped names, other formats."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.cohort import read_cohort
from common.failures import StudyError
from common.slide_files import find_slides
from common.study import Study, open_study
from common.tables.clinical_table import MISSING, read_text_table
from common.tables.cohort_columns import OF_TWO_LESIONS

GOOD = pd.DataFrame(
    {
        "patient_id": ["b", "a", "a"],
        "slide_id": ["3.svs", "2", "1"],
        "subtype": ["LMS", "SS", "SS"],
        "time": [5, 12.5, 12.5],
        "event": ["1", "0", "0"],
        "age": [70, 50, 50],
    }
)


def write(tmp_path, table, name="cohort.csv"):
    path = tmp_path / name
    table.to_csv(path, index=False)
    return path


def test_rows_are_sorted_and_typed(tmp_path):
    cohort = read_cohort(write(tmp_path, GOOD))
    assert cohort.slides["slide_id"].tolist() == ["1", "2", "3"]
    assert cohort.patients.index.tolist() == ["a", "b"]
    assert cohort.patients.loc["b", "event"] == 1
    assert cohort.patients.loc["a", "time"] == 12.5
    assert cohort.patients["age"].tolist() == [50, 70]


@pytest.mark.parametrize(
    ("text", "event"),
    [("0", 0), ("1", 1), ("0.0", 0), ("1.0", 1), ("false", 0), ("true", 1), ("FALSE", 0), ("True", 1)],
)
def test_v8_every_spelling_of_an_event_is_read(tmp_path, text, event):
    other = "1" if event == 0 else "0"
    cohort = read_cohort(write(tmp_path, GOOD.assign(event=[text, other, other])))
    assert cohort.patients["event"].to_dict() == {"b": event, "a": 1 - event}


def test_row_order_does_not_matter(tmp_path):
    first = read_cohort(write(tmp_path, GOOD)).slides
    second = read_cohort(write(tmp_path, GOOD.iloc[[1, 2, 0]])).slides
    pd.testing.assert_frame_equal(first, second)


def test_excel_parquet_and_tsv_read_alike(tmp_path):
    expected = read_cohort(write(tmp_path, GOOD)).slides
    GOOD.to_excel(tmp_path / "c.xlsx", index=False)
    GOOD.to_parquet(tmp_path / "c.parquet")
    GOOD.to_csv(tmp_path / "c.tsv", sep="\t", index=False)
    for name in ("c.xlsx", "c.parquet", "c.tsv"):
        pd.testing.assert_frame_equal(read_cohort(tmp_path / name).slides, expected)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("subtype", ["LMS", "SS", "UPS"], r"patient a has two values of subtype: SS \(row 3\), UPS \(row 4\)"),
        ("time", [5, 1, 2], "patient a has two values of time"),
        ("slide_id", ["1", "2", "1"], "row 4: slide 1 stands in the table twice"),
        ("slide_id", ["1", "2", "../x"], "row 4: slide_id '../x' cannot be a file name"),
        ("slide_id", ["1", None, "3"], "row 3: no slide_id"),
        ("time", [-1, 3, 3], "row 2: time -1 is negative"),
        ("time", ["soon", 3, 3], "row 2: time 'soon' is not a number"),
        ("event", ["2", "0", "0"], r"row 2: event '2' is not 0 \(censored\) or 1"),
        ("event", [None, "0", "0"], "row 2: time and event belong together"),
    ],
)
def test_faults_are_named_with_their_row(tmp_path, column, values, message):
    with pytest.raises(StudyError, match=message):
        read_cohort(write(tmp_path, GOOD.assign(**{column: values})))


def test_all_faults_stand_in_one_message(tmp_path):
    table = GOOD.assign(event=["x", "0", "0"], time=[-2, 4, 4])
    with pytest.raises(StudyError, match=r"has 2 fault\(s\)(.|\n)*not 0(.|\n)*negative"):
        read_cohort(write(tmp_path, table))


def test_missing_and_unreadable_tables(tmp_path):
    with pytest.raises(StudyError, match="no clinical table"):
        read_cohort(tmp_path / "cohort.csv")
    (tmp_path / "cohort.csv").write_text("")
    with pytest.raises(StudyError, match="not readable as a table"):
        read_cohort(tmp_path / "cohort.csv")
    with pytest.raises(StudyError, match="no column patient_id; it has slide_id, subtype"):
        read_cohort(write(tmp_path, GOOD[["slide_id", "subtype"]]))
    with pytest.raises(StudyError, match="only one of the two"):
        read_cohort(write(tmp_path, GOOD.drop(columns="event")))


def test_tcga_barcodes_give_patient_and_site(tmp_path, shared_data):
    table = pd.read_csv(shared_data / "tables" / "tcga_sarc_dx_slides_566.csv")
    cohort = read_cohort(write(tmp_path, table[["slide_id"]]))
    assert cohort.patients["site"].to_dict() == dict(zip(table["case_id"], table["tss"], strict=True))


def test_mapped_names_and_restriction(tmp_path):
    path = write(tmp_path, GOOD.rename(columns={"patient_id": "case", "subtype": "dx"}))
    (tmp_path / "study.yaml").write_text("columns:\n  patient_id: case\n  subtype: dx\n")
    assert read_cohort(path, where="subtype == 'SS'").patients.index.tolist() == ["a"]
    with pytest.raises(StudyError, match="keeps no row"):
        read_cohort(path, where="subtype == 'UPS'")
    with pytest.raises(StudyError, match="does not fit"):
        read_cohort(path, where="stage == 1")
    (tmp_path / "study.yaml").write_text("columns:\n  patient_id: nobody\n")
    with pytest.raises(StudyError, match="no column nobody"):
        read_cohort(path)


def test_slides_are_found_in_subfolders_and_series(tmp_path):
    for name in ("b/2.SVS", "1.tif", ".hidden/3.svs", "notes.txt", "series/x.dcm", "series/y.dcm"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(find_slides(tmp_path)) == ["1", "2", "series"]
    (tmp_path / "b" / "1.ndpi").touch()
    with pytest.raises(StudyError, match="two files with one slide id"):
        find_slides(tmp_path)


def test_missing_folders_say_what_a_study_needs(tmp_path):
    with pytest.raises(StudyError, match=r"cohort.csv(.|\n)*make_demo_study.py"):
        open_study(tmp_path / "nowhere")
    with pytest.raises(StudyError, match="no folder"):
        find_slides(tmp_path / "slides")
    with pytest.raises(StudyError, match="no slides in"):
        find_slides(tmp_path)


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"mpp_x": [0.5, 0.5]}, "mpp_x and mpp_y belong together, and only one"),
        ({"mpp_x": [0.5, 0.5], "mpp_y": [0.25, None]}, "row 3: mpp_x and mpp_y belong together, and one is missing"),
        ({"mpp_x": [0.5, "half"], "mpp_y": [0.25, 0.25]}, "row 3: mpp_x 'half' is not a number"),
        ({"mpp": [0.5, 0]}, "row 3: mpp is µm a pixel, above 0, got 0"),
        ({"mpp": [0.5, 0.5], "mpp_x": [None, 0.5], "mpp_y": [None, 0.4]}, "row 3: mpp says another scale"),
    ],
)
def test_faults_of_scales_are_named(tmp_path, columns, fault):
    pd.DataFrame({"patient_id": ["a", "b"], "slide_id": ["1", "2"], **columns}).to_csv(tmp_path / "c.csv", index=False)
    with pytest.raises(StudyError, match=fault):
        read_cohort(tmp_path / "c.csv")


def test_given_sets_are_read_in_any_case_and_by_their_other_words(tmp_path):
    table = pd.DataFrame(
        {"patient_id": list("abcd"), "slide_id": list("1234"), "set": ["Train", "VALID", "test", "training"]}
    )
    assert read_cohort(write(tmp_path, table)).slides["set"].tolist() == ["train", "val", "test", "train"]
    with pytest.raises(StudyError, match="row 3: set None is not train, val or test"):
        read_cohort(write(tmp_path, table.assign(set=["train", None, "test", "train"])))


def test_two_lesions_are_hinted_at_only_for_two_subtypes(tmp_path):
    for changed, is_hinted in (
        ({"subtype": ["LMS", "SS", "LMS"]}, True),
        ({"time": [5, 1, 2]}, False),
        ({"subtype": ["LMS", "SS", None]}, False),
    ):
        with pytest.raises(StudyError, match="patient a has two values of") as error:
            read_cohort(write(tmp_path, GOOD.assign(**changed)))
        assert (OF_TWO_LESIONS in str(error.value)) == is_hinted


def test_scales_belong_to_slides_not_to_patients(tmp_path):
    table = pd.DataFrame(
        {
            "patient_id": ["a", "a"],
            "slide_id": ["1", "2"],
            "mpp_x": [0.5, None],
            "mpp_y": [0.25, None],
            "mpp": [None, 1],
        }
    )
    table.to_csv(tmp_path / "c.csv", index=False)
    cohort = read_cohort(tmp_path / "c.csv")
    assert len(cohort.patients) == 1
    assert cohort.slides["mpp_y"].tolist()[0] == 0.25


def copy_series(source, target, names):
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        (target / name).write_bytes((source / name).read_bytes())


def test_dicom_files_of_one_series_are_one_slide(shared_data, tmp_path):
    formats = shared_data / "formats"
    levels = sorted(path.name for path in (formats / "dicom_jcupitt_cmu1").iterdir())
    copy_series(formats / "dicom_jcupitt_cmu1", tmp_path / "one", levels)
    copy_series(formats / "dicom_google", tmp_path / "two", ["camelyon_jp2k.dcm", "camelyon_jpeg.dcm"])
    assert find_slides(tmp_path) == {
        "one": tmp_path / "one",
        "camelyon_jp2k": tmp_path / "two" / "camelyon_jp2k.dcm",
        "camelyon_jpeg": tmp_path / "two" / "camelyon_jpeg.dcm",
    }
    copy_series(formats / "dicom_jcupitt_cmu1", tmp_path / "top", levels)
    assert find_slides(tmp_path / "top") == {"level-0-frames-0-30": tmp_path / "top" / "level-0-frames-0-30.dcm"}
    copy_series(formats / "dicom_google", tmp_path / "top", ["camelyon_jpeg.dcm"])
    (tmp_path / "top" / "damaged.dcm").write_bytes(b"no DICOM")
    assert list(find_slides(tmp_path / "top")) == ["camelyon_jpeg", "damaged", "level-0-frames-0-30"]


def test_jpegs_that_are_parts_of_another_format_are_no_slides(tmp_path):
    for name in ("vms/a.vms", "vms/a_x1.jpg", "flat/b.jpg", "flat/c.PNG", "flat/d.jpeg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(find_slides(tmp_path)) == ["a", "b", "c", "d"]


def test_slides_are_found_through_links_to_folders_each_once(tmp_path):
    disk, study = tmp_path / "disk", tmp_path / "study"
    (disk / "site_a").mkdir(parents=True)
    (disk / "site_a" / "1.svs").write_bytes(b"")
    (disk / "site_a" / "back").symlink_to(disk)
    study.mkdir()
    (study / "a").symlink_to(disk / "site_a")
    (study / "again").symlink_to(disk / "site_a")
    assert find_slides(study) == {"1": study / "a" / "1.svs"}


def test_what_is_missing_is_what_pandas_counts_as_missing():
    from pandas._libs.parsers import STR_NA_VALUES

    assert MISSING == STR_NA_VALUES


TRICKY = """patient_id,slide_id,note,grade,size,empty
a,1,"two, with
a line",2,1.5,

b,2,NA,3,,
 c ,3,"say ""so""\",1,2e3,
,,,,,
d,4,5,+1,-.5,
"""


def test_text_types_and_missing_values_are_those_of_pandas(tmp_path):
    (tmp_path / "c.csv").write_text("\ufeff" + TRICKY, encoding="utf-8")
    theirs = pd.read_csv(tmp_path / "c.csv", skipinitialspace=True).dropna(how="all").reset_index(drop=True)
    theirs["patient_id"] = theirs["patient_id"].str.strip()
    theirs["slide_id"] = theirs["slide_id"].astype(int).astype(str)
    theirs["grade"] = theirs["grade"].astype(int)
    pd.testing.assert_frame_equal(read_cohort(tmp_path / "c.csv").slides, theirs)


def test_rows_are_numbered_as_a_spreadsheet_does_past_empty_lines_and_line_breaks(tmp_path):
    (tmp_path / "c.csv").write_text(TRICKY.replace("d,4", "../d,4"))
    with pytest.raises(StudyError, match=r"row 7: patient_id '\.\./d' cannot be a file name"):
        read_cohort(tmp_path / "c.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patient_id,slide_id\na,1\nb,2,x\n", "row 3 has 3 values, the header 2 columns"),
        ("patient_id,slide_id\na,1\nb,2,\n", None),
        ('patient_id,slide_id\na,"1\n', "not readable as a table"),
        ("patient_id,slide_id\n,\n", "has no rows"),
        ("patient_id,slide_id,slide_id \na,1,1\n", "two columns have the name slide_id"),
        (b"patient_id,slide_id\nM\xfcller,1\n", "not readable as a table"),
    ],
)
def test_damaged_tables_are_named_and_never_shifted(tmp_path, text, message):
    """A trailing comma must not make an index of the first column, as pandas would."""
    (tmp_path / "c.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    if message is None:
        assert [row["patient_id"] for row in read_cohort(tmp_path / "c.csv").rows] == ["a", "b"]
        return
    with pytest.raises(StudyError, match=message):
        read_cohort(tmp_path / "c.csv")


def test_a_restriction_keeps_the_types_of_the_whole_table(tmp_path):
    path = write(tmp_path, GOOD.assign(grade=["high", "2", "1"]))
    kept = read_cohort(path, where="subtype == 'SS'")
    assert kept.slides["grade"].tolist() == ["1", "2"]
    assert [row["slide_id"] for row in kept.rows] == ["1", "2"]


def test_reading_a_csv_table_does_not_import_pandas(tmp_path):
    """Every command reads the table; pandas alone takes as long as the tissue of a slide."""
    program = "import sys, pathlib, common.cohort as c; c.read_cohort(pathlib.Path(sys.argv[1])); sys.exit('pandas' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", program, write(tmp_path, GOOD)], check=True, cwd=root)


def test_slides_whose_names_cannot_be_written_down_are_refused_at_once(tmp_path):
    os.close(os.open(os.fsencode(tmp_path) + b"/Pr\xe4parat.tif", os.O_CREAT))
    with pytest.raises(StudyError, match=r"Pr\\udce4parat\.tif.* is not in UTF-8"):
        find_slides(tmp_path)


def test_the_table_may_have_another_ending_but_only_one(tmp_path):
    study = Study(tmp_path)
    assert study.cohort_table.name == "cohort.csv"
    GOOD.to_excel(tmp_path / "cohort.xlsx", index=False)
    assert len(read_cohort(study.cohort_table).rows) == 3
    write(tmp_path, GOOD)
    with pytest.raises(StudyError, match="two clinical tables"):
        _ = study.cohort_table


def test_columns_without_a_name_are_passed_over(tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_text(",patient_id,slide_id,subtype,,\n0,a,1,SS,,\n1,b,2,LMS,,x\n,,,,,y\n")  # an index, and leftovers
    cohort = read_cohort(path)
    assert cohort.columns == ("patient_id", "slide_id", "subtype")
    assert [row["slide_id"] for row in cohort.rows] == ["1", "2"]
    pd.DataFrame([["patient_id", "slide_id", "age", "age"], ["a", "1", 3, 4]]).to_excel(
        tmp_path / "c.xlsx", index=False, header=False
    )
    with pytest.raises(StudyError, match="two columns have the name age"):
        read_cohort(tmp_path / "c.xlsx")


def test_one_column_may_be_patient_and_slide(tmp_path):
    path = write(tmp_path, GOOD.drop(columns="patient_id").rename(columns={"slide_id": "case"}))
    cohort = read_cohort(path, columns={"patient_id": "case", "slide_id": "case"})
    assert [(row["patient_id"], row["slide_id"]) for row in cohort.rows] == [("1", "1"), ("2", "2"), ("3.svs", "3")]


def test_decimal_commas_are_named_and_other_commas_are_text(tmp_path):
    with pytest.raises(StudyError, match=r"row 3: age '50,5' has a comma for its decimal point"):
        read_cohort(write(tmp_path, GOOD.assign(age=["70", "50,5", "50,5"])))
    assert read_cohort(write(tmp_path, GOOD.assign(age=["70", "50,5", "about 50"]))).slides["age"].dtype == object


def test_slides_left_out_by_a_restriction_are_known(tmp_path):
    path = write(tmp_path, GOOD)
    assert read_cohort(path).left_out == frozenset()
    assert read_cohort(path, where="patient_id == 'a'").left_out == {"3"}


@pytest.mark.parametrize("expression", ["age", "age + 1", "subtype", "'SS'"])
def test_a_restriction_that_is_no_yes_or_no_is_refused(tmp_path, expression):
    with pytest.raises(StudyError, match="is not true or false for each row"):
        read_cohort(write(tmp_path, GOOD), where=expression)


def test_a_missing_value_is_not_chosen(tmp_path):
    table = GOOD.assign(event=["1", None, None], time=[5, None, None])
    assert [row["slide_id"] for row in read_cohort(write(tmp_path, table), where="event == 1").rows] == ["3"]


@pytest.mark.parametrize("ending", ["xlsx", "parquet"])
def test_d5_a_damaged_workbook_or_parquet_is_one_message(tmp_path, ending):
    path = tmp_path / f"cohort.{ending}"
    table = pd.DataFrame({"patient_id": ["a", "b"], "slide_id": ["x", "y"]})
    if ending == "parquet":
        table.to_parquet(path)
    else:
        table.to_excel(tmp_path / "made.xlsx", index=False)
        path.write_bytes((tmp_path / "made.xlsx").read_bytes())
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        start = int(rng.integers(len(whole)))
        damaged[start : start + 40] = b"\0" * len(damaged[start : start + 40])
        path.write_bytes(bytes(damaged if rng.random() < 0.5 else whole[:start]))
        try:
            read_text_table(path)  # damage may lie where nothing is read
        except StudyError as error:
            assert str(path) in str(error)
