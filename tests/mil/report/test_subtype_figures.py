"""Pictures of a subtype run: what is drawn is what was counted, and the table behind it says the same."""

import numpy as np
import pandas as pd
import pytest
from pytest import approx
from sklearn.metrics import roc_auc_score, roc_curve

from mil.evaluation.metrics_record import Confusion
from mil.evaluation.subtype_metrics import Calibration, Reliability, Scaled, Selective
from mil.metrics.bootstrap import Interval
from mil.metrics.calibration import reliability
from mil.report.drawing import style_of
from mil.report.subtype_figures import draw_confusion, draw_reliability, draw_roc, draw_selective
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import read_run
from tests.helpers.run_folders import subtype_run


def axes_of(picture):
    (axes,) = picture.figure.axes
    return axes


def test_the_confusion_is_counted_and_shaded_by_the_share_of_the_true_class():
    counts = ((6, 4, 0), (0, 0, 0), (1, 1, 8))
    picture = draw_confusion(Confusion(classes=("A", "B", "C"), counts=counts), of="images")
    axes = axes_of(picture)
    shares = [[0.6, 0.4, 0], [0, 0, 0], [0.1, 0.1, 0.8]]
    assert np.asarray(axes.images[0].get_array()) == approx(np.array(shares))
    letters = {text.get_position(): (text.get_text(), text.get_color()) for text in axes.texts}
    assert letters == {
        (column, row): (str(counts[row][column]), "white" if shares[row][column] > 0.6 else "black")
        for row in range(3)
        for column in range(3)
    }
    assert letters[2, 2][1] == "white"
    assert letters[0, 0][1] == "black"
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["A (10)", "B (0)", "C (10)"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["A", "B", "C"]
    assert list(picture.names) == ["true", "predicted", "images"]
    assert picture.rows == [[a, b, counts[i][j]] for i, a in enumerate("ABC") for j, b in enumerate("ABC")]
    assert picture.description.startswith(
        "True against predicted subtype: 14 of 20 images on the diagonal; subtypes: A, B, C."
    )
    assert axes.get_ylabel() == "true (images)"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    subtype_run(folder)
    return read_run(RunFolder(folder))


def test_roc_curves_are_scikit_learns(run):
    picture = draw_roc(run)
    own = run.predictions[run.predictions["model"] == "attention"]
    table = pd.DataFrame(picture.rows, columns=list(picture.names))
    lines = axes_of(picture).lines[1:]
    assert list(dict.fromkeys(table["class"])) == list(run.classes)
    for index, (name, line) in enumerate(zip(run.classes, lines, strict=True)):
        truth = own["truth"] == name
        alarms, hits, _ = roc_curve(truth, own[f"p_{name}"], drop_intermediate=False)
        found = table[table["class"] == name]
        assert found["1 - specificity"].tolist() == approx(alarms.tolist())
        assert found["sensitivity"].tolist() == approx(hits.tolist())
        assert line.get_xdata() == approx(alarms)
        assert line.get_ydata() == approx(hits)
        assert line.get_color() == style_of(index).colour
        label = f"{name}  {roc_auc_score(truth, own[f'p_{name}']):.2f}  (n {truth.sum()})"
        assert line.get_label() == label
        assert label in picture.description


def test_a_class_that_nobody_or_everybody_has_has_no_curve(run):
    own = run.predictions[run.predictions["truth"] != "C"]
    assert {row[0] for row in draw_roc(_with(run, own)).rows} == {"A<1>", "B"}
    assert draw_roc(_with(run, own[own["truth"] == "B"])).rows == []


def _with(run, predictions):
    return type(run)(**{name: getattr(run, name) for name in run.__dataclass_fields__} | {"predictions": predictions})


def test_reliability_is_drawn_before_and_after_scaling():
    rng = np.random.default_rng(0)
    p, labels = rng.dirichlet(np.ones(3), 40), rng.integers(0, 3, 40)
    bins = reliability(p, labels, 4)
    raw = Calibration(n_bins=4, raw=Reliability(bins=bins), temperatures=(), calibrated=None)
    picture = draw_reliability(raw)
    assert picture.rows == [["raw", each.n, each.confidence, each.accuracy] for each in bins]
    (_, line) = axes_of(picture).lines
    assert line.get_xdata() == approx([each.confidence for each in bins])
    assert line.get_ydata() == approx([each.accuracy for each in bins])
    nothing = Interval(None, None, None)
    names = [name for name in Scaled.__dataclass_fields__ if name != "bins"]
    both = Calibration(
        n_bins=4,
        raw=Reliability(bins=bins),
        temperatures=(),
        calibrated=Scaled(bins=bins[:2], **dict.fromkeys(names, nothing)),
    )
    picture = draw_reliability(both)
    assert [row[0] for row in picture.rows] == ["raw"] * len(bins) + ["calibrated"] * 2
    assert len(axes_of(picture).lines) == 3


@pytest.mark.parametrize(("least", "bottom"), [(0.5, 0.4), (0.05, 0.0)])
def test_the_axis_of_selective_accuracy_begins_a_tenth_below_the_curve(least, bottom):
    curve = ((0.5, 1.0), (0.75, least), (1.0, 0.8))
    picture = draw_selective(Selective(curve=curve, at=(), area_under_risk=0.1))
    axes = axes_of(picture)
    assert axes.get_ylim() == approx((bottom, 1.02))
    assert axes.get_xlim() == approx((0, 1.02))
    assert axes.lines[0].get_xdata() == approx([0.5, 0.75, 1.0])
    assert list(axes.lines[1].get_ydata()) == [0.8, 0.8]
    assert picture.rows == curve
