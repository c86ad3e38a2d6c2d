"""A run folder read back: one read gives all, and a run of an earlier version is refused with what to do."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from common.failures import StudyError
from common.study import Study
from mil.runs.comparison_record import Comparison, current_comparison, write_comparison
from mil.runs.facts import RUN_SCHEMA, ShareFacts
from mil.runs.record import write_record
from mil.runs.run_folder import RunFolder, evaluated_runs
from mil.runs.run_store import read_run
from tests.helpers.run_folders import FACTS, evaluated, subtype_run, survival_run


def test_one_read_holds_facts_tables_and_shares(tmp_path):
    folder = RunFolder(tmp_path / "run")
    subtype_run(folder.root)
    facts = replace(FACTS, classes=("A<1>", "B", "C"), learning_curve=(ShareFacts(share=0.5, n_train=8.0),))
    write_record(folder.facts, facts, RUN_SCHEMA)
    folder.share(0.5).root.mkdir(parents=True)
    predictions = pd.read_csv(folder.predictions)
    predictions.iloc[:6].to_csv(folder.share(0.5).predictions, index=False)
    run = read_run(folder)
    assert run.facts == facts
    assert len(run.predictions) == len(predictions)
    assert len(run.shares[0.5]) == 6
    assert run.images.empty
    assert run.predictions_sha256 == folder.predictions_sha256()
    assert run.models == ["attention", "mean_pool"]


def test_a_run_of_an_earlier_version_is_refused(tmp_path):
    folder = RunFolder(tmp_path / "run")
    subtype_run(folder.root)
    known = json.loads(folder.facts.read_text())
    folder.facts.write_text(json.dumps({name: value for name, value in known.items() if name != "schema"}))
    with pytest.raises(StudyError, match=r"run\.json: schema missing, not run/2; train again"):
        read_run(folder)
    folder.facts.write_text(json.dumps({name: value for name, value in known.items() if name != "folds"}))
    with pytest.raises(StudyError, match=r"run\.json: the file lacks folds; train again"):
        read_run(folder)


def test_runs_with_metrics_are_found_by_task(tmp_path):
    study = Study(tmp_path)
    subtype_run(study.run("subtype", "one"))
    subtype_run(study.run("subtype", "unfinished"))
    survival_run(study.run("survival", "two"))
    for task, name in (("subtype", "one"), ("survival", "two")):
        evaluated(study.run(task, name))
    assert evaluated_runs(study) == [
        ("subtype", RunFolder(study.run("subtype", "one"))),
        ("survival", RunFolder(study.run("survival", "two"))),
    ]


@pytest.mark.parametrize("name", ["../../victim", "a/b", ".."])
def test_another_run_is_named_by_one_part_of_a_path_also_in_a_file(tmp_path, name):
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(StudyError, match="is one name, without folder and ending"):
        folder.beside(name)
    compared = Comparison(
        task="subtype", first="run", second=name, n_patients=3, n_bootstrap=100, bootstrap=(), folds=(), delong=None,
        against=name, predictions_sha256=None, second_predictions_sha256=None,
    )  # fmt: skip
    write_comparison(folder, compared)
    assert current_comparison(folder) is None
    write_comparison(folder, replace(compared, against="other"))
    assert current_comparison(folder) is not None
