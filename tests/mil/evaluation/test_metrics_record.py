"""metrics.json and comparison.json: what was computed is what is read back, for every task."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from common.failures import StudyError
from mil.evaluation.comparison import compare_runs
from mil.evaluation.metrics_record import NotEvaluated, read_metrics
from mil.evaluation.subtype_metrics import SubtypeMetrics
from mil.evaluation.survival_metrics import SurvivalMetrics
from mil.runs.comparison_record import read_comparison, write_comparison
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import read_run
from mil.tasks.registry import TASKS
from tests.helpers.run_folders import FACTS, evaluated, subtype_run, survival_run, write_facts, write_run


@pytest.mark.parametrize(("make", "kind"), [(subtype_run, SubtypeMetrics), (survival_run, SurvivalMetrics)])
def test_metrics_and_comparison_come_back_as_they_were(tmp_path, make, kind):
    folder = RunFolder(tmp_path / "run")
    make(folder.root)
    metrics = evaluated(folder.root)
    assert type(metrics) is kind
    assert read_metrics(folder, kind) == metrics
    run = read_run(folder)
    compared = compare_runs(run, run, TASKS[run.task].evaluation, n_bootstrap=100, seed=0)
    write_comparison(folder, compared)
    assert read_comparison(folder) == compared


def test_metrics_of_another_task_are_refused(tmp_path):
    folder = RunFolder(tmp_path / "run")
    survival_run(folder.root)
    evaluated(folder.root)
    with pytest.raises(StudyError, match=r"metrics\.json: the file lacks calibration.*evaluate again"):
        read_metrics(folder, SubtypeMetrics)


def test_a_run_that_was_not_evaluated_says_so(tmp_path):
    folder = RunFolder(tmp_path / "run")
    columns = ["repeat", "fold", "patient_id", "model", "truth", "p_A", "p_B"]
    write_run(folder.root, pd.DataFrame(columns=columns), replace(FACTS, classes=("A", "B"), evaluated=False))
    evaluated(folder.root)
    assert read_metrics(folder, SubtypeMetrics) == NotEvaluated(task="subtype")


@pytest.mark.parametrize("is_synthetic", [True, False])
def test_figures_of_painted_slides_and_invented_patients_say_so(tmp_path, is_synthetic):
    folder = RunFolder(tmp_path / "run")
    subtype_run(folder.root)
    facts = replace(read_run(folder).facts, is_synthetic=is_synthetic)
    write_facts(folder.root, facts)
    evaluated(folder.root)
    assert json.loads(folder.metrics.read_text())["is_synthetic"] is is_synthetic
    folder.predictions.write_text(folder.predictions.read_text().splitlines()[0] + "\n")
    write_facts(folder.root, replace(facts, evaluated=False))
    evaluated(folder.root)
    assert json.loads(folder.metrics.read_text())["is_synthetic"] is is_synthetic
