"""Pictures of a survival run: Kaplan-Meier curves of the risk groups, and scores beside follow-up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mil.evaluation.survival_evaluation import is_high_risk
from mil.metrics.survival_curves import kaplan_meier
from mil.report.drawing import Picture, new_axes
from mil.runs.figure_names import ATTENTION, time_text
from mil.runs.run_store import FinishedRun, by_patient

LOW, HIGH = "#4269d0", "#c8432b"


def draw_survival_curves(run: FinishedRun, log_rank_p: float | None) -> Picture:
    """Draw the curves of patients of high and low risk, with those still at risk below."""
    table = by_patient(run.predictions, ATTENTION, ["score", "high_risk"], ["time", "event"])
    is_high = is_high_risk(table)
    figure, axes = new_axes(5.6, 4.2)
    end = float(table["time"].max())
    moments = np.linspace(0, end, 6)
    rows: list[list[object]] = []
    groups = (("low risk", LOW, ~is_high), ("high risk", HIGH, is_high))
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
        rows += [
            [name, float(step), float(share), int((time >= step).sum())]
            for step, share in zip(steps, survival, strict=True)
        ]
    axes.text(0, -0.18, "at risk:", ha="center", va="top", fontsize=8)
    words = "" if log_rank_p is None else "< 0.001" if log_rank_p < 0.001 else f"= {log_rank_p:.3f}"
    axes.legend(frameon=False, title=f"log-rank p {words}" if words else None)
    axes.set_xticks(moments, [time_text(moment) for moment in moments])
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("surviving")
    axes.set_xlabel("time, as in the table")
    axes.xaxis.set_label_coords(0.5, -0.1)
    return Picture(figure, ["group", "time", "surviving", "at risk"], rows)


def draw_brier(rows: Sequence[Sequence[float]]) -> Picture:
    """Draw the Brier score over time beside that of the Kaplan-Meier curve."""
    figure, axes = new_axes(4.4, 3.2)
    values = np.array(rows)
    axes.plot(values[:, 0], values[:, 1], color=LOW, linewidth=1.6, label="attention MIL")
    axes.plot(values[:, 0], values[:, 2], color="#777777", linewidth=1.2, linestyle="--", label="Kaplan-Meier")
    axes.set_ylim(0, max(0.3, float(values[:, 1:].max()) * 1.1))
    axes.set_xlabel("time, as in the table")
    axes.set_ylabel("Brier score")
    axes.legend(frameon=False)
    return Picture(figure, ["time", "attention", "kaplan_meier"], rows)


def draw_scores(run: FinishedRun) -> Picture:
    """Draw every patient's score and follow-up."""
    table = by_patient(run.predictions, ATTENTION, ["score"], ["time", "event"])
    figure, axes = new_axes(4.4, 3.4)
    for label, marker, is_event in (("event", "o", True), ("censored", "x", False)):
        own = table[(table["event"] == 1) == is_event]
        axes.plot(own["score"], own["time"], marker, color=HIGH if is_event else "#777777", markersize=4, label=label)
    axes.set_xlabel("risk score, in SD of the fold's training patients")
    axes.set_ylabel("time, as in the table")
    axes.legend(frameon=False)
    rows = [
        [patient, float(score), float(time), int(event)]
        for patient, score, time, event in zip(table.index, table["score"], table["time"], table["event"], strict=True)
    ]
    return Picture(figure, ["patient_id", "score", "time", "event"], rows)
