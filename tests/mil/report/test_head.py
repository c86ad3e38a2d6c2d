"""The head of a report and its unit of time: where the data come from, what numbers are of, what times are in."""

from dataclasses import replace

import pandas as pd
import pytest

from common.cohort import read_cohort
from common.failures import StudyError
from mil.report.blocks import words_of_unit
from mil.runs.facts import RunFacts
from tests.helpers.run_folders import FACTS, evaluated, subtype_run, survival_run, write_facts


def with_facts(folder, make, **changes):
    make(folder)
    facts = replace(FACTS, task="survival" if make is survival_run else "subtype", **changes)
    write_facts(folder, facts)
    evaluated(folder, n_bootstrap=20)
    return (folder / "report.html").read_text()


def test_t7_the_unit_of_time_stands_at_the_axes_and_in_the_tables(tmp_path):
    page = with_facts(tmp_path / "known", survival_run, time_unit="months")
    assert "time (months)" in page
    assert "time, as in the table" not in page
    assert "<td>months</td>" in page
    page = with_facts(tmp_path / "unknown", survival_run)
    assert "time, as in the table" in page
    assert "not stated: as in the table" in page


def test_u3_source_and_date_stand_in_the_head_escaped(tmp_path):
    page = with_facts(tmp_path / "run", survival_run, data_source="A & B <1>", data_date="2024-03-29")
    assert "Data: A &amp; B &lt;1&gt; (2024-03-29)." in page
    assert "Data:" not in with_facts(tmp_path / "silent", survival_run)


def test_a_report_of_tile_images_speaks_of_images_and_not_of_slides(tmp_path):
    page = with_facts(
        tmp_path / "run", subtype_run, classes=("A<1>", "B", "C"), n_images=120, slide_losses=(), excluded=(), n_slides=40,
        encoder={"encoder": "e", "tile_um": 0.0, "tile_px": 224},
    )  # fmt: skip
    assert "Subtype from tile images by attention MIL" in page
    for foreign in ("whole slides", "tile_slides.py", "scanner", "tile_um", "60 slides"):
        assert foreign not in page
    assert "40 patients, 40 bags, 120 images, 4000 fields" in page
    assert "extract_features.py --tiles key.csv" in page


def test_words_on_patients_become_words_on_slides_but_for_who_is_drawn():
    text = "Patients are patients: 2000 patient bootstraps of 3 patients, 1 patient's slide, outpatients"
    wanted = "Slides are slides: 2000 patient bootstraps of 3 slides, 1 slide's slide, outpatients"
    assert words_of_unit(text, "slide") == wanted
    assert words_of_unit(text, "patient") == text


def test_source_date_and_unit_of_time_come_from_study_yaml(tmp_path):
    table = {"patient_id": ["p"], "slide_id": ["s"], "days": [365.25], "event": [1]}
    pd.DataFrame(table).to_csv(tmp_path / "cohort.csv", index=False)
    text = "columns: {time: days, time_unit: days}\nsource: TCGA-SARC,  GDC 40\ndate: 2024-03-29\n"
    (tmp_path / "study.yaml").write_text(text)
    cohort = read_cohort(tmp_path / "cohort.csv")
    assert (cohort.time_unit, cohort.rows[0]["time"]) == ("months", pytest.approx(12))
    assert (cohort.study.source, cohort.study.date) == ("TCGA-SARC, GDC 40", "2024-03-29")
    (tmp_path / "study.yaml").write_text("columns: {time: days}\nsource: [a, b]\n")
    with pytest.raises(StudyError, match="source is one text"):
        read_cohort(tmp_path / "cohort.csv")
    (tmp_path / "study.yaml").write_text("columns: {time: days}\n")
    assert read_cohort(tmp_path / "cohort.csv").time_unit == ""
    assert RunFacts.__dataclass_fields__["time_unit"].default == ""
