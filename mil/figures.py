"""The figures of a report, as SVG that is the same on every run: no dates, no random ids."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.artifacts import write_text
from mil.survival import kaplan_meier

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#9c6b4e", "#a463f2", "#97bbf5", "#3ca951")
LOW, HIGH = "#4269d0", "#c8432b"


def draw_figures(run_dir: Path, facts: Mapping[str, Any], found: Mapping[str, Any], predictions: pd.DataFrame) -> None:
    """Draw what fits the task into figures/, replacing older ones."""
    drawn = {"training": _training(facts["folds"])}
    if found["evaluated"] and facts["task"] == "subtype":
        drawn |= {"confusion": _confusion(found["confusion"]), "roc": _roc(predictions, facts["classes"])}
    elif found["evaluated"]:
        drawn |= {"kaplan_meier": _survival_curves(predictions, found), "scores": _scores(predictions)}
    folder = run_dir / "figures"
    for name, figure in drawn.items():
        write_text(folder / f"{name}.svg", _svg(figure))
    for path in folder.glob("*.svg"):
        if path.stem not in drawn:
            path.unlink()


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty figure without pyplot's global state."""
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "sarcoma-mil", "svg.fonttype": "path", "font.size": 9}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _confusion(confusion: Mapping[str, Any]) -> Figure:
    counts, classes = np.array(confusion["counts"]), confusion["classes"]
    figure, axes = _axes(1.6 + 0.62 * len(classes), 1.3 + 0.56 * len(classes))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1.15)
    for row in range(len(classes)):
        for column in range(len(classes)):
            colour = "white" if share[row, column] > 0.6 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour)
    axes.set_xticks(range(len(classes)), classes, rotation=35, ha="right")
    axes.set_yticks(range(len(classes)), [f"{name} ({n})" for name, n in zip(classes, counts.sum(axis=1), strict=True)])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (patients)")
    axes.spines[:].set_visible(False)
    return figure


def _roc(predictions: pd.DataFrame, classes: Sequence[str]) -> Figure:
    from mil.evaluation import by_patient
    from mil.metrics import auroc

    table = by_patient(predictions, "attention", [f"p_{name}" for name in classes], ["truth"])
    figure, axes = _axes(4.4, 3.9)
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8, linestyle="--")
    for index, name in enumerate(classes):
        is_class, scores = (table["truth"] == name).to_numpy(), table[f"p_{name}"].to_numpy()
        if not is_class.any() or is_class.all():
            continue
        levels = np.concatenate([[np.inf], np.unique(scores)[::-1]])
        hits = [(scores[is_class] >= level).mean() for level in levels]
        alarms = [(scores[~is_class] >= level).mean() for level in levels]
        label = f"{name}  {auroc(scores, is_class):.2f}  (n {is_class.sum()})"
        axes.plot(alarms, hits, color=COLOURS[index % len(COLOURS)], linewidth=1.6, label=label)
    axes.set_xlabel("1 - specificity")
    axes.set_ylabel("sensitivity")
    axes.legend(frameon=False, title="one against the rest, AUROC", loc="lower right")
    return figure


def _survival_curves(predictions: pd.DataFrame, found: Mapping[str, Any]) -> Figure:
    from mil.evaluation import by_patient

    table = by_patient(predictions, "attention", ["high_risk"], ["time", "event"])
    figure, axes = _axes(5.6, 4.2)
    end = float(table["time"].max())
    moments = np.linspace(0, end, 6)
    groups = (("low risk", LOW, table["high_risk"] <= 0.5), ("high risk", HIGH, table["high_risk"] > 0.5))
    for row, (name, colour, chosen) in enumerate(groups):
        own = table[chosen]
        time, event = own["time"].to_numpy(float), own["event"].to_numpy(int)
        if not len(own):
            continue
        steps, survival = kaplan_meier(time, event)
        label = f"{name} (n {len(own)}, {event.sum()} events)"
        axes.step(
            np.append(steps, time.max()), np.append(survival, survival[-1]), where="post", color=colour, label=label
        )
        level = np.interp(time[event == 0], steps, np.arange(len(steps))).astype(int)
        axes.plot(time[event == 0], survival[level], "|", color=colour, markersize=6)
        for moment in moments:
            axes.text(moment, -0.25 - 0.07 * row, str(int((time >= moment).sum())), color=colour, ha="center", va="top")
    axes.text(0, -0.18, "at risk:", ha="center", va="top", fontsize=8)
    p = found["risk_groups"]["log_rank_p"]
    title = None if p is None else f"log-rank p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"
    axes.legend(frameon=False, title=title)
    axes.set_xticks(moments, [f"{moment:.0f}" for moment in moments])
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("surviving")
    axes.set_xlabel("time, as in the table")
    axes.xaxis.set_label_coords(0.5, -0.1)
    return figure


def _scores(predictions: pd.DataFrame) -> Figure:
    from mil.evaluation import by_patient

    table = by_patient(predictions, "attention", ["score"], ["time", "event"])
    figure, axes = _axes(4.4, 3.4)
    for label, marker, is_event in (("event", "o", True), ("censored", "x", False)):
        own = table[(table["event"] == 1) == is_event]
        axes.plot(own["score"], own["time"], marker, color=HIGH if is_event else "#777777", markersize=4, label=label)
    axes.set_xlabel("risk score, in SD of the fold's training patients")
    axes.set_ylabel("time, as in the table")
    axes.legend(frameon=False)
    return figure


def _training(folds: Sequence[Mapping[str, Any]]) -> Figure:
    figure, axes = _axes(5.6, 3.2)
    for fold in folds:
        colour = COLOURS[fold["fold"] % len(COLOURS)]
        epochs = [entry["epoch"] for entry in fold["history"]]
        axes.plot(epochs, [entry["train_loss"] for entry in fold["history"]], color=colour, linewidth=0.9, alpha=0.45)
        if fold["history"][0]["val_loss"] is not None:
            losses = [entry["val_loss"] for entry in fold["history"]]
            axes.plot(epochs, losses, color=colour, linewidth=1.4, linestyle="--")
            axes.plot(fold["best_epoch"], losses[fold["best_epoch"] - 1], "o", color=colour, markersize=4)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss: training (pale), validation (dashed)")
    return figure
