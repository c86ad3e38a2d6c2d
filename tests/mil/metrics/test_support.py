"""Intervals where every resample is alike, and none of too few patients: limits against SciPy's, simulated truth, words."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pytest import approx
from scipy.stats import binomtest, norm

from mil.audit.site_confounding import predict_sites
from mil.evaluation.comparison import compare_runs
from mil.metrics import support
from mil.metrics.bootstrap import intervals, plan_resampling, resample, supported
from mil.metrics.calibration import calibration_metrics
from mil.metrics.classification import auroc, auroc_of_counts, classification_metrics, ranked_counts
from mil.metrics.concordance import c_index
from mil.report.verdict import results_table, verdict
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import read_run
from mil.tasks.registry import TASKS
from tests.helpers.run_folders import FACTS, evaluated, write_run


def figures_of(probabilities, labels):
    plan = plan_resampling(labels, 200, np.random.default_rng(0))
    drawn = resample(
        lambda w: {
            **classification_metrics(probabilities, labels, w, least=support.MIN_EVENTS),
            **calibration_metrics(probabilities, labels, w),
        },
        plan,
    )
    return intervals(supported(drawn, support.class_support(probabilities, labels)))


def certain(labels, n_classes):
    """All right; the probabilities differ, so that nothing but being right is alike."""
    noise = np.random.default_rng(0).uniform(0.01, 0.1, (len(labels), n_classes))
    p = noise + np.eye(n_classes)[labels]
    return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("right", "n"), [(60, 60), (6, 6), (0, 7), (3, 8), (59, 60)])
def test_e2_limits_of_a_share_are_scipys(right, n):
    theirs = binomtest(right, n).proportion_ci(method="exact")
    assert support.clopper_pearson(right, n) == approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize(("n", "low"), [(60, 0.940), (6, 0.541)])
def test_e2_all_patients_right_is_not_certainty(n, low):
    labels = np.arange(n) % 2
    found = figures_of(certain(labels, 2), labels)["accuracy"]
    assert (found.value, found.high, found.method) == (1, 1, "exact")
    assert found.low == approx(low, abs=5e-4)


def test_e2_no_figure_of_a_perfect_model_has_an_interval_of_no_width():
    labels = np.repeat([0, 1, 2], [30, 20, 10])
    for name, own in figures_of(certain(labels, 3), labels).items():
        assert own.low is None or own.high - own.low > 1e-6, name
    found = figures_of(certain(labels, 3), labels)
    limits = [0.025 ** (1 / m) for m in (30, 20, 10)]
    assert found["auroc:2"].low == approx(limits[2])
    assert (found["macro_auroc"].low, found["macro_auroc"].high) == (approx(np.mean(limits)), 1)
    assert found["weighted_auroc"].low == approx(np.average(limits, weights=[30, 20, 10]))
    assert found["balanced_accuracy"].low == approx(
        np.mean([binomtest(m, m).proportion_ci().low for m in (30, 20, 10)])
    )
    assert (found["macro_f1"].value, found["macro_f1"].low, found["macro_f1"].method) == (1, None, "none")


def test_e2_a_model_that_names_one_class_has_exact_limits_too():
    labels = np.repeat([0, 1], [40, 20])
    found = figures_of(np.tile([0.7, 0.3], (60, 1)), labels)
    theirs = binomtest(40, 60).proportion_ci(method="exact")
    assert (found["accuracy"].low, found["accuracy"].high) == approx((theirs.low, theirs.high))
    first, second = binomtest(40, 40).proportion_ci(), binomtest(0, 20).proportion_ci()
    assert (found["balanced_accuracy"].low, found["balanced_accuracy"].high) == approx(
        (first.low / 2, (1 + second.high) / 2)
    )
    assert (found["macro_auroc"].value, found["macro_auroc"].low) == (0.5, None)


@pytest.mark.parametrize(("n_positive", "n_negative"), [(6, 6), (5, 40)])
def test_e2_a_perfect_auroc_is_rare_where_the_truth_is_at_the_limit(n_positive, n_negative):
    """Normal scores whose true AUROC is the limit: in at most 2.5 % of cohorts is every pair in order."""
    limit = support.ranking_support(1.0, min(n_positive, n_negative), is_enough=True).low
    shift, rng = np.sqrt(2) * norm.ppf(limit), np.random.default_rng(0)
    is_positive = np.arange(n_positive + n_negative) < n_positive
    perfect = [auroc(rng.normal(size=len(is_positive)) + shift * is_positive, is_positive) == 1 for _ in range(4000)]
    assert np.mean(perfect) <= 0.025


def followed(rng, n):
    """Hazards that make the true C-index of censored patients about 0.66."""
    risk = rng.normal(size=n)
    died, end = rng.exponential(size=n) * np.exp(-0.6 * risk), rng.uniform(0, 3, n)
    return risk, np.minimum(died, end), (died <= end).astype(int)


def test_e2_a_perfect_c_index_is_rare_where_the_truth_is_at_the_limit():
    rng = np.random.default_rng(0)
    n_pairs = float(np.mean([support.independent_pairs(*followed(rng, 24)[1:]) for _ in range(200)]))
    limit = support.ranking_support(1.0, n_pairs, is_enough=True).low
    assert c_index(*followed(rng, 3000)) == approx(limit, abs=0.02)
    assert np.mean([c_index(*followed(rng, 24)) == 1 for _ in range(1000)]) <= 0.025


def test_e2_independent_pairs_are_those_of_a_random_pairing():
    rng = np.random.default_rng(0)
    time, event = rng.integers(1, 9, 14).astype(float), rng.integers(0, 2, 14)
    counts = []
    for _ in range(4000):
        order = rng.permutation(14)
        for first, second in order.reshape(7, 2):
            a, b = (
                (first, second) if (time[first], -event[first]) <= (time[second], -event[second]) else (second, first)
            )
            counts.append(event[a] and (time[a] < time[b] or not event[b]))
    assert support.independent_pairs(time, event) == approx(7 * np.mean(counts), abs=0.05)


def test_e2_a_site_that_is_always_named_right_has_limits():
    sites = np.repeat([0, 1], 20)
    features = np.random.default_rng(0).normal(size=(40, 3)) + 50.0 * sites[:, None]
    half = np.arange(40) % 2 == 0
    found = predict_sites(features, sites, [(half, ~half), (~half, half)], np.random.default_rng(0))
    assert (found.balanced_accuracy, found.high) == (1, 1)
    assert found.low == approx(binomtest(20, 20).proportion_ci().low)


def test_e3_noise_of_a_large_enough_class_is_seldom_taken_for_skill():
    rng, wrong = np.random.default_rng(0), 0
    labels = (np.arange(20) < support.MIN_EVENTS).astype(int)
    for _ in range(200):
        scores = rng.normal(size=20)
        plan = plan_resampling(labels, 300, rng)
        drawn = resample(lambda w, s=scores: {"a": auroc_of_counts(*ranked_counts(s, labels == 1, w))}, plan)
        own = intervals(drawn)["a"]
        wrong += own.low > 0.5 or own.high < 0.5
    assert wrong <= 0.1 * 200


def subtype_run(folder, truth, *, skill):
    rng = np.random.default_rng(0)
    classes = ["A", "B", "C"]
    rows = []
    for model in ("attention", "mean_pool"):
        for index, label in enumerate(truth):
            p = rng.dirichlet(np.ones(3)) + skill * np.eye(3)[label]
            rows.append([0, index % 2, f"p{index:02d}", model, classes[label], *(p / p.sum())])
    table = pd.DataFrame(rows, columns=["repeat", "fold", "patient_id", "model", "truth", "p_A", "p_B", "p_C"])
    write_run(folder, table, replace(FACTS, classes=tuple(classes)))
    return evaluated(folder, n_bootstrap=200)


def survival_run(folder, time, event):
    risk = -np.asarray(time, dtype=float)
    rows = [
        [
            0,
            index % 2,
            f"p{index:02d}",
            model,
            time[index],
            event[index],
            risk[index],
            risk[index],
            int(risk[index] > -3),
        ]
        for model in ("attention", "mean_pool")
        for index in range(len(time))
    ]
    names = ["repeat", "fold", "patient_id", "model", "time", "event", "log_hazard", "score", "risk_group"]
    write_run(folder, pd.DataFrame(rows, columns=names), replace(FACTS, task="survival"))
    return evaluated(folder, n_bootstrap=200)


def test_e3_a_class_with_one_test_patient_has_no_interval_and_does_not_move_the_macro_average(tmp_path):
    found = subtype_run(tmp_path / "run", [0] * 14 + [1] * 12 + [2], skill=0.4)
    rare = found.per_class["C"].auroc
    assert (rare.low, rare.high, rare.method) == (None, None, "too few")
    others = [found.per_class[name].auroc.value for name in "AB"]
    assert found.attention["macro_auroc"].value == approx(np.mean(others))
    assert found.attention["macro_auroc"].method == "BCa"
    assert found.chance["balanced_accuracy"] == 0.5
    assert found.notes == ("under 5 test patients of C (1): no interval of their own, left out of macro averages",)
    assert found.notes[0] in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize("truth", [[0, 1, 1, 2], [0] * 4 + [1] * 4 + [2] * 4])
def test_e3_too_few_patients_get_no_verdict_and_are_told_why(tmp_path, truth):
    found = subtype_run(tmp_path / "run", truth, skill=5.0)
    assert found.attention["macro_auroc"].value == 1
    assert found.attention["macro_auroc"].low is None
    said = verdict(found)
    assert "of too few patients for an interval or a verdict" in said
    assert f"{len(truth)} test patients (A {truth.count(0)}, B {truth.count(1)}, C {truth.count(2)})" in said
    assert "better than" not in said
    assert "beat" not in said
    assert said in (tmp_path / "run" / "report.html").read_text()
    assert "macro AUROC" in results_table(found)


@pytest.mark.parametrize(
    ("time", "event"),
    [([1, 2, 3, 4], [1, 1, 1, 1]), (list(range(1, 31)), [1, 1] + [0] * 28)],
    ids=["patients", "events"],
)
def test_e3_survival_of_too_few_patients_or_events_gets_no_verdict(tmp_path, time, event):
    found = survival_run(tmp_path / "run", time, event)
    for name, own in found.attention.items():
        assert (own.value, own.low, own.method) == (1, None, "too few"), name
    assert "no interval" not in verdict(found)
    assert f"{len(time)} test patients with {sum(event)} events, and it takes 10 patients and 5 events" in verdict(
        found
    )
    assert "better than" not in verdict(found)


def test_e2_a_perfect_c_index_of_enough_patients_has_a_bound(tmp_path):
    found = survival_run(tmp_path / "run", list(range(1, 31)), [1] * 20 + [0] * 10)
    own = found.attention["c_index"]
    assert (own.value, own.high, own.method) == (1, 1, "exact")
    n_pairs = 15 * (1 - 10 * 9 / (30 * 29))
    assert own.low == approx(0.025 ** (1 / n_pairs))
    assert "the difference is 0.000 (without an interval)" in verdict(found)


def test_e3_two_runs_of_too_few_patients_are_compared_without_a_p_value(tmp_path):
    runs = {}
    for name, skill in (("first", 5.0), ("second", 0.4)):
        for size, truth in (("few", [0] * 4 + [1] * 4 + [2]), ("enough", [0] * 14 + [1] * 12 + [2])):
            subtype_run(tmp_path / size / name, truth, skill=skill)
            runs[size, name] = read_run(RunFolder(tmp_path / size / name))
    few, enough = (
        compare_runs(runs[size, "first"], runs[size, "second"], TASKS["subtype"].evaluation, n_bootstrap=100, seed=0)
        for size in ("few", "enough")
    )
    ranked = {own.name: (own.difference.method, own.p, own.p_holm) for own in few.bootstrap}
    assert ranked["macro_auroc"] == ("too few", None, None)
    assert [test.p for test in few.delong] == [None, None, None]
    assert {own.name: own.p for own in enough.bootstrap}["macro_auroc"] is not None
    assert [test.p is None for test in enough.delong] == [False, False, True]


@pytest.mark.parametrize(
    ("n_first", "n_second", "is_enough"), [(5, 5, True), (4, 5, False), (4, 6, False), (5, 6, True)]
)
def test_ten_patients_with_five_of_a_class_and_five_beside_it_are_enough(n_first, n_second, is_enough):
    labels = np.repeat([0, 1], [n_first, n_second])
    found = support.class_support(np.full((len(labels), 2), 0.5), labels)
    assert found["macro_auroc"].is_enough == is_enough
