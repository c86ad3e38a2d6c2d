"""Columns of other names, with other words and another unit of time: mapped in study.yaml, or one fault a cause."""

import pandas as pd
import pytest

from common.cohort import read_cohort
from common.failures import StudyError
from common.tables.clinical_table import read_text_table
from common.tables.column_mapping import Source, column_mapping, mapped_rows

TABLE = pd.DataFrame(
    {
        "patient_id": list("abcd"),
        "slide_id": list("1234"),
        "OS_STATUS": ["0:LIVING", "1:DECEASED", "0:LIVING", None],
        "OS_DAYS": [30.4375, 365.25, 0, None],
    }
)


def study(tmp_path, mapping, table=TABLE):
    table.to_csv(tmp_path / "cohort.csv", index=False)
    (tmp_path / "study.yaml").write_text(f"columns:\n{mapping}")
    return tmp_path / "cohort.csv"


def test_t7_values_and_the_unit_of_time_are_mapped(tmp_path):
    path = study(
        tmp_path,
        '  event: {column: OS_STATUS, values: {"0:LIVING": 0, "1:DECEASED": 1}}\n  time: OS_DAYS\n  time_unit: days\n',
    )
    cohort = read_cohort(path)
    assert [row["event"] for row in cohort.rows] == [0, 1, 0, None]
    assert cohort.slides["time"].tolist()[:3] == pytest.approx([1, 12, 0])  # months
    assert "OS_STATUS" not in cohort.columns


@pytest.mark.parametrize(
    ("unit", "months"), [("days", 1 / 30.4375), ("weeks", 7 / 30.4375), ("months", 1), ("years", 12)]
)
def test_t7_every_unit_becomes_months(tmp_path, unit, months):
    table = TABLE.assign(OS_STATUS=[0, 1, 0, 1], OS_DAYS=[1, 2, 3, 4])
    cohort = read_cohort(study(tmp_path, f"  event: OS_STATUS\n  time: OS_DAYS\n  time_unit: {unit}\n", table))
    assert cohort.slides["time"].tolist() == pytest.approx([months, 2 * months, 3 * months, 4 * months])


def test_t7_the_first_of_several_columns_that_has_a_value_is_taken(tmp_path):
    table = TABLE.assign(
        vital_status=["Alive", "Dead", "Alive", "Dead"],
        days_to_death=[None, 5, "'--", 7],
        days_to_last_follow_up=[9, 4, 2, None],
    )
    mapping = (
        "  event: {column: vital_status, values: {Alive: 0, Dead: 1}}\n"
        "  time: {column: [days_to_death, days_to_last_follow_up]}\n"
    )
    cohort = read_cohort(study(tmp_path, mapping, table))
    assert cohort.slides["time"].tolist() == [9, 5, 2, 7]
    assert cohort.slides["event"].tolist() == [0, 1, 0, 1]
    assert not {"days_to_death", "days_to_last_follow_up"} & set(cohort.columns)


def test_t7_one_fault_a_cause_and_none_that_only_follows(tmp_path):
    table = pd.DataFrame(
        {"patient_id": range(319), "slide_id": range(319), "time": 5, "event": ["0:LIVING", *["1:DECEASED"] * 318]}
    )
    table.to_csv(tmp_path / "cohort.csv", index=False)
    with pytest.raises(StudyError) as error:
        read_cohort(tmp_path / "cohort.csv")
    text = str(error.value)
    assert "has 1 fault(s)" in text
    assert "rows 2, 3, 4" in text
    assert "and 307 more: event '0:LIVING', '1:DECEASED' is not 0 (censored) or 1 (event)" in text
    assert 'event: {column: NAME IN THE TABLE, values: {"0:LIVING": 0, "1:DECEASED": 1}}' in text
    assert "belong together" not in text


def test_t7_one_fault_for_a_column_of_dates_and_scales_in_words(tmp_path):
    table = TABLE.assign(time=["2014-05-12", "2015-01-01", "x", "y"], event=1, mpp_x=["a", "b", 1, 1], mpp_y=1)
    table.to_csv(tmp_path / "cohort.csv", index=False)
    with pytest.raises(
        StudyError, match=r"has 2 fault\(s\):\n  rows 2, 3, 4, 5: time .* is not a number.*\n  rows 2, 3: mpp_x"
    ):
        read_cohort(tmp_path / "cohort.csv")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (
            "  event: {column: OS_STATUS, values: {'0:LIVING': 0}}\n  time: OS_DAYS\n",
            r"row 3: event '1:DECEASED' is not among",
        ),
        ("  event: {column: OS_STATUS, vals: {}}\n", "event has 'vals'; it may have column, values"),
        (
            "  event: {column: OS_STATUS, vals: {}, b: 1, a: 2}\n",
            "event has 'a', 'b', 'vals'; it may have column, values",
        ),
        ("  event: {values: {a: 1}}\n", "event names no column"),
        ("  event: {column: OS_STATUS, values: [1]}\n", "values of event must map"),
        ("  event: {column: [OS_STATUS, nobody]}\n", "no column nobody"),
        ("  time_unit: hours\n", "time_unit is days, weeks, months or years, not 'hours'"),
        ("  time_unit: days\n", "time_unit is given, and there is no column time"),
    ],
)
def test_t7_a_mapping_that_does_not_fit_is_refused(tmp_path, mapping, message):
    with pytest.raises(StudyError, match=message):
        read_cohort(study(tmp_path, mapping))


def test_t7_cbioportals_table_is_read_as_it_is(shared_data):
    path = shared_data / "tables" / "cbioportal_sarc_tcga_pan_can_atlas_2018_255.csv"
    cohort = read_cohort(
        path,
        columns={
            "patient_id": "Patient ID",
            "slide_id": "Sample ID",
            "time": "Overall Survival (Months)",
            "event": {"column": "Overall Survival Status", "values": {"0:LIVING": 0, "1:DECEASED": 1}},
        },
    )
    theirs = pd.read_csv(path)["Overall Survival Status"]
    assert sum(row["event"] for row in cohort.rows) == (theirs == "1:DECEASED").sum()


def test_t7_columns_stand_in_the_order_of_the_table_whatever_they_are_called(tmp_path):
    table = pd.DataFrame([[50, "x", "LMS", "a", 3]], columns=["age", "img", "dx", "case", "grade"])
    cohort = read_cohort(study(tmp_path, "  patient_id: case\n  subtype: dx\n  slide_id: img\n", table))
    assert cohort.columns == ("age", "slide_id", "subtype", "patient_id", "grade")
    text = read_text_table(tmp_path / "cohort.csv")
    mapping = column_mapping({"subtype": "dx", "other": "dx", "grade": ["age"]}, "x")
    assert mapping.sources["grade"].columns == ("['age']",)  # a list stands under `column`
    mapping = column_mapping({"subtype": "dx", "other": "dx", "grade": {"column": ["age", "img"]}}, "x")
    names, ((number, row),) = mapped_rows(text, mapping, "x")
    assert names == ("grade", "subtype", "other", "case")
    assert (number, row) == (2, {"grade": "50", "subtype": "LMS", "other": "LMS", "case": "a"})


def test_t7_absent_columns_are_named_in_order_with_the_nearest(tmp_path):
    with pytest.raises(
        StudyError, match=r"no column OS_STATES, nobody, named under 'columns'; the nearest is OS_STATUS"
    ):
        read_cohort(study(tmp_path, "  event: nobody\n  time: OS_STATES\n"))


def test_t7_words_and_columns_are_read_as_text_and_a_mapped_word_may_be_missing(tmp_path):
    mapping = column_mapping({"event": {"column": 5, "values": {0: 1, "x": None}}, "time_unit": "weeks"}, "x")
    assert mapping.sources == {"event": Source(("5",), {"0": "1", "x": None})}
    assert mapping.months == pytest.approx(7 * 12 / 365.25)
    assert column_mapping({"event": {"column": "a", "values": None}}, "x").sources == {"event": Source(("a",))}
    for wrong in ([], "text", None):
        with pytest.raises(StudyError, match="x: 'columns' must map our names"):
            column_mapping(wrong, "x")
    table = TABLE.assign(time=1, event=["1", "x", "0", "0"])
    mapped = '  event: {column: event, values: {"1": 1, "0": 0, x: null}}\n'
    table = table.assign(time=["1", None, "1", "1"])
    cohort = read_cohort(study(tmp_path, mapped, table))
    assert [row["event"] for row in cohort.rows] == [1, None, 0, 0]


def test_t7_a_column_that_bears_a_name_given_to_another_goes(tmp_path):
    table = TABLE.assign(event="nonsense", time=[1, 2, 3, 4], OS_STATUS=[0, 1, 0, 1])
    cohort = read_cohort(study(tmp_path, "  event: OS_STATUS\n", table))
    assert [row["event"] for row in cohort.rows] == [0, 1, 0, 1]
    assert "OS_STATUS" not in cohort.columns
    assert "OS_DAYS" in cohort.columns
