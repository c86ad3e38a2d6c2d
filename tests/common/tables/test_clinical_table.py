"""What tables of the field hold beside values: invisible characters, words for missing, other separators and encodings."""

import pandas as pd
import pytest

from common.cohort import read_cohort
from common.failures import StudyError
from common.tables.clinical_table import missing_note, read_text_table, rows_text

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


PLAIN = "patient_id,slide_id,subtype,age\na,1,SS,3\nb,2,Müller,4\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (PLAIN.replace(",", ";"), "utf-8"),
        (PLAIN.replace(",", "\t"), "utf-8"),
        ("sep=;\n" + PLAIN.replace(",", ";"), "utf-8"),
        ("sep=,\r\n" + PLAIN, "utf-8-sig"),
        (PLAIN, "utf-16"),
        (PLAIN.replace(",", "\t"), "utf-16"),
    ],
)
def test_t8_separators_and_encodings_that_are_certain_are_read(tmp_path, text, encoding):
    (tmp_path / "plain.csv").write_text(PLAIN, encoding="utf-8")
    (tmp_path / "cohort.csv").write_bytes(text.encode(encoding))
    found, plain = read_cohort(tmp_path / "cohort.csv"), read_cohort(tmp_path / "plain.csv")
    assert (found.columns, found.rows) == (plain.columns, plain.rows)


def test_t8_rows_are_numbered_past_the_line_that_names_the_separator(tmp_path):
    with pytest.raises(StudyError, match="row 3: no slide_id"):
        cohort_of(tmp_path, "sep=;\npatient_id;slide_id\na;\n")


def test_t8_latin_1_is_named_as_what_it_is(tmp_path):
    (tmp_path / "cohort.csv").write_bytes(PLAIN.encode("latin-1"))
    with pytest.raises(StudyError, match=r"not readable as a table \(it is not in UTF-8: row 3 .*save it as CSV UTF-8"):
        read_cohort(tmp_path / "cohort.csv")


@pytest.mark.parametrize("number", ["1,200", "1,200,300"])
def test_t8_commas_for_thousands_are_not_called_decimal(tmp_path, number):
    text = f'{HEADER}a,1,SS,"{number}"\nb,2,SS,800\n'
    with pytest.raises(StudyError, match=r"row 2: age '1,200.*' has a comma, for thousands or for its decimal point"):
        cohort_of(tmp_path, text)


def excel(path, sheets):
    with pd.ExcelWriter(path) as writer:
        for name, table in sheets.items():
            table.to_excel(writer, sheet_name=name, index=False)


def test_t8_a_first_sheet_that_is_a_read_me_is_passed_over_and_said(tmp_path):
    table = pd.DataFrame({"patient_id": ["a"], "slide_id": ["1"]})
    path = tmp_path / "cohort.xlsx"
    excel(path, {"Read me": pd.DataFrame({"About": ["this study"]}), "Slides": table})
    cohort = read_cohort(path)
    assert cohort.rows == ({"patient_id": "a", "slide_id": "1"},)
    assert cohort.notes == ("the sheet 'Slides' is read, of 'Read me', 'Slides'",)
    excel(path, {"Read me": pd.DataFrame({"About": ["this study"]}), "Other": table.rename(columns={"slide_id": "x"})})
    with pytest.raises(
        StudyError, match=r"no column patient_id; no column slide_id; it has About.*the sheet 'Read me' is read"
    ):
        read_cohort(path)


def test_t8_ids_are_those_that_excel_shows_and_long_numbers_are_named(tmp_path):
    import openpyxl

    book = openpyxl.Workbook()
    for row in (["patient_id", "slide_id", "age"], [7, 12, 50], [12, 13, 60]):
        book.active.append(row)
    for cell in book.active["A"]:
        cell.number_format = "0000"
    book.save(tmp_path / "cohort.xlsx")
    cohort = read_cohort(tmp_path / "cohort.xlsx")
    assert [row["patient_id"] for row in cohort.rows] == ["0007", "0012"]
    assert [row["age"] for row in cohort.rows] == [50, 60]
    book.active["A3"] = 123456789012345678
    book.save(tmp_path / "cohort.xlsx")
    with pytest.raises(StudyError, match=r"row 3: 1234.* has more than 15 digits"):
        read_cohort(tmp_path / "cohort.xlsx")


def test_t8_ids_that_a_spreadsheet_shortened_are_named(tmp_path):
    with pytest.raises(StudyError, match=r"row 2: patient_id '1\.23457E\+17' is a number that a spreadsheet shortened"):
        cohort_of(tmp_path, f"{HEADER}1.23457E+17,1,SS,3\n")


def test_t8_parquet_ids_that_are_floats_or_stand_in_the_index_are_read(tmp_path):
    table = pd.DataFrame({"patient_id": [7.0, 8.0], "slide_id": ["x", "y"], "age": [50.0, 60.0]})
    table.to_parquet(tmp_path / "a.parquet")
    assert [row["patient_id"] for row in read_cohort(tmp_path / "a.parquet").rows] == ["7", "8"]
    table.set_index("slide_id").to_parquet(tmp_path / "b.parquet")
    assert [row["slide_id"] for row in read_cohort(tmp_path / "b.parquet").rows] == ["x", "y"]


def test_t8_the_ending_of_a_feature_file_is_no_part_of_a_slide_id(tmp_path):
    cohort = cohort_of(tmp_path, f"{HEADER}a,1.pt,SS,3\nb,2.h5,SS,4\nc,3.svs,SS,4\n")
    assert [row["slide_id"] for row in cohort.rows] == ["1", "2", "3"]


@pytest.mark.parametrize(("n_columns", "more"), [(12, ""), (14, " and 2 more")])
def test_twelve_columns_with_words_for_missing_are_named_and_the_others_counted(n_columns, more):
    note = missing_note({(f"c{number}", "NA"): number + 1 for number in range(n_columns)})
    assert note == "read as missing: " + ", ".join(f"c{number} 'NA' ({number + 1})" for number in range(12)) + more


@pytest.mark.parametrize("column", ["training_set", "is_valid"])
def test_valid_patients_are_the_test_set_only_without_test_patients(tmp_path, column):
    words = ("TRAIN", "VALID", "TEST") if column == "training_set" else ("False", "True", "False")
    rows = [f"p{number},{number},SS,{word}\n" for number, word in enumerate(words)]
    head = f"patient_id,slide_id,subtype,{column}\n"
    if column == "training_set":
        cohort = cohort_of(tmp_path, head + "".join(rows))
        assert cohort.slides["set"].tolist() == ["train", "val", "test"]
        assert cohort.notes == ("the given sets are those of training_set",)
    cohort = cohort_of(tmp_path, head + "".join(rows[:2]))
    assert cohort.slides["set"].tolist() == ["train", "test"]
    assert cohort.notes == (f"the given sets are those of {column}; its VALID patients are the test set",)


def test_invisible_characters_are_named_in_their_order_and_twelve_rows_of_many(tmp_path):
    signs = "\u2060\u200b\u00ad\u200e\u200c\u200d\u2061\u2062"
    rows = "".join(f"p{number},{number},S{sign}S,4\n" for number, sign in enumerate(signs * 2))
    (note,) = cohort_of(tmp_path, HEADER + rows).notes
    named = ", ".join(f"U+{ord(sign):04X}" for sign in sorted(signs))
    shown = ", ".join(map(str, range(2, 14)))
    assert note == f"invisible characters ({named}) were taken off in 16 cell(s): rows {shown} and 4 more"


@pytest.mark.parametrize("text", ["", "\n\n", "\r\n"])
def test_a_file_without_a_line_is_empty(tmp_path, text):
    with pytest.raises(StudyError, match=r"cohort\.csv: not readable as a table \(it is empty\)"):
        cohort_of(tmp_path, text)


@pytest.mark.parametrize("rows", ["", ",,,\n", "NA,,nan,\n", "\n \n"])
def test_a_table_without_rows_says_so(tmp_path, rows):
    with pytest.raises(StudyError, match="the table has no rows; wanted one row a slide"):
        cohort_of(tmp_path, HEADER + rows)


def test_an_empty_sheet_and_one_with_a_header_alone_are_told(tmp_path):
    pd.DataFrame().to_excel(tmp_path / "a.xlsx", index=False)
    with pytest.raises(StudyError, match=r"not readable as a table \(it is empty\)"):
        read_cohort(tmp_path / "a.xlsx")
    pd.DataFrame(columns=["patient_id", "slide_id"]).to_excel(tmp_path / "b.xlsx", index=False)
    with pytest.raises(StudyError, match="the table has no rows"):
        read_cohort(tmp_path / "b.xlsx")


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ("a,1,SS,3,", None),
        ("a,1,SS,3,,NA", None),
        ("a,1,SS", None),
        ("a,1,SS,3,4", "row 2 has 5 values, the header 4 columns"),
        ("a,1,SS,3,,4", "row 2 has 6 values, the header 4 columns"),
    ],
)
def test_a_row_may_be_longer_than_the_header_by_what_is_missing_only(tmp_path, cells, said):
    if said:
        with pytest.raises(StudyError, match=said):
            cohort_of(tmp_path, f"{HEADER}{cells}\n")
        return
    (row,) = cohort_of(tmp_path, f"{HEADER}{cells}\n").rows
    assert list(row.values())[:3] == ["a", "1", "SS"]


def test_double_columns_are_named_in_order_and_columns_without_a_name_may_be_many(tmp_path):
    with pytest.raises(StudyError, match="two columns have the name age, subtype; rename one"):
        cohort_of(tmp_path, "patient_id,subtype,age,slide_id,age,subtype,,\na,1,2,3,4,5,,\n")
    table = read_text_table_of(tmp_path, "patient_id,,age,\n a ,x, 3 ,NA\n,y,,\nb,,'--,y\n")
    assert table.columns == ("patient_id", "age")
    assert table.rows == ((2, {"patient_id": "a", "age": "3"}), (4, {"patient_id": "b", "age": None}))
    assert table.missing_words == {("age", "--"): 1}


def read_text_table_of(tmp_path, text):
    (tmp_path / "cohort.csv").write_text(text, encoding="utf-8")
    return read_text_table(tmp_path / "cohort.csv")


def test_words_for_missing_are_counted_by_column_as_it_stands_and_by_word(tmp_path):
    table = read_text_table_of(tmp_path, "b,a\nx,NA\nNA,--\nnan,NA\nNA,NA\n ,y\n")
    assert list(table.missing_words.items()) == [
        (("b", "NA"), 2), (("b", "nan"), 1), (("a", "--"), 1), (("a", "NA"), 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([4], "row 4"),
        ([4, 4], "row 4"),
        ([9, 4, 10], "rows 4, 9, 10"),
        (range(12), "rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11"),
        (range(13), "rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 1 more"),
    ],
)
def test_rows_are_said_in_order_and_twelve_of_many(numbers, text):
    assert rows_text(list(numbers)) == text


@pytest.mark.parametrize(
    ("name", "header", "is_read"),
    [
        ("cohort.csv", "patient_id;slide_id", True),
        ("cohort.csv", "patient_id\tslide_id", True),
        ("cohort.tsv", "patient_id,slide_id", True),
        ("cohort.csv", "patient_id;slide_id\tx", False),  # either could be meant
        ("cohort.tsv", "patient_id;slide_id,x", False),
        ("cohort.csv", "patient_id,slide_id,x;y", True),  # the usual one is there
    ],
)
def test_another_separator_is_taken_where_it_is_the_only_one(tmp_path, name, header, is_read):
    text = f"{header}\n{header.replace('patient_id', 'a').replace('slide_id', '1')}\n"
    if is_read:
        assert cohort_of(tmp_path, text, name).rows[0]["patient_id"] == "a"
    else:
        with pytest.raises(StudyError, match="no column patient_id"):
            cohort_of(tmp_path, text, name)


def test_the_line_of_a_separator_needs_a_line_after_it(tmp_path):
    with pytest.raises(StudyError, match="the table has no rows"):
        cohort_of(tmp_path, "sep=;")
    assert cohort_of(tmp_path, 'SEP=|\npatient_id|slide_id\na|"1,2"\n').rows[0]["slide_id"] == "1,2"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (7, "007"), (-7, "-07"), (1234, "1234"), (7.5, "7.5"), ("7", "7"), (10**15 - 1, "999999999999999"), (10**15, None),
        (-(10**15), None),
    ],
)  # fmt: skip
def test_whole_numbers_of_excel_have_the_zeros_it_shows_and_fifteen_digits(tmp_path, value, shown):
    import openpyxl

    book = openpyxl.Workbook()
    for row in (["patient_id", "slide_id"], ["a", value], ["b", "y"]):
        book.active.append(row)
    book.active["B2"].number_format = "000"
    book.save(tmp_path / "cohort.xlsx")
    if shown is None:
        with pytest.raises(StudyError, match=r"row 2: -?1000000000000000 has more than 15 digits"):
            read_cohort(tmp_path / "cohort.xlsx")
    else:
        assert [row[1]["slide_id"] for row in read_text_table(tmp_path / "cohort.xlsx").rows] == [shown, "y"]


def test_an_only_sheet_is_read_without_a_note_and_two_that_fit_leave_the_first(tmp_path):
    table = pd.DataFrame({"patient_id": ["a"], "slide_id": ["1"]})
    path = tmp_path / "cohort.xlsx"
    excel(path, {"One": table})
    assert read_cohort(path).notes == ()
    excel(path, {"One": table, "Two": table.assign(slide_id="2")})
    assert read_cohort(path).notes == ("the sheet 'One' is read, of 'One', 'Two'",)
    assert read_cohort(path).rows[0]["slide_id"] == "1"
