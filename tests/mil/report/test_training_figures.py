"""Pictures of training: losses by epoch with the epoch kept, and the learning curve, beside the tables behind them."""

from dataclasses import replace

from pytest import approx

from mil.evaluation.metrics_record import SharePoint
from mil.metrics.bootstrap import Interval
from mil.report.drawing import style_of
from mil.report.training_figures import draw_learning_curve, draw_training
from mil.runs.facts import Epoch
from tests.helpers.run_folders import FOLDS


def axes_of(picture):
    (axes,) = picture.figure.axes
    return axes


def test_each_fold_has_its_losses_and_a_dot_at_the_epoch_kept():
    folds = (replace(FOLDS[0], best_epoch=2), replace(FOLDS[1], repeat=1, n_val=0, best_epoch=2, history=(
        Epoch(epoch=1, train_loss=0.9, val_loss=None), Epoch(epoch=2, train_loss=0.4, val_loss=None),
    )))  # fmt: skip
    picture = draw_training(folds)
    lines = [
        (line.get_xdata(), line.get_ydata(), line.get_linestyle(), line.get_color()) for line in axes_of(picture).lines
    ]
    one, other = style_of(0).colour, style_of(1).colour
    wanted = [
        ([1, 2], [1.0, 0.5], "-", one), ([1, 2], [1.1, 1.2], "--", one), ([2], [1.2], "None", one),
        ([1, 2], [0.9, 0.4], "-", other), ([2], [0.4], "None", other),
    ]  # fmt: skip
    assert [(list(x), list(y), style, colour) for x, y, style, colour in lines] == [
        (x, approx(y), style, colour) for x, y, style, colour in wanted
    ]
    assert [text.get_text() for text in axes_of(picture).get_legend().get_texts()] == [
        "fold 0"
    ]  # of the first repeat alone
    assert picture.rows == [[0, 0, 1, 1.0, 1.1], [0, 0, 2, 0.5, 1.2], [1, 1, 1, 0.9, None], [1, 1, 2, 0.4, None]]
    assert (
        picture.description == "Loss against the epoch for 2 folds: training part pale, inner validation part dashed."
    )
    alone = draw_training(folds[1:])
    assert axes_of(alone).get_legend() is None
    assert alone.description.endswith("training part pale.")


def test_the_learning_curve_has_a_band_of_the_attention_model_and_leaves_out_what_has_no_interval():
    points = tuple(
        SharePoint(share=share, n_train=10 * share, attention=own, mean_pool=other)
        for share, own, other in (
            (0.25, Interval(0.6, 0.5, 0.7), Interval(0.5, 0.4, 0.6)), (0.5, Interval(0.7, None, None), Interval(None, None, None)),
            (1.0, Interval(0.8, 0.7, 0.9), Interval(0.55, 0.5, 0.6)),
        )
    )  # fmt: skip
    picture = draw_learning_curve(points, "macro_auroc")
    axes = axes_of(picture)
    attention, mean_pool, chance = axes.lines
    assert (list(attention.get_xdata()), list(attention.get_ydata())) == ([2.5, 10], [0.6, 0.8])
    assert list(mean_pool.get_ydata()) == [0.5, 0.55]
    assert list(chance.get_ydata()) == [0.5, 0.5]
    (band,) = axes.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.round(3).tolist()}
    assert {(2.5, 0.5), (2.5, 0.7), (10.0, 0.7), (10.0, 0.9)} == corners
    assert picture.rows[0] == ["attention", 0.25, 2.5, 0.6, 0.5, 0.7]
    assert picture.rows[4] == ["mean_pool", 0.5, 5.0, None, None, None]
    assert list(picture.names) == ["model", "share", "training patients", "macro AUROC", "low", "high"]
    assert axes.get_ylabel() == "macro AUROC"
