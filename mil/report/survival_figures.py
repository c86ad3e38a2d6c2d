"""Pictures of a survival run: Kaplan-Meier curves of the risk groups, and scores beside follow-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from mil.evaluation.survival_evaluation import is_high_risk
from mil.metrics.survival_curves import kaplan_meier, kaplan_meier_limits
from mil.report.blocks import counted
from mil.report.drawing import GREY, Picture, Style, new_axes, round_ticks, style_of
from mil.runs.figure_names import ATTENTION, time_text
from mil.runs.run_store import FinishedRun, by_patient

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOW, HIGH = style_of(0), style_of(1)


def time_label(unit: str) -> str:
    """Return the name of an axis of time; of a table that says no unit, that it is the table's."""
    return f"time ({unit})" if unit else "time, as in the table"


def draw_survival_curves(run: FinishedRun, log_rank_p: float | None) -> Picture:
    """Draw the curves of patients of high and low risk with 95 % bands, and those still at risk below, a named row a group."""
    table = by_patient(run.predictions, ATTENTION, ["score", "high_risk"], ["time", "event"])
    is_high = is_high_risk(table)
    figure, axes = new_axes(5.8, 5.0)
    end = float(table["time"].max())
    moments = round_ticks(end)
    rows: list[list[object]] = []
    said: list[str] = []
    for name, style, chosen in (("low risk", LOW, ~is_high), ("high risk", HIGH, is_high)):
        own = table[chosen]
        time, event = own["time"].to_numpy(float), own["event"].to_numpy(int)
        if not len(own):
            continue
        label = f"{name} (n {len(own)}, {counted(int(event.sum()), 'event')})"
        rows += [[name, *row] for row in _draw_curve(axes, time, event, style, label)]
        _write_at_risk(axes, time, moments, name=name, row=len(said))
        said.append(label)
    _write_below(axes, "number at risk", 0.0, shift=(-16, -36), to="left")
    words = "" if log_rank_p is None else "< 0.001" if log_rank_p < 0.001 else f"= {log_rank_p:.3f}"
    axes.legend(  # above the axes: no corner is free of bands for sure
        frameon=False, title=f"log-rank p {words}" if words else None, loc="lower right", bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.2,
    )  # fmt: skip
    axes.set_xticks(moments, [time_text(moment) for moment in moments])
    axes.set_xlim(0, end * 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("surviving")
    axes.set_xlabel(time_label(run.facts.time_unit))
    return Picture(
        figure=figure, names=["group", "time", "surviving", "at risk", "low", "high"], rows=rows,
        title="Kaplan-Meier curves of the risk groups",
        description=f"Share surviving over time: {'; '.join(said)}{f'; log-rank p {words}' if words else ''}.",
    )  # fmt: skip


def _draw_curve(
    axes: Axes, time: Float[np.ndarray, " n"], event: Int[np.ndarray, " n"], style: Style, label: str
) -> list[list[object]]:
    """Draw a group's curve, its band and a tick a censored patient; return time, share, number at risk and limits a step."""
    steps, survival = kaplan_meier(time, event)
    low, high = kaplan_meier_limits(time, event)
    ends = np.append(steps, time.max())
    axes.fill_between(
        ends,
        np.append(low, low[-1]),
        np.append(high, high[-1]),
        step="post",
        color=style.colour,
        alpha=0.15,
        linewidth=0,
    )
    axes.step(
        ends, np.append(survival, survival[-1]), where="post", color=style.colour, linestyle=style.dashes, label=label
    )
    level = np.interp(time[event == 0], steps, np.arange(len(steps))).astype(int)
    axes.plot(time[event == 0], survival[level], "|", color=style.colour, markersize=6)
    return [
        [
            float(step),
            float(share),
            int((time >= step).sum()),
            *("" if np.isnan(limit) else float(limit) for limit in limits),
        ]
        for step, share, *limits in zip(steps, survival, low, high, strict=True)
    ]


def _write_at_risk(axes: Axes, time: Float[np.ndarray, " n"], moments: Sequence[float], *, name: str, row: int) -> None:
    """Write a group's name and how many are at risk at each moment, in a row below the axis."""
    below = -52 - 15 * row
    _write_below(axes, name, 0.0, shift=(-16, below), to="right")
    for moment in moments:
        _write_below(axes, str(int((time >= moment).sum())), moment, shift=(0, below), to="center")


def _write_below(axes: Axes, words: str, moment: float, *, shift: tuple[float, float], to: str) -> None:
    """Write below a moment of the axis, shifted by points: room that the layout can count on."""
    axes.annotate(
        words,
        (moment, 0),
        xycoords=axes.get_xaxis_transform(),
        xytext=shift,
        textcoords="offset points",
        ha=to,
        va="top",
    )


def draw_brier(rows: Sequence[Sequence[float]], time_unit: str = "") -> Picture:
    """Draw the Brier score over time beside that of the Kaplan-Meier curve."""
    figure, axes = new_axes(4.4, 3.2)
    values = np.array(rows)
    axes.plot(values[:, 0], values[:, 1], color=LOW.colour, linewidth=1.6, label="attention MIL")
    axes.plot(values[:, 0], values[:, 2], color=GREY, linewidth=1.2, linestyle="--", label="Kaplan-Meier")
    axes.set_ylim(0, max(0.3, float(values[:, 1:].max()) * 1.1))
    axes.set_xlabel(time_label(time_unit))
    axes.set_ylabel("Brier score")
    axes.legend(frameon=False)
    return Picture(
        figure=figure, names=["time", "attention", "kaplan_meier"], rows=rows, title="Brier score over time",
        description="Brier score of the attention model (solid) and of the Kaplan-Meier curve (dashed) over time.",
    )  # fmt: skip


def draw_scores(run: FinishedRun) -> Picture:
    """Draw every patient's score and follow-up."""
    table = by_patient(run.predictions, ATTENTION, ["score"], ["time", "event"])
    figure, axes = new_axes(4.4, 3.4)
    for label, marker, is_event in (("event", "o", True), ("censored", "x", False)):
        own = table[(table["event"] == 1) == is_event]
        axes.plot(own["score"], own["time"], marker, color=HIGH.colour if is_event else GREY, markersize=4, label=label)
    axes.set_xlabel("risk score, in SD of the fold's training patients")
    axes.set_ylabel(time_label(run.facts.time_unit))
    axes.legend(frameon=False)
    rows = [
        [patient, float(score), float(time), int(event)]
        for patient, score, time, event in zip(table.index, table["score"], table["time"], table["event"], strict=True)
    ]
    return Picture(
        figure=figure, names=["patient_id", "score", "time", "event"], rows=rows, title="Risk score and follow-up",
        description=f"Follow-up against risk score of {len(rows)} patients: dots with an event, crosses censored.",
    )  # fmt: skip
