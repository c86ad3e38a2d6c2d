"""Pictures of training: loss by epoch, learning curve."""

from __future__ import annotations

from collections.abc import Sequence

from mil.evaluation.metrics_record import SharePoint
from mil.report.drawing import COLOURS, Picture, new_axes
from mil.runs.facts import FoldFacts
from mil.runs.figure_names import ATTENTION, MEAN_POOL, MODEL_NAMES, NAMES


def draw_learning_curve(points: Sequence[SharePoint], name: str) -> Picture:
    """Draw the main metric against the number of training patients."""
    figure, axes = new_axes(4.6, 3.4)
    rows: list[list[object]] = []
    curves = (
        (ATTENTION, COLOURS[0], [point.attention for point in points]),
        (MEAN_POOL, COLOURS[2], [point.mean_pool for point in points]),
    )
    for model, colour, values in curves:
        known = [
            (point.n_train, own.value, own.low, own.high)
            for point, own in zip(points, values, strict=True)
            if own.value is not None and own.low is not None and own.high is not None
        ]
        sizes = [n for n, *_ in known]
        axes.plot(sizes, [value for _, value, _, _ in known], "o-", color=colour, label=MODEL_NAMES[model])
        if model == ATTENTION:
            lows, highs = [low for _, _, low, _ in known], [high for *_, high in known]
            axes.fill_between(sizes, lows, highs, color=colour, alpha=0.15, linewidth=0)
        rows += [
            [model, point.share, point.n_train, own.value, own.low, own.high]
            for point, own in zip(points, values, strict=True)
        ]
    axes.axhline(0.5, color="#bbbbbb", linewidth=0.8, linestyle="--")
    axes.set_xlabel("training patients a fold")
    axes.set_ylabel(NAMES[name])
    axes.legend(frameon=False)
    return Picture(figure, ["model", "share", "training patients", NAMES[name], "low", "high"], rows)


def draw_training(folds: Sequence[FoldFacts]) -> Picture:
    """Draw training and validation loss of every fold against the epoch."""
    figure, axes = new_axes(5.6, 3.2)
    rows: list[list[object]] = []
    for fold in folds:
        colour = COLOURS[fold.fold % len(COLOURS)]
        epochs = [epoch.epoch for epoch in fold.history]
        axes.plot(epochs, [epoch.train_loss for epoch in fold.history], color=colour, linewidth=0.9, alpha=0.45)
        losses = [epoch.val_loss for epoch in fold.history if epoch.val_loss is not None]
        if losses:
            axes.plot(epochs, losses, color=colour, linewidth=1.4, linestyle="--")
            axes.plot(fold.best_epoch, losses[fold.best_epoch - 1], "o", color=colour, markersize=4)
        rows += [[fold.repeat, fold.fold, epoch.epoch, epoch.train_loss, epoch.val_loss] for epoch in fold.history]
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss: training (pale), validation (dashed)")
    return Picture(figure, ["repeat", "fold", "epoch", "training loss", "validation loss"], rows)
