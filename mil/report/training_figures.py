"""Pictures of training: loss by epoch, learning curve."""

from __future__ import annotations

from collections.abc import Sequence

from mil.evaluation.metrics_record import SharePoint
from mil.report.drawing import PALE, Picture, new_axes, style_of
from mil.runs.facts import FoldFacts
from mil.runs.figure_names import ATTENTION, MEAN_POOL, MODEL_NAMES, NAMES


def draw_learning_curve(points: Sequence[SharePoint], name: str, chance: float = 0.5) -> Picture:
    """Draw the main metric against the number of training patients."""
    figure, axes = new_axes(4.6, 3.4)
    rows: list[list[object]] = []
    curves = (
        (ATTENTION, [point.attention for point in points]),
        (MEAN_POOL, [point.mean_pool for point in points]),
    )
    for place, (model, values) in enumerate(curves):
        own_style = style_of(place)
        known = [
            (point.n_train, own.value, own.low, own.high)
            for point, own in zip(points, values, strict=True)
            if own.value is not None and own.low is not None and own.high is not None
        ]
        sizes = [n for n, *_ in known]
        axes.plot(
            sizes, [value for _, value, _, _ in known], color=own_style.colour, linestyle=own_style.dashes,
            marker=own_style.marker, label=MODEL_NAMES[model],
        )  # fmt: skip
        if model == ATTENTION:
            lows, highs = [low for _, _, low, _ in known], [high for *_, high in known]
            axes.fill_between(sizes, lows, highs, color=own_style.colour, alpha=0.15, linewidth=0)
        rows += [
            [model, point.share, point.n_train, own.value, own.low, own.high]
            for point, own in zip(points, values, strict=True)
        ]
    axes.axhline(chance, color=PALE, linewidth=0.8, linestyle="--")
    axes.set_xlabel("training patients a fold")
    axes.set_ylabel(NAMES[name])
    axes.legend(frameon=False)
    return Picture(
        figure=figure, names=["model", "share", "training patients", NAMES[name], "low", "high"], rows=rows,
        title="Learning curve",
        description=f"{NAMES[name]} against the number of training patients, for {len(points)} shares of them.",
    )  # fmt: skip


def draw_training(folds: Sequence[FoldFacts]) -> Picture:
    """Draw training and validation loss of every fold against the epoch."""
    figure, axes = new_axes(5.6, 3.2)
    rows: list[list[object]] = []
    for fold in folds:
        colour, marker = style_of(fold.fold).colour, style_of(fold.fold).marker
        epochs = [epoch.epoch for epoch in fold.history]
        trained = [epoch.train_loss for epoch in fold.history]
        axes.plot(epochs, trained, color=colour, linewidth=0.9, alpha=0.45)
        losses = [epoch.val_loss for epoch in fold.history if epoch.val_loss is not None]
        if losses:
            axes.plot(epochs, losses, color=colour, linewidth=1.4, linestyle="--")
        label = f"fold {fold.fold}" if fold.repeat == 0 else None
        kept = (losses or trained)[fold.best_epoch - 1]
        axes.plot(fold.best_epoch, kept, marker, color=colour, markersize=6, label=label)
        rows += [[fold.repeat, fold.fold, epoch.epoch, epoch.train_loss, epoch.val_loss] for epoch in fold.history]
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, title="epoch kept", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return Picture(
        figure=figure, names=["repeat", "fold", "epoch", "training loss", "validation loss"], rows=rows,
        title="Training of each fold",
        description=f"Loss against the epoch for {len(folds)} folds: training part pale"
        f"{', inner validation part dashed' if any(fold.n_val for fold in folds) else ''}.",
    )  # fmt: skip
