"""End points out of clinical tables: names as tables have them, units, horizon, entry, strata, weights, and what is refused."""

import pandas as pd
import pytest
from pytest import approx

from common.cohort import read_cohort
from common.failures import StudyError
from mil.training.time_to_event.end_points import EndPoint, find_end_point
from mil.training.training_settings import TrainConfig

ROWS = {
    "patient_id": ["a", "b", "c", "d"], "slide_id": ["a1", "b1", "c1", "d1"], "subtype": ["LMS", "LMS", "UPS", None],
}  # fmt: skip


def cohort(tmp_path, settings="", **columns):
    path = tmp_path / "cohort.csv"
    pd.DataFrame({**ROWS, **columns}).to_csv(path, index=False)
    (tmp_path / "study.yaml").write_text(settings)
    return read_cohort(path)


def found(table, **settings):
    return find_end_point(table, EndPoint(**settings), task="survival")


OS = {"OS.time": [100, 200, 300, 400], "OS": [1, 0, 1, 0]}


@pytest.mark.parametrize(
    ("columns", "unit", "first"),
    [
        (OS, "", 100.0),
        ({"OS_time": [1, 2, 3, 4], "OS_event": [1, 0, 1, 0]}, "", 1.0),
        ({"OS_MONTHS": [1, 2, 3, 4], "OS_STATUS": ["1:DECEASED", "0:LIVING", "1:DECEASED", "0:LIVING"]}, "months", 1.0),
        ({"os_days": [365.25, 2, 3, 4], "os_event": [1, 0, 1, 0]}, "months", 12.0),
        ({"OS years": [1, 2, 3, 4], "os status": [1, 0, 1, 0]}, "months", 12.0),
    ],
)
def test_an_end_point_is_found_by_its_name(tmp_path, columns, unit, first):
    table = cohort(tmp_path, DSS=[1, 1, 1, 1], **{"DSS.time": [9, 9, 9, 9]}, **columns)
    targets, excluded = found(table, name="OS")
    assert targets.times["a"] == approx(first)
    assert (targets.events, targets.time_unit, excluded) == ({"a": 1, "b": 0, "c": 1, "d": 0}, unit, {})
    assert found(table, name="DSS")[0].times["a"] == 9.0


def test_two_columns_can_be_named_and_a_unit_of_the_table_reaches_them(tmp_path):
    table = cohort(tmp_path, "columns:\n  time_unit: days\n", **OS)
    targets, _ = found(table, name="OS.time/OS")
    assert targets.times["b"] == approx(200 / 365.25 * 12)
    assert targets.time_unit == "months"


def test_time_and_event_are_the_end_point_where_none_is_named(tmp_path):
    table = cohort(tmp_path, "columns:\n  time_unit: years\n", time=[1, 2, 3, None], event=[1, 0, 1, None])
    targets, excluded = found(table)
    assert targets.times == approx({"a": 12.0, "b": 24.0, "c": 36.0})
    assert targets.time_unit == "months"
    assert excluded == {"d": "no time and event"}


def test_follow_up_is_cut_at_the_horizon_and_events_at_it_count(tmp_path):
    targets, _ = found(cohort(tmp_path, **OS), name="OS", horizon=300.0)
    assert targets.times == {"a": 100.0, "b": 200.0, "c": 300.0, "d": 300.0}
    assert targets.events == {"a": 1, "b": 0, "c": 1, "d": 0}
    targets, _ = found(cohort(tmp_path, **OS), name="OS", horizon=299.0)
    assert targets.events["c"] == 0
    assert targets.times["c"] == 299.0


def test_entry_strata_and_weights_are_taken_from_their_columns(tmp_path):
    table = cohort(tmp_path, centre=["x", "y", "x", "y"], seen=[10, 20, None, 350], w=[1, 2, 1, 1], **OS)
    targets, excluded = found(table, name="OS", entry="seen", weight="w", group="centre", horizon=300.0)
    assert excluded == {"c": "no seen", "d": "comes under observation after the horizon of 300"}
    assert (targets.entries, targets.weights) == ({"a": 10.0, "b": 20.0}, {"a": 1.0, "b": 2.0})
    assert targets.is_stratified
    assert targets.groups == {"a": "x", "b": "y"}


def test_subtypes_are_the_groups_where_none_are_named_and_one_without_stays(tmp_path):
    targets, excluded = found(cohort(tmp_path, **OS), name="OS")
    assert targets.groups == {"a": "LMS", "b": "LMS", "c": "UPS"}
    assert not targets.is_stratified
    assert not excluded
    assert found(cohort(tmp_path, **OS), name="OS", group="subtype")[1] == {"d": "no subtype"}


@pytest.mark.parametrize(
    ("columns", "settings", "words"),
    [
        (OS, {"name": "PFI"}, "--endpoint PFI: .* time: none; event: none. Name them as --endpoint TIME/EVENT"),
        ({**OS, "OS_months": [1, 2, 3, 4]}, {"name": "OS"}, r"time: OS.time, OS_months; event: OS"),
        (OS, {"name": "OS.tim/OS"}, "the nearest is OS.time"),
        (OS, {"name": "OS", "entry": "seen"}, "--entry needs the column seen"),
        (OS, {"name": "OS", "group": "center"}, "--strata needs the column center"),
        (OS, {"name": "OS", "weight": "w"}, "--case_weights needs the column w"),
        ({**OS, "OS": ["dead", "alive", "dead", "alive"]}, {"name": "OS"}, "OS 'dead'; an event is 0 .censored. or 1"),
        ({**OS, "OS.time": [-1, 2, 3, 4]}, {"name": "OS"}, "patient a has OS.time -1; it is a number, not negative"),
        (
            {**OS, "seen": [100, 0, 0, 0]},
            {"name": "OS", "entry": "seen"},
            "patient a comes under observation at seen 100",
        ),
        (OS, {}, "--task survival needs the column time"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, columns, settings, words):
    with pytest.raises(StudyError, match=words):
        found(cohort(tmp_path, **columns), **settings)


def test_slides_of_one_patient_that_differ_are_refused(tmp_path):
    table = cohort(tmp_path, patient_id=["a", "a", "c", "d"], subtype=["LMS"] * 4, **OS)
    with pytest.raises(StudyError, match=r"patient a has two values of OS\.time: 100 and 200"):
        found(table, name="OS")


def test_who_had_another_event_first_is_known_where_its_column_is_named(tmp_path):
    table = cohort(tmp_path, DSS=[1, 0, 0, 0], **{"DSS.time": [100, 200, 300, 400]}, **OS)
    assert found(table, name="DSS", competing="OS")[0].competing == {"a": 0, "b": 0, "c": 1, "d": 0}
    assert found(table, name="DSS", competing="OS", horizon=250.0)[0].competing["c"] == 0
    assert found(table, name="DSS")[0].competing == {}
    with pytest.raises(StudyError, match="--competing needs the column PFI"):
        found(table, name="DSS", competing="PFI")


@pytest.mark.parametrize(
    ("option", "value"), [("horizon", -1.0), ("horizon", float("inf")), ("horizon", float("nan")), ("ridge", -0.5)]
)
def test_impossible_settings_are_named(option, value):
    with pytest.raises(ValueError, match=f"--{option} is a"):
        TrainConfig(**{option: value})


def test_who_comes_under_observation_at_the_horizon_is_never_seen(tmp_path):
    table = cohort(tmp_path, seen=[1, 199, 200, 250], **OS)
    targets, excluded = found(table, name="OS", entry="seen", horizon=200.0)
    assert sorted(targets.times) == ["a", "b"]
    assert excluded == dict.fromkeys("cd", "comes under observation after the horizon of 200")
    table = cohort(tmp_path, seen=[1, 199, 299, 250], **OS)
    assert found(table, name="OS", entry="seen")[0].entries["c"] == 299.0
    table = cohort(tmp_path, seen=[1, 200, 299, 250], **OS)
    with pytest.raises(
        StudyError, match="patient b comes under observation at seen 200 and is followed to 200; entry lies"
    ):
        found(table, name="OS", entry="seen")
