"""What tables of the field hold beside values: invisible characters, words for missing, other separators and encodings."""

import pandas as pd
import pytest

from common.cohort import read_cohort
from common.failures import StudyError

HEADER = "patient_id,slide_id,subtype,age\n"


def cohort_of(tmp_path, text, name="cohort.csv", **given):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_cohort(tmp_path / name, **given)


@pytest.mark.parametrize("sign", ["\u200b", "\u00ad", "\ufeff", "\u200e", "\u2060"])
def test_t3_invisible_characters_are_stripped_from_names_ids_and_labels_and_said(tmp_path, sign):
    header = HEADER.replace("subtype", f"sub{sign}type")
    cohort = cohort_of(
        tmp_path, f"{header}P00,1,SS,3\nP00{sign},2,{sign}SS,{sign}4\n".replace("P00,1,SS,3", "P00,1,SS,4")
    )
    assert cohort.columns == ("patient_id", "slide_id", "subtype", "age")
    assert cohort.patients.index.tolist() == ["P00"]
    assert cohort.slides["subtype"].tolist() == ["SS", "SS"]
    assert cohort.slides["age"].tolist() == [4, 4]
    (note,) = cohort.notes
    assert f"invisible characters (U+{ord(sign):04X})" in note
    assert "4 cell(s)" in note
    assert "rows 1, 3" in note


def test_t3_a_slide_twice_but_for_an_invisible_character_is_a_fault(tmp_path):
    with pytest.raises(StudyError, match="row 3: slide 1 stands in the table twice"):
        cohort_of(tmp_path, f"{HEADER}a,1,SS,3\nb,1\u200b,SS,4\n")


@pytest.mark.parametrize(("column", "one", "other"), [(0, "7", "007"), (1, "S1", "S01"), (2, "1", "01")])
def test_t3_leading_zeros_are_warned_about(tmp_path, column, one, other):
    first, second = ["a", "s", "x", "1"], ["b", "t", "y", "2"]
    first[column], second[column] = one, other
    cohort = cohort_of(tmp_path, HEADER + "\n".join(map(",".join, (first, second))))
    (note,) = cohort.notes
    assert f"{HEADER.split(',')[column]} {one!r} and {other!r} differ by leading zeros alone" in note.replace(
        f"{other!r} and {one!r}", f"{one!r} and {other!r}"
    )
    assert cohort_of(tmp_path, HEADER + "P01,1,SS,3\nP10,2,SS,4\nP011,0,SS,4\n").notes == ()


@pytest.mark.parametrize(
    "word",
    [
        "[Not Available]",
        "'--",
        "[Unknown]",
        "[Not Evaluated]",
        "[Discrepancy]",
        "[Not Applicable]",
        "--",
        "[not available]",
    ],
)
def test_t4_placeholders_are_missing_counted_and_said(tmp_path, word):
    cohort = cohort_of(tmp_path, f"{HEADER}a,1,SS,3.5\nb,2,{word},{word}\nc,3,UPS,{word}\n")
    assert cohort.slides["age"].tolist()[0] == 3.5
    assert cohort.slides["age"].isna().sum() == 2
    assert cohort.slides["subtype"].dropna().tolist() == ["SS", "UPS"]
    shown = word.replace("'--", "--")
    assert cohort.notes == (f"read as missing: subtype {shown!r} (1), age {shown!r} (2)",)
    pd.DataFrame({"patient_id": ["a"], "slide_id": ["1"], "age": [word]}).to_excel(tmp_path / "c.xlsx", index=False)
    assert read_cohort(tmp_path / "c.xlsx").slides["age"].isna().all()


def test_t4_tcgas_clinical_table_has_no_placeholder_for_a_level(shared_data):
    path = shared_data / "tables" / "tcga_sarc_cdr_261.csv"
    cohort = read_cohort(path, columns={"patient_id": "bcr_patient_barcode", "slide_id": "bcr_patient_barcode"})
    left = {value for row in cohort.rows for value in row.values() if isinstance(value, str) and value.startswith("[")}
    assert left == set()
    assert any("clinical_stage '[Not Available]' (2" in note or "'[Not Applicable]'" in note for note in cohort.notes)


def test_t5_a_class_called_na_is_said_to_be_read_as_missing(tmp_path):
    cohort = cohort_of(tmp_path, f"{HEADER}a,1,NA,3\nb,2,None,4\nc,3,NA,5\nd,4,SS,\n")
    assert cohort.notes == ("read as missing: subtype 'NA' (2), subtype 'None' (1)",)
    with pytest.raises(StudyError, match=r"row 2: no patient_id\n  read as missing: patient_id 'NA' \(1\)"):
        cohort_of(tmp_path, f"{HEADER}NA,1,SS,3\n")


@pytest.mark.parametrize(
    ("one", "other", "how"),
    [
        ("LMS", "lms", "case"),
        ("Fibrosarkom gro\u00df", "FIBROSARKOM GROSS", "case"),
        ("Myxoid ", "myxoid", "case"),
        ("tum\u00e9ur", "tume\u0301ur", "Unicode form"),
        ("UPS 2", "UPS\u00a02", "Unicode form"),
    ],
)
def test_t5_labels_that_differ_by_case_or_form_alone_are_refused_by_name(tmp_path, one, other, how):
    with pytest.raises(StudyError) as error:
        cohort_of(tmp_path, f"{HEADER}a,1,{one},3\nb,2,{one},3\nc,3,{other},4\nd,4,SS,4\n")
    text = str(error.value)
    assert "1 fault(s)" in text
    assert f"differ by {how} alone" in text
    assert "subtype" in text
    assert "row 2" in text
    assert "row 4" in text


def test_t5_persons_that_differ_by_form_alone_are_refused(tmp_path):
    with pytest.raises(StudyError, match=r"patient_id .* differ by Unicode form alone"):
        cohort_of(tmp_path, f"{HEADER}Ren\u00e9,1,SS,3\nRene\u0301,2,SS,4\n")


def test_t10_covariate_codes_are_not_merged_without_being_told(tmp_path):
    cohort = cohort_of(tmp_path, f"{HEADER}a,1,SS,01\nb,2,SS,1\nc,3,SS,2\n")
    assert cohort.notes == ("age '01' and '1' differ by leading zeros alone; they are one number here",)
    assert cohort.slides["age"].tolist() == [1, 1, 2]
