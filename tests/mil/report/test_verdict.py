"""The verdict in words: what it takes to be better than chance or a baseline, and tables as text for the screen."""

from dataclasses import replace

import pytest

from mil.evaluation.evaluation import metrics_of_run
from mil.evaluation.metrics_record import BagCounts, NotEvaluated
from mil.metrics.bootstrap import Interval
from mil.report.verdict import comparison_table, heads_table, heads_words, results_table, verdict
from mil.runs.comparison_record import ClassTest, Comparison, FoldTest, PairedMetric
from mil.runs.heads_record import HeadResult, Heads
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import read_run
from mil.tasks.registry import TASKS
from tests.helpers.run_folders import subtype_run


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    subtype_run(folder)
    return metrics_of_run(read_run(RunFolder(folder)), TASKS["subtype"].evaluation, n_bootstrap=100, seed=0)


def span(value, low=None, high=None, method="BCa"):
    return Interval(value, low, high, method)


def said(known, own, baseline=None, difference=None, **changes):
    attention = known.attention | {"macro_auroc": own}
    if baseline is None:
        return verdict(replace(known, attention=attention, mean_pool=None, differences={}, **changes))
    mean_pool = known.mean_pool | {"macro_auroc": baseline}
    differences = {"mean_pool": known.differences["mean_pool"] | {"macro_auroc": difference}}
    return verdict(replace(known, attention=attention, mean_pool=mean_pool, differences=differences, **changes))


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (span(0.7, 0.6, 0.8), "The attention model is better than chance (macro AUROC 0.700, 0.600 to 0.800)."),
        (
            span(0.7, 0.5, 0.8),
            "The attention model is not shown to be better than chance (macro AUROC 0.700, 0.500 to 0.800).",
        ),
        (span(0.7, 0.501, 0.8), "The attention model is better than chance (macro AUROC 0.700, 0.501 to 0.800)."),
        (
            span(0.7),
            "The attention model is not shown to be better than chance (macro AUROC 0.700, without an interval).",
        ),
        (span(None), "The macro AUROC is not defined for these test patients."),
        (
            span(0.7, method="too few"),
            "The macro AUROC is 0.700, of too few patients for an interval or a verdict: 40 test patients (A<1> 14, B 13, C 13), "
            "and it takes 10, with a class of 5 beside 5 others.",
        ),
    ],
)
def test_better_than_chance_is_an_interval_above_a_half(known, own, words):
    assert said(known, own).startswith(words)


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (span(0.1, 0.02, 0.2), "It beats the mean-pool baseline (0.600) by 0.100."),
        (
            span(0.1, 0.0, 0.2),
            "It is not shown to beat the mean-pool baseline (0.600): the difference is 0.100 (0.000 to 0.200).",
        ),
        (
            span(0.0, -0.1, 0.1),
            "It does not beat the mean-pool baseline (0.600): the difference is 0.000 (-0.100 to 0.100).",
        ),
        (
            span(-0.1, -0.2, 0.0),
            "It does not beat the mean-pool baseline (0.600): the difference is -0.100 (-0.200 to 0.000).",
        ),
        (
            span(0.1),
            "It is not shown to beat the mean-pool baseline (0.600): the difference is 0.100 (without an interval).",
        ),
        (span(None), "It does not beat the mean-pool baseline (0.600): the difference is   -   (without an interval)."),
    ],
)
def test_a_baseline_is_beaten_by_an_interval_above_0(known, difference, words):
    text = said(known, span(0.7, 0.6, 0.8), span(0.6), difference)
    assert text == f"The attention model is better than chance (macro AUROC 0.700, 0.600 to 0.800). {words}"


@pytest.mark.parametrize(
    ("n", "n_of_one", "words"),
    [
        (40, 0, "It beats the mean-pool baseline (0.600) by 0.100."),
        (40, 1, "It beats the mean-pool baseline (0.600) by 0.100. 1 of 40 patients have one tile, where attention has nothing to "
         "choose."),
        (40, 40, "Every patient has one tile, so attention has nothing to choose and was not tested: the difference to the "
         "mean-pool baseline (0.600), 0.100 (0.020 to 0.200), is that of a non-linear head to a linear one."),
        (0, 0, "It beats the mean-pool baseline (0.600) by 0.100."),
    ],
)  # fmt: skip
def test_where_every_bag_has_one_tile_attention_was_not_tested(known, n, n_of_one, words):
    bags = BagCounts(n=n, n_of_one_tile=n_of_one)
    text = said(known, span(0.7, 0.6, 0.8), span(0.6), span(0.1, 0.02, 0.2), bags=bags)
    assert text == f"The attention model is better than chance (macro AUROC 0.700, 0.600 to 0.800). {words}"
    alone = said(known, span(0.7, 0.6, 0.8), bags=bags)
    assert alone.endswith("was not tested.") == (n_of_one == n > 0)


def test_the_table_of_results_has_a_column_for_each_baseline_and_a_row_for_each_shown_figure(known):
    own = known.attention | {"macro_auroc": span(0.71, 0.6, 0.8), "accuracy": span(0.5)}
    lines = results_table(replace(known, attention=own)).splitlines()
    assert lines[0].split("  ")[0] == "out of fold, by patient"
    assert lines[0].split()[-3:] == ["mean", "pool", "chance"]
    assert [line[:26].strip() for line in lines[1:]] == [
        "macro AUROC", "macro average precision", "balanced accuracy", "accuracy", "macro F1", "log loss",
        "calibration error (ECE)",
    ]  # fmt: skip
    other = known.mean_pool["macro_auroc"].value
    assert lines[1].split()[2:] == ["0.710", "0.600", "to", "0.800", f"{other:.3f}", "0.500"]
    assert lines[4].split()[1:5] == ["0.500", "-", "to", "-"]
    without = results_table(replace(known, mean_pool=None, differences={})).splitlines()
    assert without[0].split()[-1] == "chance"
    assert "mean pool" not in without[0]
    assert results_table(NotEvaluated(task="subtype")) == "nothing was evaluated: no patient is in a test set"
    assert verdict(NotEvaluated(task="subtype")) == ""


def head(difference, p_holm=None, name="x"):
    return HeadResult(
        head=name,
        run="r",
        figure=span(0.7, 0.6, 0.8),
        difference=difference,
        p=p_holm,
        p_holm=p_holm,
        predictions_sha256=None,
    )


@pytest.mark.parametrize(
    ("difference", "p_holm", "words"),
    [
        (None, None, "not tested"),
        (span(0.1), None, "not tested"),
        (Interval(0.1, 0.01, None, "none"), None, "not tested"),
        (Interval(0.1, None, 0.2, "none"), None, "not tested"),
        (span(0.1, 0.0, 0.2), 0.01, "within noise"),
        (span(-0.1, -0.2, 0.0), 0.01, "within noise"),
        (span(0.1, 0.01, 0.2), 0.051, "within noise"),
        (span(0.1, 0.01, 0.2), 0.05, "better"),
        (span(0.1, 0.01, 0.2), None, "better"),
        (span(-0.1, -0.2, -0.01), 0.05, "worse"),
    ],
)
def test_a_difference_of_heads_is_noise_unless_interval_and_p_say_otherwise(difference, p_holm, words):
    assert heads_words(head(difference, p_holm)) == words


def test_heads_and_runs_are_compared_as_text():
    heads = Heads(
        metric="macro_auroc",
        n_patients=40,
        n_bootstrap=100,
        heads=(head(None, name="first"), head(span(0.1, 0.01, 0.2), 0.01)),
    )
    lines = heads_table(heads).splitlines()
    assert lines[1] == "heads on the same folds: macro AUROC, difference to the first (95 % interval)"
    assert lines[2] == f"{'first':28s}  0.700 (0.600 to 0.800)"
    assert lines[3] == f"{'x':28s}  0.700 (0.600 to 0.800)   0.100 (0.010 to 0.200): better"
    paired = PairedMetric(
        name="accuracy", first=0.7, second=None, difference=span(-0.25, -0.5, 0.0), p=0.04, p_holm=None
    )
    of_class = ClassTest(class_name="A", n=5, first=0.9, second=0.8, standard_error=0.1, z=1.0, p=0.3, p_holm=0.6)
    compared = Comparison(
        task="subtype", first="a_name_that_is_long", second="b", n_patients=40, n_bootstrap=100, bootstrap=(paired,),
        folds=(FoldTest(name="accuracy", n_folds=5, mean=0.1, t=2.0, p=0.1, p_holm=0.2), FoldTest(name="accuracy", why="no folds")),
        delong=(of_class,), against="b", predictions_sha256=None, second_predictions_sha256=None,
    )  # fmt: skip
    lines = comparison_table(compared).splitlines()
    assert lines[1] == "a_name_that_is_long less b, 40 patients, paired bootstrap"
    assert lines[2].split()[:2] == ["a_name_th", "b"]
    assert lines[3].split() == ["accuracy", "0.700", "-", "-0.250", "(-0.500", "to", "0.000)", "0.040", "-"]
    assert lines[4].split() == ["AUROC", "of", "A", "0.900", "0.800", "DeLong's", "test", "0.300", "0.600"]
    assert lines[5].split()[-6:] == ["t", "over", "5", "folds", "0.100", "0.200"]
    assert lines[6].split() == ["accuracy", "no", "folds"]
    assert len(comparison_table(replace(compared, delong=None)).splitlines()) == 6
