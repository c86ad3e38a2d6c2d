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
from common.tables.cohort_columns import (
    OF_TWO_LESIONS,
    grouped_faults,
    number_fault,
    typed_with_faults,
    whole_labels,
    without_zeros,
    zero_notes,
)
from common.tables.given_sets import with_given_sets
from common.tables.study_notes import StudyNotes, study_notes

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


def numbered(**columns):
    """Return rows as they come from a file, numbered from 2."""
    names = list(columns)
    return names, [
        (2 + at, dict(zip(names, row, strict=True))) for at, row in enumerate(zip(*columns.values(), strict=True))
    ]


def faults_of(unit="patient", **columns):
    n_rows = len(next(iter(columns.values())))
    ids = {"patient_id": [f"p{at}" for at in range(n_rows)], "slide_id": [f"s{at}" for at in range(n_rows)]}
    names, rows = numbered(**(ids | columns))
    return typed_with_faults(names, rows, unit=unit), [row for _, row in rows]


def test_slides_may_differ_in_subtype_where_they_are_the_unit_and_in_nothing_else():
    same = {"patient_id": ["a", "a"], "subtype": ["LMS", "SS"]}
    assert faults_of(unit="slide", **same)[0] == []
    assert faults_of(**same)[0] == [f"patient a has two values of subtype: LMS (row 2), SS (row 3){OF_TWO_LESIONS}"]
    for column in ("site", "set"):
        values = ["train", "test"]
        found = faults_of(unit="slide", **same, **{column: values})[0]
        assert found == [f"patient a has two values of {column}: train (row 2), test (row 3)"]
    found = faults_of(patient_id=["b", "a", "b", "a"], site=["x", None, "y", "z"])[0]
    assert found == [
        "patient a has two values of site: z (row 5) and a missing value",
        "patient b has two values of site: x (row 2), y (row 4)",
    ]


def test_labels_stored_as_numbers_lose_their_point_where_all_have_one():
    names, rows = numbered(patient_id=["7.0", None, "8.0"], slide_id=["7.0", "8", "9.0"], age=["7.0", "8.0", "9.0"])
    whole_labels(names, rows)
    assert [row["patient_id"] for _, row in rows] == ["7", None, "8"]
    assert [row["slide_id"] for _, row in rows] == ["7.0", "8", "9.0"]
    assert [row["age"] for _, row in rows] == ["7.0", "8.0", "9.0"]


@pytest.mark.parametrize(("n_pairs", "more"), [(5, ""), (6, " and 1 more")])
def test_five_pairs_that_differ_by_zeros_are_named(n_pairs, more):
    labels = [text for number in range(1, n_pairs + 1) for text in (f"0{number}", str(number))]
    shown = ", ".join(f"'0{number}' and '{number}'" for number in range(1, 6)) + more
    hints = {"site": "if they are one, write it in one way", "age": "they are one number here"}
    for name, hint in hints.items():
        names, rows = numbered(**{name: labels[::-1]})
        assert zero_notes(names, rows) == [f"{name} {shown} differ by leading zeros alone; {hint}"]
    names, rows = numbered(time=labels)
    assert zero_notes(names, rows) == []
    names, rows = numbered(grade=["01", "1", "x"])
    assert zero_notes(names, rows)[0].endswith("if they are one, write it in one way")
    assert [without_zeros(text) for text in ("P007", "0", "1.05", "00,5", "A0B00")] == [
        "P7",
        "0",
        "1.05",
        "0,5",
        "A0B0",
    ]


@pytest.mark.parametrize("n_labels", [10, 11])
def test_ten_numbers_are_grades_and_more_are_no_classes(n_labels):
    labels = [str(number) for number in range(n_labels)]
    said = f"is a column of numbers ({n_labels} different, 0 to {n_labels - 1}), no classes"
    assert number_fault(labels * 2) == (said if n_labels > 10 else "")
    assert number_fault([*labels[1:], "x"]) == ""


@pytest.mark.parametrize(("n_words", "more"), [(5, ""), (6, " and 1 more")])
def test_five_words_that_are_no_number_are_named(n_words, more):
    words = [f"w{number}" for number in range(n_words)]
    ((fault,), rows) = faults_of(time=[*words, words[0]], event=["1"] * (n_words + 1))
    shown = ", ".join(map(repr, words[:5])) + more
    assert fault == f"rows {', '.join(map(str, range(2, n_words + 3)))}: time {shown} is not a number"
    assert all(row["time"] != row["time"] for row in rows)


def test_the_meaning_of_an_event_is_proposed_only_where_every_word_says_it():
    clear, _ = faults_of(time=["1", "2"], event=["alive", "Dead of disease"])
    assert clear == [
        "rows 2, 3: event 'alive', 'Dead of disease' is not 0 (censored) or 1 (event); say so in study.yaml, under columns: "
        'event: {column: NAME IN THE TABLE, values: {"alive": 0, "Dead of disease": 1}}'
    ]
    unclear, _ = faults_of(time=["1", "2"], event=["alive", "lost"])
    assert unclear == ["rows 2, 3: event 'alive', 'lost' is not 0 (censored) or 1 (event)"]


def test_numbers_of_covariates_are_whole_where_all_are_and_none_is_missing():
    cases = {
        ("1", "+2", "-3"): [1, 2, -3], ("1", "2.0", "3"): [1.0, 2.0, 3.0], ("9" * 17, "1", "2"): [int("9" * 17), 1, 2],
        ("9" * 18, "1", "2"): [float("9" * 18), 1.0, 2.0], ("x", "1", "2"): ["x", "1", "2"],
    }  # fmt: skip
    for texts, wanted in cases.items():
        faults, rows = faults_of(age=list(texts))
        assert faults == []
        assert [row["age"] for row in rows] == wanted
        assert [type(row["age"]) for row in rows] == [type(value) for value in wanted]
    faults, rows = faults_of(age=["1", None, "2"])
    assert [type(row["age"]) for row in rows] == [float] * 3
    assert faults_of(age=["1", None, "2,5"])[0] == [
        "row 4: age '2,5' has a comma for its decimal point; write points in the whole column"
    ]
    assert faults_of(age=["1,5,5", "1"])[0] == []  # a text
    assert faults_of(age=["12,345,678", "1"])[0][0].startswith("row 2: age '12,345,678' has a comma, for thousands or")


@pytest.mark.parametrize(
    ("text", "is_number"),
    [("1", True), ("-1.5e3", True), (".5", True), ("1e999", False), ("-1e999", False), ("inf", False), ("nan", False),
     ("1_0", False)],
)  # fmt: skip
def test_times_are_finite_numbers_in_plain_digits(text, is_number):
    faults, rows = faults_of(mpp=[text])
    assert (rows[0]["mpp"] == float(text)) if is_number else faults == [f"row 2: mpp {text!r} is not a number"]


def test_scales_are_above_0_both_given_and_said_once():
    for scale, fault in (("0", "got 0"), ("-0.5", "got -0.5"), ("0.001", None)):
        faults, _ = faults_of(mpp=[scale])
        assert faults == ([] if fault is None else [f"row 2: mpp is µm a pixel, above 0, {fault}"])
    assert faults_of(mpp=["0.5"], mpp_x=["0.5"], mpp_y=["0.5"])[0] == []
    assert faults_of(mpp=["0.5"], mpp_x=["0.5"], mpp_y=["0.25"])[0] == [
        "row 2: mpp says another scale than mpp_x and mpp_y; keep one"
    ]
    assert faults_of(mpp_x=["0.5"], mpp_y=["0.25"])[0] == []
    for given in ({"mpp_x": ["0.5"], "mpp_y": [None]}, {"mpp_x": [None], "mpp_y": ["0.5"]}):
        assert faults_of(**given)[0] == ["row 2: mpp_x and mpp_y belong together, and one is missing"]
    assert faults_of(mpp_y=["0.5"])[0] == ["mpp_x and mpp_y belong together, and only one of the two columns is there"]
    assert faults_of(time=["0"], event=["1"])[0] == []
    assert faults_of(time=["-0.5"], event=["1"])[0] == ["row 2: time -0.5 is negative"]
    assert faults_of(time=[None], event=["1"])[0] == ["row 2: time and event belong together, and one is missing"]
    assert faults_of(time=[None], event=[None])[0] == []


def test_a_slide_is_named_twice_only_where_its_name_is_there():
    faults, rows = faults_of(slide_id=["x.svs", None, "x.TIF", None, "y.tar"])
    assert faults == ["rows 3, 5: no slide_id", "row 4: slide x stands in the table twice"]
    assert [row["slide_id"] for row in rows] == ["x", None, "x", None, "y.tar"]
    assert grouped_faults([(3, "b"), (2, "a"), (5, "b")]) == ["rows 3, 5: b", "row 2: a"]


def test_likes_are_found_by_case_for_labels_and_by_form_for_patients():
    assert faults_of(patient_id=["a", "A"], subtype=["x", "y"])[0] == []
    assert faults_of(site=["Ab", "aB"])[0] == [
        "site 'Ab' (row 2) and 'aB' (row 3) differ by case alone; write one of them in all rows"
    ]
    found = faults_of(site=["b", "x", "x", "b  c", "b c"])[0]
    assert found == [
        "site 'b  c' (row 5) and 'b c' (row 6) differ by Unicode form alone; write one of them in all rows"
    ]


def given(words, name="training_set", **more):
    names, rows = numbered(**({name: words} | more))
    return with_given_sets(names, rows), [row for _, row in rows]


def test_the_sets_of_the_notebook_fill_the_column_where_there_is_none():
    (names, notes), rows = given(["TRAIN", "VALID", None], age=["1", "2", "3"])
    assert (names, notes) == (
        ("age", "set"),
        ("the given sets are those of training_set; its VALID patients are the test set",),
    )
    assert rows == [{"age": "1", "set": "train"}, {"age": "2", "set": "test"}, {"age": "3", "set": None}]
    (names, notes), rows = given(["TRAIN", "odd", "TRAIN"])
    assert notes == ("the given sets are those of training_set",)
    assert [row["set"] for row in rows] == ["train", "odd", "train"]
    (_, notes), rows = given(["1", "0", "False"], name="Is_Valid", TRAINING_SET=["TEST", "VALID", "TRAIN"])
    assert notes == ("the given sets are those of TRAINING_SET",)
    assert [row["set"] for row in rows] == ["test", "val", "train"]
    assert set(rows[0]) == {"set"}
    (names, notes), rows = given(["TRAIN"], set=["test"], is_valid=["1"])
    assert (names, notes) == (("set",), ("training_set, is_valid not used: the table has a column set",))
    assert rows == [{"set": "test"}]
    (names, notes), rows = given(["x"], name="age")
    assert (names, notes, rows) == (("age",), (), [{"age": "x"}])


def test_notes_on_a_study_are_short_texts():
    assert study_notes(None, "x") == study_notes([1], "x") == study_notes({}, "x") == StudyNotes()
    long = "y" * 200
    found = study_notes({"unit": "slide", "source": f" {long}\n", "date": 2024}, "x")
    assert found == StudyNotes(unit="slide", source=long, date="2024")
    assert study_notes({"source": None}, "x").source == ""
    for wrong, message in (
        ({"source": long + "z"}, "x: source has 201 letters; 200 are the most"),
        ({"date": {"a": 1}}, "x: date is one text, such as 2024-03-29, not a dict"),
        ({"source": [1]}, "x: source is one text, such as 2024-03-29, not a list"),
        ({"unit": "person"}, "x: unit is patient or slide, not 'person'"),
    ):
        with pytest.raises(StudyError, match=message):
            study_notes(wrong, "x")
