"""metrics.json and comparison.json: what was computed is what is read back, for every task."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from common.failures import StudyError
from mil.evaluation.comparison import compare_runs
from mil.evaluation.metrics_record import NotEvaluated, read_metrics
from mil.evaluation.subtype_metrics import SubtypeMetrics
from mil.evaluation.survival_metrics import FEW_EVENTS, SurvivalMetrics
from mil.evaluation.survival_parts.records import FurtherModel
from mil.metrics.bootstrap import Interval
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


def test_few_events_are_said_with_how_wide_the_interval_is(tmp_path):
    folder = RunFolder(tmp_path / "run")
    survival_run(folder.root)
    metrics = evaluated(folder.root)

    def said(n_events, low=0.4, high=0.75, models=()):
        own = Interval(value=0.6, low=low, high=high, method="x")
        further = {
            name: FurtherModel(figures={"c_index": replace(own, value=value)}, differences={}) for name, value in models
        }
        parts = replace(metrics.parts, models=further)
        return replace(metrics, n_events=n_events, attention={"c_index": own}, parts=parts).remarks

    assert said(FEW_EVENTS) == ""
    assert "49 events are few: the 95 % interval of the C-index is 0.35 wide" in said(FEW_EVENTS - 1)
    assert "carry at most 4 at ten" in said(49) and "carry at most 1 at ten" in said(9)
    assert said(9, low=None) == said(9, high=None) == ""
    both = said(99, models=[("combined", 0.7), ("joint", 0.812)])
    assert both == "Averaged with the mean pool it reaches 0.700; image and clinical covariates together reach 0.812."
    assert said(99, models=[("joint", None)]) == ""
    assert said(9, models=[("joint", 0.8)]).startswith(
        "image and clinical covariates together reach 0.800. 9 events are few"
    )
    assert replace(metrics, parts=None, n_events=FEW_EVENTS).remarks == ""
    assert metrics.tested == f"40 test patients with {metrics.n_events} events"
