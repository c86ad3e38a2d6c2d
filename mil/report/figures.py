"""The figures of a report, as SVG that is the same on every run: no dates, no random ids; the data behind each as CSV."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from common.files import write_table, write_text
from mil.runs.figure_names import ATTENTION, MAIN, MEAN_POOL, MODEL_NAMES, NAMES
from mil.runs.run_store import Run, by_patient

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#9c6b4e", "#a463f2", "#97bbf5", "#3ca951")


@dataclass(frozen=True)
class Drawn:
    """A figure and the table behind it."""

    figure: Figure
    names: Sequence[str]
    rows: Sequence[Sequence[object]]


def draw_figures(run: Run, found: Mapping[str, Any]) -> None:
    """Draw what fits the task into figures/, replacing older ones."""
    from mil.report.survival_figures import draw_brier, draw_scores, draw_survival_curves

    drawn = {"training": _training(run.facts["folds"])}
    if found["evaluated"] and run.task == "subtype":
        drawn |= {"confusion": _confusion(found["confusion"]), "roc": _roc(run), "selective": _selective(found)}
        drawn["reliability"] = _reliability(found["calibration"])
    elif found["evaluated"]:
        drawn |= {"kaplan_meier": draw_survival_curves(run, found), "scores": draw_scores(run)}
    if found.get("over_time"):
        drawn["brier"] = draw_brier(found["over_time"]["brier"])
    if found.get("learning_curve"):
        drawn["learning_curve"] = _learning_curve(found["learning_curve"], MAIN[run.task])
    folder = run.folder / "figures"
    for name, each in drawn.items():
        write_text(folder / f"{name}.svg", as_svg(each.figure))
        write_table(folder / f"{name}.csv", each.names, each.rows)
    for path in [*folder.glob("*.svg"), *folder.glob("*.csv")]:
        if path.stem not in drawn:
            path.unlink()


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty figure without pyplot's global state."""
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def as_svg(figure: Figure) -> str:
    """Return a figure as SVG text."""
    import matplotlib
    from matplotlib.text import Text

    buffer = io.StringIO()
    for written in figure.findobj(Text):
        written.set_parse_math(False)  # a dollar in a name is a dollar
    with matplotlib.rc_context({"svg.hashsalt": "sarcoma-mil", "svg.fonttype": "path", "font.size": 9}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _confusion(confusion: Mapping[str, Any]) -> Drawn:
    counts, classes = np.array(confusion["counts"]), confusion["classes"]
    figure, axes = new_axes(1.6 + 0.62 * len(classes), 1.3 + 0.56 * len(classes))
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
    rows = [
        [true, predicted, int(counts[row, column])]
        for row, true in enumerate(classes)
        for column, predicted in enumerate(classes)
    ]
    return Drawn(figure, ["true", "predicted", "patients"], rows)


def _roc(run: Run) -> Drawn:
    from mil.metrics.classification import auroc

    table = by_patient(run.predictions, ATTENTION, run.probability_columns, ["truth"])
    figure, axes = new_axes(4.4, 3.9)
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8, linestyle="--")
    rows: list[list[object]] = []
    for index, name in enumerate(run.facts["classes"]):
        is_class, scores = (table["truth"] == name).to_numpy(), table[f"p_{name}"].to_numpy()
        if not is_class.any() or is_class.all():
            continue
        levels = np.concatenate([[np.inf], np.unique(scores)[::-1]])
        hits = [float((scores[is_class] >= level).mean()) for level in levels]
        alarms = [float((scores[~is_class] >= level).mean()) for level in levels]
        label = f"{name}  {auroc(scores, is_class):.2f}  (n {is_class.sum()})"
        axes.plot(alarms, hits, color=COLOURS[index % len(COLOURS)], linewidth=1.6, label=label)
        rows += [[name, alarm, hit] for alarm, hit in zip(alarms, hits, strict=True)]
    axes.set_xlabel("1 - specificity")
    axes.set_ylabel("sensitivity")
    axes.legend(frameon=False, title="one against the rest, AUROC", loc="lower right")
    return Drawn(figure, ["class", "1 - specificity", "sensitivity"], rows)


def _reliability(calibration: Mapping[str, Any]) -> Drawn:
    figure, axes = new_axes(4.2, 3.9)
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8, linestyle="--")
    rows: list[list[object]] = []
    styles = (
        ("raw", "as the model gives them", COLOURS[0], "o"),
        ("calibrated", "temperature-scaled", COLOURS[2], "s"),
    )
    for kind, label, colour, marker in styles:
        if calibration[kind] is None:
            continue
        bins = calibration[kind]["bins"]
        confidence, accuracy = [each["confidence"] for each in bins], [each["accuracy"] for each in bins]
        axes.plot(confidence, accuracy, marker=marker, color=colour, markersize=5, linewidth=1.2, label=label)
        rows += [[kind, each["n"], each["confidence"], each["accuracy"]] for each in bins]
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("mean confidence of a bin")
    axes.set_ylabel("accuracy in the bin")
    axes.legend(frameon=False, loc="lower right")
    return Drawn(figure, ["probabilities", "patients", "confidence", "accuracy"], rows)


def _selective(found: Mapping[str, Any]) -> Drawn:
    figure, axes = new_axes(4.2, 3.2)
    curve = np.array(found["selective"]["curve"])
    axes.step(curve[:, 0], curve[:, 1], where="post", color=COLOURS[0], linewidth=1.6)
    axes.axhline(curve[-1, 1], color="#bbbbbb", linewidth=0.8, linestyle="--")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(max(0.0, float(curve[:, 1].min()) - 0.1), 1.02)
    axes.set_xlabel("share of patients kept, the most certain first")
    axes.set_ylabel("accuracy among them")
    return Drawn(figure, ["coverage", "accuracy"], found["selective"]["curve"])


def _learning_curve(points: Sequence[Mapping[str, Any]], name: str) -> Drawn:
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


def _training(folds: Sequence[Mapping[str, Any]]) -> Drawn:
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
