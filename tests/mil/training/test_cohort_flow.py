"""Who left the analysis where and why: patients without a value, slides that failed, counts of both."""

import pandas as pd
import pytest

from common.cohort import read_cohort
from common.failures import StudyError
from common.study import Study
from mil.runs.facts import SlideLoss
from mil.training.cohort_flow import cohort_flow, known_patients, slide_losses


def cohort_of(folder, where=None):
    rows = [("b", "s1", 5, 1, None), ("b", "s2", 5, 1, None), ("a", "s3", None, None, "x"), ("c", "s4", 3, 0, "y")]
    pd.DataFrame(rows, columns=["patient_id", "slide_id", "time", "event", "subtype"]).to_csv(
        folder / "cohort.csv", index=False
    )
    return read_cohort(folder / "cohort.csv", where=where)


def test_patients_without_a_value_are_left_out_with_the_reason(tmp_path):
    cohort = cohort_of(tmp_path)
    known, excluded = known_patients(cohort, ("time", "event"), task="survival")
    assert (known.index.tolist(), excluded) == (["b", "c"], {"a": "no time and event"})
    known, excluded = known_patients(cohort, ("time", "subtype"), task="x")
    assert (known.index.tolist(), list(excluded)) == (["c"], ["a", "b"])
    with pytest.raises(StudyError, match="--task x needs the column grade and stage; it has "):
        known_patients(cohort, ("grade", "time", "stage"), task="x")


def write_status(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("slide_id,state,reason\n" + "".join(f"{row}\n" for row in rows))


def test_lost_slides_are_named_with_the_first_step_that_failed(tmp_path):
    study = Study(tmp_path)
    silent = "no feature file, and no status table names the slide as failed: not embedded yet"
    assert slide_losses(study, "e", ["s1"]) == (SlideLoss(slide_id="s1", step="embedding", reason=silent),)
    write_status(study.tiles / "status.csv", ["s1,failed,no tissue", "s2,done,", "s3,failed,"])
    write_status(study.features("e") / "status.csv", ["s1,failed,no tiles", "s2,failed,unread", "s4,done,"])
    found = slide_losses(study, "e", ["s4", "s2", "s3", "s1"])
    assert [(loss.slide_id, loss.step, loss.reason) for loss in found] == [
        ("s1", "tiling", "no tissue"), ("s2", "embedding", "unread"), ("s3", "tiling", "no reason given"),
        ("s4", "embedding", silent),
    ]  # fmt: skip


def test_the_flow_counts_patients_slides_and_reasons_in_order(tmp_path):
    table, kept = cohort_of(tmp_path), cohort_of(tmp_path, where="patient_id != 'c'")
    losses = tuple(
        SlideLoss(slide_id=f"s{n}", step=step, reason="r") for n, step in enumerate(("tiling", "embedding", "tiling"))
    )
    found = cohort_flow(table, kept, losses, {"a": "no subtype", "b": "no features", "d": "no subtype"})
    assert (found.table_patients, found.table_slides, found.kept_patients, found.kept_slides) == (3, 4, 2, 3)
    assert list(found.slides_lost.items()) == [("embedding", 1), ("tiling", 2)]
    assert list(found.patients_lost.items()) == [("no features", 1), ("no subtype", 2)]
