"""Two runs side by side: DeLong against its slow twin, permutations and another package; Holm; corrected t; refusals."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx
from scipy import stats

from common.failures import StudyError
from mil.evaluate import main as evaluate
from mil.evaluation.comparison import check_comparable, compare_runs
from mil.metrics.classification import auroc
from mil.metrics.delong import auroc_covariance, compare_aurocs
from mil.metrics.paired_tests import bootstrap_p, corrected_resampled_t, holm
from mil.report.verdict import comparison_table
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import read_run
from mil.tasks.registry import TASKS
from tests.helpers.run_folders import reseal, subtype_run, survival_run
from tests.reference.slow_metrics import slow_delong

SUBTYPE, SURVIVAL = TASKS["subtype"].evaluation, TASKS["survival"].evaluation


@st.composite
def paired_scores(draw_):
    rng = np.random.default_rng(draw_(st.integers(0, 10_000)))
    n = draw_(st.integers(8, 40))
    positive = np.arange(n) % 3 == 0
    first = (rng.normal(size=n) + positive).round(draw_(st.integers(0, 2)))
    return first, (0.5 * first + rng.normal(size=n)).round(1), positive


@given(paired_scores())
@settings(max_examples=40, deadline=None)
def test_delong_equals_the_loop_over_pairs(case):
    first, second, positive = case
    aurocs, covariance = auroc_covariance(np.stack([first, second]), positive)
    expected, slow = slow_delong(first, second, positive)
    assert aurocs == approx(expected, abs=1e-12)
    assert covariance == approx(slow, abs=1e-12)
    assert aurocs[0] == approx(auroc(first, positive), abs=1e-12)


def test_delong_equals_another_package():
    """MLstatkit 0.1.91, Delong_test(y, first, second): z, p and the two AUROCs for these numbers."""
    rng = np.random.default_rng(11)
    y = (np.arange(80) % 4 == 0).astype(int)
    first = np.round(rng.random(80) * 0.6 + 0.4 * y * rng.random(80), 2)
    second = np.round(rng.random(80) * 0.8 + 0.2 * y * rng.random(80), 2)
    found = compare_aurocs(first, second, y == 1)
    assert [found.first, found.second] == approx([0.6958333333333333, 0.5375], abs=1e-12)
    # the package's z is of the second less the first
    assert [found.z, found.p] == approx([1.3172711724482564, 0.18774774451051623], abs=1e-9)
    assert found.standard_error**2 == approx(0.014447554267023491, abs=1e-12)


def test_delong_p_is_near_that_of_swapping_models_at_random():
    rng = np.random.default_rng(4)
    positive = np.arange(120) % 2 == 0
    first = rng.normal(size=120) + 1.0 * positive
    second = rng.normal(size=120) + 0.5 * positive
    ranks = np.stack([stats.rankdata(first), stats.rankdata(second)])  # exchangeable under the null
    observed = abs(auroc(ranks[0], positive) - auroc(ranks[1], positive))
    count, n_swaps = 0, 4000
    for _ in range(n_swaps):
        swap = rng.random(120) < 0.5
        one, other = np.where(swap, ranks[1], ranks[0]), np.where(swap, ranks[0], ranks[1])
        count += abs(auroc(one, positive) - auroc(other, positive)) >= observed - 1e-12
    assert compare_aurocs(first, second, positive).p == approx(count / n_swaps, abs=0.02)


def test_models_that_rank_alike_do_not_differ():
    scores, positive = np.arange(10.0), np.arange(10) % 2 == 0
    assert compare_aurocs(scores, scores**3, positive).p == 1.0
    with pytest.raises(ValueError, match="two of each kind"):
        compare_aurocs(scores, scores, np.arange(10) == 0)


def test_holm_steps_down():
    assert holm([0.01, 0.04, 0.03, None]) == [approx(0.03), approx(0.06), approx(0.06), None]
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_bootstrap_p_counts_the_smaller_tail_twice():
    assert bootstrap_p(np.array([1.0] * 97 + [-1.0] * 2)) == approx(2 * 3 / 100)
    assert bootstrap_p(np.array([-1.0] * 97 + [1.0] * 2)) == approx(2 * 3 / 100)
    assert bootstrap_p(np.zeros(99)) == 1.0
    assert bootstrap_p(np.full(5, np.nan)) is None


def test_corrected_t_is_the_plain_t_with_a_larger_variance():
    x = np.array([0.05, 0.02, 0.08, -0.01, 0.04])
    found = corrected_resampled_t(x, np.full(5, 80.0), np.full(5, 20.0))
    plain = stats.ttest_1samp(x, 0)
    assert found.t == approx(plain.statistic / np.sqrt(1 + 5 * 20 / 80), abs=1e-12)
    k_fold = x.mean() / np.sqrt((1 + 5 / 4) * x.var(ddof=1) / 5)  # F = 1 + K / (K - 1)
    assert found.t == approx(k_fold, abs=1e-12)
    assert found.p == approx(2 * stats.t.sf(found.t, 4), abs=1e-12)
    assert corrected_resampled_t(x[:1], np.ones(1), np.ones(1)).p is None


def test_two_subtype_runs_are_compared_in_pairs(tmp_path):
    subtype_run(tmp_path / "good", skill=2.5)
    subtype_run(tmp_path / "bad", skill=0.2)
    runs = [read_run(RunFolder(tmp_path / name)) for name in ("good", "bad")]
    compared = compare_runs(*runs, SUBTYPE, n_bootstrap=300, seed=0)
    rows = {row.name: row for row in compared.bootstrap}
    assert rows["macro_auroc"].difference.low > 0
    assert rows["macro_auroc"].p_holm >= rows["macro_auroc"].p
    assert rows["log_loss"].difference.value < 0
    assert all(row.p < 0.05 for row in compared.delong)
    assert compared.folds[0].n_folds == 2
    assert "DeLong" in comparison_table(compared)
    same = compare_runs(runs[0], runs[0], SUBTYPE, n_bootstrap=100, seed=0)
    assert {row.p for row in same.bootstrap} == {1.0}
    assert {row.p for row in same.delong} == {1.0}


def test_two_survival_runs_are_compared(tmp_path):
    survival_run(tmp_path / "one")
    survival_run(tmp_path / "two")
    path = tmp_path / "two" / "predictions.csv"
    table = pd.read_csv(path)
    table[["score", "log_hazard"]] = np.random.default_rng(0).normal(size=(len(table), 2))
    table.to_csv(path, index=False)
    reseal(tmp_path / "two")
    compared = compare_runs(
        read_run(RunFolder(tmp_path / "one")), read_run(RunFolder(tmp_path / "two")), SURVIVAL, n_bootstrap=200, seed=0
    )
    assert compared.bootstrap[0].name == "c_index"
    span = compared.bootstrap[0].difference
    assert 0.2 < span.value < span.high
    assert (span.low > 0) == (compared.bootstrap[0].p < 0.05)  # 40 patients, two folds: not shown
    assert "corrected t over 2 folds" in comparison_table(compared)


def test_runs_of_other_patients_labels_or_tasks_are_refused_by_name(tmp_path):
    subtype_run(tmp_path / "one")
    subtype_run(tmp_path / "two")
    survival_run(tmp_path / "three")
    path = tmp_path / "two" / "predictions.csv"
    table = pd.read_csv(path)
    one = read_run(RunFolder(tmp_path / "one"))
    table.assign(truth=table["truth"].where(table["patient_id"] != "p01", "C")).to_csv(path, index=False)
    reseal(tmp_path / "two")
    with pytest.raises(StudyError, match=r"truth differ for 1 patient\(s\): p01"):
        check_comparable(one, read_run(RunFolder(tmp_path / "two")), SUBTYPE)
    table[table["patient_id"] != "p01"].to_csv(path, index=False)
    reseal(tmp_path / "two")
    with pytest.raises(StudyError, match="1 only in one: p01"):
        check_comparable(one, read_run(RunFolder(tmp_path / "two")), SUBTYPE)
    with pytest.raises(StudyError, match="task is subtype and survival"):
        check_comparable(one, read_run(RunFolder(tmp_path / "three")), SUBTYPE)


@pytest.mark.slow
def test_the_script_evaluates_again_without_training_and_compares(tmp_path, capsys):
    root = tmp_path / "runs" / "subtype"
    subtype_run(root / "default")
    subtype_run(root / "other", skill=0.0)
    assert evaluate(["--study", str(tmp_path), "--bootstrap", "100", "--against", "other"]) == 0
    out = capsys.readouterr().out
    assert "macro AUROC" in out
    assert "corrected t over 2 folds" in out
    before = (root / "default" / "metrics.json").read_bytes()
    assert json.loads((root / "default" / "comparison.json").read_text())["n_patients"] == 40
    assert "DeLong" in (root / "default" / "report.html").read_text()
    assert evaluate(["--study", str(tmp_path), "--bootstrap", "100"]) == 0
    assert (root / "default" / "metrics.json").read_bytes() == before
    assert evaluate(["--study", str(tmp_path), "--name", "absent"]) == 2
    assert "no finished run" in capsys.readouterr().err
    assert evaluate(["--study", str(tmp_path), "--against", "default"]) == 2


@pytest.mark.slow
def test_a_comparison_is_shown_until_either_run_is_trained_anew(tmp_path):
    root = tmp_path / "runs" / "subtype"
    subtype_run(root / "default")
    subtype_run(root / "other", skill=0.0)
    known = ["--study", str(tmp_path), "--bootstrap", "100"]
    assert evaluate([*known, "--against", "other"]) == 0
    assert evaluate(known) == 0
    assert "Compared with" in (root / "default" / "report.html").read_text()
    (root / "other" / "predictions.csv").write_bytes((root / "default" / "predictions.csv").read_bytes())
    assert evaluate(known) == 0
    assert "Compared with" not in (root / "default" / "report.html").read_text()


@pytest.mark.parametrize("n_absent", [5, 6])
def test_five_patients_that_differ_are_named_in_order(tmp_path, n_absent):
    for name in ("one", "two"):
        subtype_run(tmp_path / name)
    path = tmp_path / "two" / "predictions.csv"
    table = pd.read_csv(path)
    absent = [f"p{number:02d}" for number in range(n_absent)]
    one = read_run(RunFolder(tmp_path / "one"))
    table[~table["patient_id"].isin(absent)].to_csv(path, index=False)
    reseal(tmp_path / "two")
    two = read_run(RunFolder(tmp_path / "two"))
    named = "p00, p01, p02, p03, p04" + (" ..." if n_absent > 5 else "") + ". Train both on the same splits"
    with pytest.raises(StudyError, match="tested different patients") as error:
        check_comparable(one, two, SUBTYPE)
    assert f"{n_absent} only in one: {named}" in str(error.value)
    assert "only in two" not in str(error.value)
    with pytest.raises(StudyError, match=f"{n_absent} only in one") as error:
        check_comparable(two, one, SUBTYPE)
    assert "only in two" not in str(error.value)
    table[table["model"] != "attention"].to_csv(path, index=False)
    reseal(tmp_path / "two")
    nobody = read_run(RunFolder(tmp_path / "two"))
    for runs in ((one, nobody), (nobody, one)):
        with pytest.raises(StudyError, match="one has no test patient"):
            check_comparable(*runs, SUBTYPE)
    assert check_comparable(one, one, SUBTYPE) is None


def test_runs_of_other_classes_are_refused_and_truths_that_differ_named(tmp_path):
    for name in ("one", "two"):
        survival_run(tmp_path / name)
    path = tmp_path / "two" / "predictions.csv"
    table = pd.read_csv(path)
    table["time"] += np.where(table["patient_id"] == "p03", 1, 0)
    table.to_csv(path, index=False)
    reseal(tmp_path / "two")
    one, two = (read_run(RunFolder(tmp_path / name)) for name in ("one", "two"))
    with pytest.raises(StudyError, match=r"time and event differ for 1 patient\(s\): p03"):
        check_comparable(one, two, SURVIVAL)
    turned = replace(one, facts=replace(one.facts, classes=("x", "y")))
    with pytest.raises(StudyError, match=r"classes is \[\] and \['x', 'y'\]; compare like with like"):
        check_comparable(one, turned, SURVIVAL)


def test_the_differences_of_folds_are_those_of_each_folds_metrics(tmp_path):
    subtype_run(tmp_path / "one", skill=2.0)
    subtype_run(tmp_path / "two", skill=0.5)
    runs = [read_run(RunFolder(tmp_path / name)) for name in ("one", "two")]
    compared = compare_runs(*runs, SUBTYPE, n_bootstrap=100, seed=0)
    right = []
    for run in runs:
        own = run.predictions[run.predictions["model"] == "attention"]
        named = np.array(["A<1>", "B", "C"])[own[["p_A<1>", "p_B", "p_C"]].to_numpy().argmax(axis=1)]
        right.append((named == own["truth"]).groupby(own["fold"]).mean().to_numpy())
    (found,) = [fold for fold in compared.folds if fold.name == "accuracy"]
    wanted = corrected_resampled_t(right[0] - right[1], np.full(2, 20.0), np.full(2, 20.0))  # 16 and 4 train
    assert (found.mean, found.t, found.p) == approx((wanted.mean, wanted.t, wanted.p))
    assert [fold.p_holm for fold in compared.folds] == approx(holm([fold.p for fold in compared.folds]))
    assert (compared.n_patients, compared.n_bootstrap, compared.against) == (40, 100, "two")
    assert compared.predictions_sha256 == runs[0].predictions_sha256 != compared.second_predictions_sha256
    rows = {row.name: row for row in compared.bootstrap}
    assert rows["accuracy"].difference.value == approx(rows["accuracy"].first - rows["accuracy"].second)
    assert rows["accuracy"].first == approx(np.mean(right[0]))
    moved = replace(runs[1], predictions=runs[1].predictions.assign(fold=1 - runs[1].predictions["fold"]))
    (test,) = compare_runs(runs[0], moved, SUBTYPE, n_bootstrap=100, seed=0).folds
    assert test.name == "macro_auroc"
    assert "different folds" in test.why


def fewer(run, n_patients):
    kept = sorted(set(run.predictions["patient_id"]))[:n_patients]
    return replace(run, predictions=run.predictions[run.predictions["patient_id"].isin(kept)])


@pytest.mark.parametrize(("n_patients", "is_tested"), [(9, False), (40, True)])
def test_of_too_few_patients_there_is_no_p(tmp_path, n_patients, is_tested):
    subtype_run(tmp_path / "one", skill=2.0)
    subtype_run(tmp_path / "two", skill=0.5)
    runs = [fewer(read_run(RunFolder(tmp_path / name)), n_patients) for name in ("one", "two")]
    compared = compare_runs(*runs, SUBTYPE, n_bootstrap=100, seed=0)
    assert all((row.p is not None) == is_tested for row in compared.bootstrap if row.name == "accuracy")
    assert all((row.p is not None) == is_tested for row in compared.delong)
