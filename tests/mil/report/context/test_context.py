"""Who was tested, counted by hand; what others reported stands in reports of sarcomas alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter

from mil.report.context.patients_table import patients_blocks
from mil.report.context.published_figures import published_sections
from tests.helpers.run_folders import FACTS, run_of
from tests.helpers.survival_runs import subtype_alone_run


def rows_of(run):
    blocks = patients_blocks(run)
    head = [cell if isinstance(cell, str) else cell.words for cell in blocks[1].head]
    return head, {row[0].words: [cell.words for cell in row[1:]] for row in blocks[1].rows}


def subtype_run(tmp_path, patients, *, classes=("LMS", "UPS")):
    n = len(patients)
    predictions = pd.DataFrame(
        {
            "repeat": 0, "fold": np.arange(n) % 2, "patient_id": patients["patient_id"], "model": "attention",
            "truth": np.array(classes)[np.arange(n) % 2], "p_LMS": 0.5, "p_UPS": 0.5,
        }
    )  # fmt: skip
    both = pd.concat([predictions, predictions.assign(repeat=1), predictions.assign(model="mean_pool")])
    return run_of(tmp_path, both, facts=replace(FACTS, task="subtype", classes=tuple(classes)), patients=patients)


def test_covariates_are_counted_by_class_each_patient_once(tmp_path):
    patients = pd.DataFrame(
        {
            "patient_id": list("abcdef"), "site": ["A", "A", "B", "B", "B", ""], "age": [50, 60, 70, 80, 90, np.nan],
            "grade": ["2", "3", "3", "2", "3", "3"],
        }
    )  # fmt: skip
    head, rows = rows_of(subtype_run(tmp_path, patients))
    assert head == ["of each", "all", "LMS", "UPS"]
    assert rows["patients"] == ["6", "3", "3"]
    assert rows["age"] == ["70 (60 to 80)", "70 (60 to 80)", "70 (65 to 75)"]
    assert rows["age: not known"] == ["1", "0", "1"]
    assert rows["site: B"] == ["3 (60%)", "2 (67%)", "1 (50%)"]
    assert rows["site: not known"] == ["1", "0", "1"]
    assert rows["grade: 3"] == ["4 (67%)", "2 (67%)", "2 (67%)"]  # two values are levels


def test_follow_up_is_that_of_reverse_kaplan_meier_by_event_and_censored(tmp_path):
    run = subtype_alone_run(tmp_path)
    head, rows = rows_of(run)
    assert head == ["of each", "all", "event", "censored"]
    own = run.predictions
    theirs = KaplanMeierFitter().fit(own["time"], 1 - own["event"]).median_survival_time_
    (row,) = [cells for name, cells in rows.items() if name.startswith("follow-up")]
    assert float(row[0]) == pytest.approx(theirs, rel=0.01)
    assert row[1] == "not reached"  # nobody who had the event was censored
    assert rows["patients"] == ["240", str(int(own["event"].sum())), str(int((1 - own["event"]).sum()))]


def test_rare_levels_are_one_row_and_nothing_known_is_no_table(tmp_path):
    patients = pd.DataFrame(
        {"patient_id": [f"p{i:02d}" for i in range(40)], "site": [f"S{i % 14:02d}" for i in range(40)]}
    )
    _, rows = rows_of(subtype_run(tmp_path, patients))
    assert sum(name.startswith("site: S") for name in rows) == 10
    assert rows["site: 4 others"][0] == "10 (25%)"
    assert patients_blocks(subtype_run(tmp_path, patients[["patient_id"]])) == []


def test_what_others_reported_is_shown_for_sarcomas_alone(tmp_path):
    patients = pd.DataFrame({"patient_id": list("abcd"), "age": [1, 2, 3, 4]})
    (own,) = published_sections(subtype_run(tmp_path, patients))
    assert "Foersch" in own.body[0].rows[0][0].words
    (survival,) = published_sections(subtype_alone_run(tmp_path))
    assert any("0.629 outside" in row[1].words for row in survival.body[0].rows)
    other = subtype_run(tmp_path, patients, classes=("LUAD", "LUSC"))
    assert published_sections(other) == []


def test_a_study_without_censoring_has_no_follow_up_of_the_censored(tmp_path):
    run = subtype_alone_run(tmp_path)
    _, rows = rows_of(replace(run, predictions=run.predictions.assign(event=1)))
    (row,) = [cells for name, cells in rows.items() if name.startswith("follow-up")]
    assert row == ["not reached", "not reached", "none"]
    assert rows["patients"][2] == "0"
