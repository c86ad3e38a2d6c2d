"""Pictures of a run with targets of its own: predicted against observed numbers."""

from __future__ import annotations

import numpy as np

from mil.evaluation.targets.judged_targets import JudgedTarget
from mil.report.drawing import PALE, Picture, new_axes, style_of


def draw_scatter(own: JudgedTarget, patients: list[str]) -> Picture:
    """Draw the observed number of every patient against the predicted one, the diagonal and the fitted line.

    Args:
        own: the target, of the patients who have it.
        patients: their names, in the same order.
    """
    name, observed, predicted = own.columns.target.column, own.truth, own.predicted[:, 0]
    figure, axes = new_axes(4.4, 4.0)
    look = style_of(0)
    ends = [float(min(observed.min(), predicted.min())), float(max(observed.max(), predicted.max()))]
    axes.plot(ends, ends, color=PALE, linewidth=0.8, linestyle="--", label="perfect")
    axes.plot(predicted, observed, "o", color=look.colour, markersize=4, alpha=0.7)
    spread = float(np.var(predicted))
    said = "all predictions alike"
    if spread > 0:
        slope = float(np.cov(predicted, observed, bias=True)[0, 1]) / spread
        span = np.array([predicted.min(), predicted.max()])
        line = observed.mean() + slope * (span - predicted.mean())
        other = style_of(1)
        axes.plot(span, line, color=other.colour, linewidth=1.4, label=f"fitted line, slope {slope:.2f}")
        said = f"slope of the fitted line {slope:.2f}"
    axes.set_xlabel(f"{name}, predicted out of fold")
    axes.set_ylabel(f"{name}, observed")
    axes.legend(frameon=False)
    rows = [[patient, float(o), float(p)] for patient, o, p in zip(patients, observed, predicted, strict=True)]
    return Picture(
        figure=figure, names=["patient_id", "observed", "predicted"], rows=rows, title=f"Predicted and observed {name}",
        description=f"Observed against predicted {name} of {len(rows)} patients; dashed: perfect; {said}.",
    )  # fmt: skip
