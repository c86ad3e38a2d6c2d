"""Several heads on the same folds: the comparison, its words, and the runs it is made of."""

import json
from dataclasses import replace

import pytest
from pytest import approx

from common.failures import StudyError
from mil import heads_run
from mil.evaluation.comparison import compare_runs
from mil.evaluation.evaluation import metrics_of_run
from mil.evaluation.heads_comparison import compare_heads
from mil.heads_run import other_heads, run_name
from mil.metrics.bootstrap import Interval
from mil.report.report import write_report
from mil.report.verdict import heads_table, heads_words
from mil.runs.audit_record import Audit
from mil.runs.heads_record import HeadResult, current_heads, write_heads
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import read_run
from mil.tasks.registry import task_named
from mil.train import main as train
from mil.training.training_settings import TrainConfig
from mil.training_run import TrainedRun
from tests.helpers.run_folders import reseal, subtype_run, survival_run

N = 200


@pytest.fixture
def folders(tmp_path):
    for name, skill in (("default", 2.0), ("default-max_pool", 0.1), ("default-mean", 2.02)):
        subtype_run(tmp_path / name, skill=skill)
    return [RunFolder(tmp_path / name) for name in ("default", "default-max_pool", "default-mean")]


def compared(folders):
    runs = list(zip(("gated_attention", "max_pool", "mean"), map(read_run, folders), strict=True))
    return compare_heads(runs, task_named("subtype").evaluation, n_bootstrap=N, seed=0)


def test_differences_are_those_of_two_runs_compared(folders):
    heads = compared(folders)
    task = task_named("subtype").evaluation
    first, *others = map(read_run, folders)
    assert heads.heads[0].difference is None
    for own, run in zip(heads.heads[1:], others, strict=True):
        (pair,) = [
            each
            for each in compare_runs(run, first, task, n_bootstrap=N, seed=0).bootstrap
            if each.name == heads.metric
        ]
        assert own.difference.value == approx(pair.difference.value)
        assert own.figure.value == approx(pair.first)
        assert own.p == approx(pair.p)
    assert [heads_words(own) for own in heads.heads] == ["not tested", "worse", "within noise"]
    assert "within noise" in heads_table(heads)


def test_a_difference_that_only_many_comparisons_bring_is_noise():
    span = Interval(value=0.03, low=0.001, high=0.06, method="BCa")
    own = HeadResult(head="a", run="r", figure=span, difference=span, p=0.04, p_holm=0.2, predictions_sha256=None)
    assert heads_words(own) == "within noise"
    assert heads_words(replace(own, p_holm=0.04)) == "better"


def test_the_comparison_is_kept_shown_and_gone_when_a_run_was_trained_anew(folders):
    heads = compared(folders)
    write_heads(folders[0], heads)
    assert current_heads(folders[0]) == heads
    run = read_run(folders[0])
    task = task_named("subtype")
    write_report(run, metrics_of_run(run, task.evaluation, n_bootstrap=N, seed=0), task.report)
    page = folders[0].report.read_text()
    assert "Heads on the same folds" in page and "within noise" in page
    table = folders[2].predictions
    table.write_text(table.read_text().replace("p00,attention", "p00,attention", 1) + "\n")
    reseal(folders[2].root)
    assert current_heads(folders[0]) is None
    assert json.loads(folders[0].heads.read_text())["schema"] == "heads/1"


def test_runs_of_other_tasks_are_refused(folders, tmp_path):
    survival_run(tmp_path / "other")
    runs = [("a", read_run(folders[0])), ("b", read_run(RunFolder(tmp_path / "other")))]
    with pytest.raises(StudyError, match="compare like with like"):
        compare_heads(runs, task_named("subtype").evaluation, n_bootstrap=N, seed=0)


def test_heads_are_known_named_once_and_their_runs_can_be_folders():
    config = TrainConfig(heads="mean_mlp, gated_attention,max_pool")
    assert other_heads(config) == ["mean_mlp", "max_pool"]
    assert other_heads(TrainConfig()) == []
    assert run_name(TrainConfig(name="a"), "my.module:head") == "a-my.module.head"
    with pytest.raises(StudyError, match="stands there twice"):
        other_heads(TrainConfig(heads="mean_sd,mean_sd"))
    with pytest.raises(StudyError, match="is no head"):
        other_heads(TrainConfig(heads="mean_mpl"))


def test_a_run_without_other_heads_compares_nothing(monkeypatch, folders):
    task = task_named("subtype").evaluation
    metrics = metrics_of_run(read_run(folders[0]), task, n_bootstrap=N, seed=0)
    trained = TrainedRun(
        folder=folders[0], metrics=metrics, audit=Audit(checks=()), usable=[], excluded={}, is_evaluated=True
    )
    monkeypatch.setattr(heads_run, "train_study", lambda *_args, **_options: trained)
    assert heads_run.train_heads(folders[0].root, TrainConfig()) == (trained, None)
    assert not folders[0].heads.exists()


def test_a_wrong_head_costs_no_training(tmp_path, capsys):
    assert train(["--study", str(tmp_path), "--heads", "mean_mpl"]) == 2
    assert "mean_mlp" in capsys.readouterr().err


def test_a_head_that_fails_takes_no_other_along(monkeypatch, folders, tmp_path):
    """The comparison is of those that were trained; the one that learnt nothing is said with its reason."""
    by_name = {folder.name: folder for folder in folders}

    def trained(study, config, *, say):
        if config.head == "additive":
            raise StudyError("the head learnt nothing")
        name = "default" if config.head == "gated_attention" else "default-max_pool"
        metrics = metrics_of_run(read_run(by_name[name]), task_named("subtype").evaluation, n_bootstrap=N, seed=0)
        return TrainedRun(
            folder=by_name[name], metrics=metrics, audit=Audit(checks=()), usable=[], excluded={}, is_evaluated=True
        )

    monkeypatch.setattr(heads_run, "train_study", trained)
    said = []
    config = TrainConfig(heads="additive,max_pool", bootstrap=N)
    _, found = heads_run.train_heads(tmp_path, config, say=said.append)
    assert [own.head for own in found.heads] == ["gated_attention", "max_pool"]
    assert any("additive failed" in words and "learnt nothing" in words for words in said)


@pytest.mark.parametrize(("heads", "code"), [("additive", 1), (None, 0)])
def test_where_every_other_head_failed_the_exit_code_is_1(monkeypatch, folders, tmp_path, heads, code):
    metrics = metrics_of_run(read_run(folders[0]), task_named("subtype").evaluation, n_bootstrap=N, seed=0)
    trained = TrainedRun(
        folder=folders[0], metrics=metrics, audit=Audit(checks=()), usable=[], excluded={}, is_evaluated=True
    )
    monkeypatch.setattr(heads_run, "train_heads", lambda *_args, **_options: (trained, None))
    assert train(["--study", str(tmp_path), *(["--heads", heads] if heads else [])]) == code
