"""Pictures of a subtype run: confusion, ROC, reliability, selective accuracy."""

from __future__ import annotations

import numpy as np

from mil.evaluation.metrics_record import Confusion
from mil.evaluation.subtype_metrics import Calibration, Selective
from mil.report.drawing import PALE, Picture, new_axes, style_of
from mil.runs.figure_names import ATTENTION
from mil.runs.run_store import FinishedRun, by_patient


def draw_confusion(confusion: Confusion, of: str = "patients", *, noun: str = "subtype") -> Picture:
    """Draw the confusion matrix: counts, shaded by the share of the true class; `of` says what is counted."""
    counts, classes = np.array(confusion.counts), confusion.classes
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
    axes.set_ylabel(f"true ({of})")
    axes.spines[:].set_visible(False)
    rows = [
        [true, predicted, int(counts[row, column])]
        for row, true in enumerate(classes)
        for column, predicted in enumerate(classes)
    ]
    right = int(np.trace(counts))
    return Picture(
        figure=figure, names=["true", "predicted", of], rows=rows, title="Confusion matrix",
        description=f"True against predicted {noun}: {right} of {counts.sum()} {of} on the diagonal; "
        f"{'subtypes' if noun == 'subtype' else 'classes'}: {', '.join(classes)}.",
    )  # fmt: skip


def draw_roc(run: FinishedRun) -> Picture:
    """Draw the ROC of each class against the rest, out of fold."""
    from mil.metrics.classification import auroc

    table = by_patient(run.predictions, ATTENTION, run.probability_columns, ["truth"])
    figure, axes = new_axes(4.4, 3.9)
    axes.plot([0, 1], [0, 1], color=PALE, linewidth=0.8, linestyle="--")
    rows: list[list[object]] = []
    said: list[str] = []
    for index, name in enumerate(run.classes):
        is_class, scores = (table["truth"] == name).to_numpy(), table[f"p_{name}"].to_numpy()
        if not is_class.any() or is_class.all():
            continue
        levels = np.concatenate([[np.inf], np.unique(scores)[::-1]])
        hits = [float((scores[is_class] >= level).mean()) for level in levels]
        alarms = [float((scores[~is_class] >= level).mean()) for level in levels]
        label = f"{name}  {auroc(scores, is_class):.2f}  (n {is_class.sum()})"
        look = style_of(index)
        axes.plot(
            alarms, hits, color=look.colour, linestyle=look.dashes, linewidth=1.6, label=label, marker=look.marker,
            markersize=5, markevery=0.12,
        )  # fmt: skip
        said.append(label)
        rows += [[name, alarm, hit] for alarm, hit in zip(alarms, hits, strict=True)]
    axes.set_xlabel("1 - specificity")
    axes.set_ylabel("sensitivity")
    if said:  # with test patients of one class alone there is no curve
        axes.legend(frameon=False, title="one against the rest, AUROC", loc="lower right")
    return Picture(
        figure=figure, names=["class", "1 - specificity", "sensitivity"], rows=rows, title="ROC curves",
        description=f"Sensitivity against 1 - specificity of each class against the rest, with the AUROC: {'; '.join(said)}.",
    )  # fmt: skip


def draw_reliability(calibration: Calibration) -> Picture:
    """Draw how often the predicted class was right against how sure the model was."""
    figure, axes = new_axes(4.2, 3.9)
    axes.plot([0, 1], [0, 1], color=PALE, linewidth=0.8, linestyle="--")
    rows: list[list[object]] = []
    styles = (
        ("raw", calibration.raw, "as the model gives them", style_of(0)),
        ("calibrated", calibration.calibrated, "temperature-scaled", style_of(1)),
    )
    for kind, own, label, look in styles:
        if own is None:
            continue
        confidence, accuracy = [each.confidence for each in own.bins], [each.accuracy for each in own.bins]
        axes.plot(
            confidence, accuracy, marker=look.marker, color=look.colour, linestyle=look.dashes, markersize=5, linewidth=1.2,
            label=label,
        )  # fmt: skip
        rows += [[kind, each.n, each.confidence, each.accuracy] for each in own.bins]
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("mean confidence of a bin")
    axes.set_ylabel("accuracy in the bin")
    axes.legend(frameon=False, loc="lower right")
    return Picture(
        figure=figure, names=["probabilities", "patients", "confidence", "accuracy"], rows=rows, title="Reliability",
        description="Accuracy against mean confidence, by bins of patients; the diagonal is perfect calibration.",
    )  # fmt: skip


def draw_selective(selective: Selective) -> Picture:
    """Draw the accuracy of the most certain patients against their share."""
    figure, axes = new_axes(4.2, 3.2)
    curve = np.array(selective.curve)
    axes.step(curve[:, 0], curve[:, 1], where="post", color=style_of(0).colour, linewidth=1.6)
    axes.axhline(curve[-1, 1], color=PALE, linewidth=0.8, linestyle="--")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(max(0.0, float(curve[:, 1].min()) - 0.1), 1.02)
    axes.set_xlabel("share of patients kept, the most certain first")
    axes.set_ylabel("accuracy among them")
    return Picture(
        figure=figure, names=["coverage", "accuracy"], rows=selective.curve, title="Selective accuracy",
        description="Accuracy among the most certain patients against their share; dashed: accuracy of all.",
    )  # fmt: skip
