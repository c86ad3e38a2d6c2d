"""A table of patients joined to the table of slides: whose row is whose, what differs is refused, what is lacking is said."""

import pytest

from common.cohort import read_cohort
from common.failures import StudyError

SLIDES = "patient_id,slide_id,subtype\nA,a1,LMS\nA,a2,LMS\nB,b1,UPS\nC,c1,MFS\n"
PATIENTS = "patient_id,time,event,age\nB,20,0,61\nA,10,1,50\nD,5,1,70\n"


def study(tmp_path, *, slides=SLIDES, patients=PATIENTS, settings="patients: clinical.csv\n"):
    (tmp_path / "cohort.csv").write_text(slides)
    (tmp_path / "clinical.csv").write_text(patients)
    (tmp_path / "study.yaml").write_text(settings)
    return tmp_path / "cohort.csv"


def test_each_slide_gets_the_row_of_its_patient_and_who_lacks_one_is_named(tmp_path):
    cohort = read_cohort(study(tmp_path))
    assert cohort.columns == ("patient_id", "slide_id", "subtype", "time", "event", "age")
    found = {
        row["slide_id"]: (row["time"], row["event"], row["age"]) for row in cohort.rows if row["patient_id"] != "C"
    }
    assert found == {"a1": (10.0, 1, 50), "a2": (10.0, 1, 50), "b1": (20.0, 0, 61)}
    assert cohort.slides.set_index("slide_id").loc["c1", ["time", "event", "age"]].isna().all()
    assert "1 patients of the table of slides have no row in clinical.csv: C" in cohort.notes
    assert "1 patients of clinical.csv have no slide in the table of slides: D" in cohort.notes


def test_without_a_table_of_patients_nothing_changes(tmp_path):
    path = study(tmp_path, settings="unit: patient\n")
    assert read_cohort(path).columns == ("patient_id", "slide_id", "subtype")


def test_names_and_words_of_both_tables_are_mapped(tmp_path):
    path = study(
        tmp_path, slides="case,file,subtype\nA,a1.svs,LMS\nB,b1.svs,UPS\n",
        patients="barcode,OS.time,OS,gender\nA,365.25,Dead,F\nB,730.5,Alive,M\n",
        settings="patients: {file: clinical.csv, key: barcode}\ncolumns:\n  patient_id: case\n  slide_id: file\n  time: OS.time\n"
        "  event: {column: OS, values: {Alive: 0, Dead: 1}}\n  time_unit: days\n",
    )  # fmt: skip
    cohort = read_cohort(path)
    assert [(row["patient_id"], row["time"], row["event"], row["gender"]) for row in cohort.rows] == [
        ("A", pytest.approx(12.0), 1, "F"), ("B", pytest.approx(24.0), 0, "M"),
    ]  # fmt: skip


def test_slides_with_barcodes_find_their_patients(tmp_path):
    path = study(
        tmp_path, slides="slide_id,subtype\nTCGA-3B-A9HL-01Z-00-DX1.E7B3,DDLPS\n",
        patients="bcr,age\nTCGA-3B-A9HL,68\n", settings="patients: {file: clinical.csv, key: bcr}\n",
    )  # fmt: skip
    (row,) = read_cohort(path).rows
    assert (row["patient_id"], row["site"], row["age"]) == ("TCGA-3B-A9HL", "3B", 68)


def test_a_column_of_both_tables_is_filled_where_one_lacks_it_and_refused_where_they_differ(tmp_path):
    slides = "patient_id,slide_id,subtype\nA,a1,\nB,b1,UPS\n"
    path = study(tmp_path, slides=slides, patients="patient_id,subtype\nA,LMS\nB,UPS\n")
    assert [row["subtype"] for row in read_cohort(path).rows] == ["LMS", "UPS"]
    path = study(tmp_path, slides=slides, patients="patient_id,subtype\nA,LMS\nB,MFS\n")
    with pytest.raises(StudyError, match="patient B has subtype 'MFS', and 'UPS' in row 3 of the table of slides"):
        read_cohort(path)


@pytest.mark.parametrize(
    ("settings", "patients", "words"),
    [
        ("patients: other.csv\n", PATIENTS, "no clinical table at .*other.csv"),
        ("patients: 5\n", PATIENTS, "patients names a table of one row a patient"),
        ("patients: {file: clinical.csv, z: 1, a: 2}\n", PATIENTS, "patients has a, z; it may have file, key"),
        ("patients: {file: clinical.csv, column: x}\n", PATIENTS, "patients has column; it may have file, key"),
        ("patients: {file: clinical.csv, key: patient}\n", PATIENTS, "no column patient that names the patient.*patient_id"),
        ("patients: clinical.csv\n", "case,age\nA,1\n", "no column patient_id that names the patient.*has case, age"),
        ("patients: clinical.csv\n", PATIENTS + "A,10,1,50\n", "patient A has two rows \\(3 and 5\\)"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_joined_is_named(tmp_path, settings, patients, words):
    with pytest.raises(StudyError, match=words):
        read_cohort(study(tmp_path, settings=settings, patients=patients))


def test_the_order_of_both_tables_does_not_matter(tmp_path):
    lines = PATIENTS.splitlines()
    first = read_cohort(study(tmp_path))
    again = read_cohort(study(tmp_path, patients="\n".join([lines[0], *reversed(lines[1:])]) + "\n"))
    assert (repr(first.rows), first.notes) == (repr(again.rows), again.notes)


def test_a_column_that_pandas_called_unnamed_is_none(tmp_path):
    path = study(tmp_path, patients="Unnamed: 0,patient_id,age\n7,A,50\n8,B,60\n9,C,61\n")
    assert read_cohort(path).columns == ("patient_id", "slide_id", "subtype", "age")
