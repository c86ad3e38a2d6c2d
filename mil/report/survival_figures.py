"""Pictures of a survival run: Kaplan-Meier curves, scores beside follow-up, Brier score, hazard ratios, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from mil.evaluation.survival_evaluation import group_of_patients, risk_group_names
from mil.evaluation.survival_parts.records import CoxTable, DecisionPoint
from mil.metrics.survival_curves import kaplan_meier, kaplan_meier_limits
from mil.report.blocks import counted
from mil.report.drawing import GREY, Picture, Style, new_axes, round_ticks, style_of
from mil.runs.figure_names import ATTENTION, time_text
from mil.runs.run_store import FinishedRun, by_patient
from mil.survival.calibration import CalibrationAt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOW, HIGH = style_of(0), style_of(1)


def time_label(unit: str) -> str:
    """Return the name of an axis of time; of a table that says no unit, that it is the table's."""
    return f"time ({unit})" if unit else "time, as in the table"


def draw_survival_curves(run: FinishedRun, log_rank_p: float | None) -> Picture:
    """Draw the curves of the risk groups with 95 % bands, and those still at risk below, a named row a group."""
    table = by_patient(run.predictions, ATTENTION, ["score", "risk_group"], ["time", "event"])
    group = group_of_patients(table)
    figure, axes = new_axes(5.8, 5.0)
    end = float(table["time"].max())
    moments = round_ticks(end)
    rows: list[list[object]] = []
    said: list[str] = []
    for index, name in enumerate(risk_group_names(run)):
        own = table[group == index]
        time, event = own["time"].to_numpy(float), own["event"].to_numpy(int)
        if not len(own):
            continue
        label = f"{name} (n {len(own)}, {counted(int(event.sum()), 'event')})"
        rows += [[name, *row] for row in _draw_curve(axes, time, event, style_of(index), label)]
        write_at_risk(axes, time, moments, name=name, row=len(said))
        said.append(label)
    write_below(axes, "number at risk", 0.0, shift=(-16, -36), to="left")
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


def write_at_risk(axes: Axes, time: Float[np.ndarray, " n"], moments: Sequence[float], *, name: str, row: int) -> None:
    """Write a group's name and how many are at risk at each moment, in a row below the axis."""
    below = -52 - 15 * row
    write_below(axes, name, 0.0, shift=(-16, below), to="right")
    for moment in moments:
        write_below(axes, str(int((time >= moment).sum())), moment, shift=(0, below), to="center")


def write_below(axes: Axes, words: str, moment: float, *, shift: tuple[float, float], to: str) -> None:
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


def draw_hazard_ratios(adjusted: CoxTable) -> Picture:
    """Draw a forest plot: hazard ratios with limits on a logarithmic axis, a row an input."""
    known = [
        (row.name, row.value, row.low, row.high)
        for row in adjusted.rows
        if row.value is not None and row.low is not None and row.high is not None
    ]
    figure, axes = new_axes(6.4, 1.2 + 0.34 * max(1, len(known)))
    for place, (_, value, low, high) in enumerate(reversed(known)):
        axes.plot([low, high], [place, place], color=LOW.colour, linewidth=1.4)
        axes.plot(value, place, "s", color=LOW.colour, markersize=6)
    axes.axvline(1.0, color=GREY, linewidth=1.0, linestyle="--")
    axes.set_yticks(range(len(known)), [name for name, *_ in reversed(known)])
    axes.set_ylim(-0.7, len(known) - 0.3)
    axes.set_xscale("log")
    ends = [end for *_, low, high in known for end in (low, high)]
    ticks = ratio_ticks(min(ends, default=0.5), max(ends, default=2.0))
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("hazard ratio with 95 % limits")
    said = "; ".join(f"{name} {value:.2f} ({low:.2f} to {high:.2f})" for name, value, low, high in known)
    return Picture(
        figure=figure, names=["input", "hazard_ratio", "low", "high"], rows=[list(row) for row in known], title="Hazard ratios",
        description=f"Hazard ratios of {adjusted.n} patients with {counted(adjusted.events, 'event')}: {said}.",
    )  # fmt: skip


def ratio_ticks(low: float, high: float) -> list[float]:
    """Return round ratios (1, 2, 5, 10 ... and their inverses) that span low to high and hold 1; few of a wide span."""
    steps = [m * 10.0**e for e in range(-6, 7) for m in (1, 2, 5)]
    wanted = [step for step in steps if min(low, 1.0) / 2.5 < step < max(high, 1.0) * 2.5]
    if len(wanted) > 8:
        wanted = [step for step in wanted if f"{step:e}".startswith("1.0")]
    return wanted


def draw_risk_calibration(own: CalibrationAt, time_unit: str = "") -> Picture:
    """Draw observed against predicted risk until a time, a point a group of patients with its limits."""
    figure, axes = new_axes(4.4, 3.8)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1.0, linestyle="--", label="as predicted")
    for group in own.groups:
        if group.low is not None and group.high is not None:
            axes.plot([group.predicted] * 2, [group.low, group.high], color=LOW.colour, linewidth=1.2)
    predicted, observed = ([getattr(group, name) for group in own.groups] for name in ("predicted", "observed"))
    axes.plot(predicted, observed, "o", color=LOW.colour, markersize=6, label="observed (1 - Kaplan-Meier)")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    when = f"{time_text(own.time)} {time_unit}".rstrip()
    axes.set_xlabel(f"predicted risk until {when}")
    axes.set_ylabel("observed share")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    return Picture(
        figure=figure, names=["predicted", "observed", "low", "high", "n"],
        rows=[
            [group.predicted, group.observed, *("" if end is None else end for end in (group.low, group.high)), group.n]
            for group in own.groups
        ],
        title="Calibration of the predicted risk",
        description=f"Observed against predicted risk until {when} of {len(own.groups)} groups of patients of like risk.",
    )  # fmt: skip


def draw_decision_curve(points: Sequence[DecisionPoint], moment: float, time_unit: str = "") -> Picture:
    """Draw net benefit against the threshold of risk: by the model, treating everybody, treating nobody."""
    figure, axes = new_axes(4.8, 3.4)
    thresholds = [point.threshold for point in points]
    axes.plot(thresholds, [point.model for point in points], color=LOW.colour, linewidth=1.6, label="by the model")
    everybody = [point.everybody for point in points]
    axes.plot(thresholds, everybody, color=GREY, linewidth=1.2, linestyle="--", label="treat everybody")
    axes.axhline(0.0, color=GREY, linewidth=1.0, linestyle=":", label="treat nobody")
    top = max([*(point.model for point in points), everybody[0], 0.05])
    axes.set_ylim(-0.15 * top - 0.02, 1.1 * top)
    axes.set_xlim(0, 1)
    axes.set_xlabel("risk from which on a patient is treated")
    axes.set_ylabel("net benefit a patient")
    axes.legend(frameon=False)
    when = f"{time_text(moment)} {time_unit}".rstrip()
    return Picture(
        figure=figure, names=["threshold", "model", "everybody"], title="Decision curve",
        rows=[[point.threshold, point.model, point.everybody] for point in points],
        description=f"Net benefit of treating by the predicted risk until {when}, beside treating everybody and nobody.",
    )  # fmt: skip
