"""Figures of training: loss by epoch, learning curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mil.report.drawing import COLOURS, Drawn, new_axes
from mil.runs.figure_names import ATTENTION, MEAN_POOL, MODEL_NAMES, NAMES


def draw_learning_curve(points: Sequence[Mapping[str, Any]], name: str) -> Drawn:
    """Draw the main figure against the number of training patients."""
    figure, axes = new_axes(4.6, 3.4)
    rows: list[list[object]] = []
    for model, colour in ((ATTENTION, COLOURS[0]), (MEAN_POOL, COLOURS[2])):
        values = [(point["n_train"], point["share"], point[model]) for point in points]
        known = [(n, value) for n, _, value in values if value["low"] is not None]
        axes.plot(
            [n for n, _ in known], [value["value"] for _, value in known], "o-", color=colour, label=MODEL_NAMES[model]
        )
        if model == ATTENTION:
            lows, highs = [value["low"] for _, value in known], [value["high"] for _, value in known]
            axes.fill_between([n for n, _ in known], lows, highs, color=colour, alpha=0.15, linewidth=0)
        rows += [[model, share, n, value["value"], value["low"], value["high"]] for n, share, value in values]
    axes.axhline(0.5, color="#bbbbbb", linewidth=0.8, linestyle="--")
    axes.set_xlabel("training patients a fold")
    axes.set_ylabel(NAMES[name])
    axes.legend(frameon=False)
    return Drawn(figure, ["model", "share", "training patients", NAMES[name], "low", "high"], rows)


def draw_training(folds: Sequence[Mapping[str, Any]]) -> Drawn:
    """Draw training and validation loss of every fold against the epoch."""
    figure, axes = new_axes(5.6, 3.2)
    rows: list[list[object]] = []
    for fold in folds:
        colour = COLOURS[fold["fold"] % len(COLOURS)]
        epochs = [entry["epoch"] for entry in fold["history"]]
        axes.plot(epochs, [entry["train_loss"] for entry in fold["history"]], color=colour, linewidth=0.9, alpha=0.45)
        if fold["history"][0]["val_loss"] is not None:
            losses = [entry["val_loss"] for entry in fold["history"]]
            axes.plot(epochs, losses, color=colour, linewidth=1.4, linestyle="--")
            axes.plot(fold["best_epoch"], losses[fold["best_epoch"] - 1], "o", color=colour, markersize=4)
        rows += [
            [fold["repeat"], fold["fold"], entry["epoch"], entry["train_loss"], entry["val_loss"]]
            for entry in fold["history"]
        ]
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss: training (pale), validation (dashed)")
    return Drawn(figure, ["repeat", "fold", "epoch", "training loss", "validation loss"], rows)
