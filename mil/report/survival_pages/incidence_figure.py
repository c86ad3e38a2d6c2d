"""The cumulative incidence of the end point and of other events over time, by risk group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mil.evaluation.survival_evaluation import group_of_patients, risk_group_names
from mil.evaluation.survival_parts.competing_parts import END_POINT, OTHER, times_and_kinds
from mil.report.blocks import counted
from mil.report.drawing import Picture, Style, new_axes, round_ticks, style_of
from mil.report.survival_figures import time_label, write_at_risk, write_below
from mil.runs.figure_names import ATTENTION, time_text
from mil.runs.run_store import FinishedRun, by_patient
from mil.survival.competing_risks import Incidence, aalen_johansen

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EVENTS = ((END_POINT, "end point"), (OTHER, "other event"))


def draw_incidence(run: FinishedRun) -> Picture | None:
    """Draw the Aalen-Johansen curves of the risk groups: the end point's with 95 % bands, other events' thin.

    None where competing events are not known.
    """
    known = times_and_kinds(run)
    if known is None:
        return None
    time, kind = known
    group = group_of_patients(by_patient(run.predictions, ATTENTION, ["score", "risk_group"], ["time", "event"]))
    figure, axes = new_axes(5.8, 5.0)
    end = float(time.max())
    moments = round_ticks(end)
    rows: list[list[object]] = []
    said: list[str] = []
    for index, name in enumerate(risk_group_names(run)):
        own = group == index
        if not own.any():
            continue
        n_own, n_other = (int((kind[own] == of).sum()) for of, _ in EVENTS)
        label = f"{name} (n {int(own.sum())}, {counted(n_own, 'event')}, {n_other} other)"
        for of, words in EVENTS:
            curve = aalen_johansen(time[own], kind[own], of)
            _draw(axes, curve, float(time[own].max()), style_of(index), label if of == END_POINT else None)
            low, high = curve.limits()
            rows += [
                [name, words, float(at), float(share), *("" if np.isnan(limit) else float(limit) for limit in limits)]
                for at, share, *limits in zip(curve.times, curve.share, low, high, strict=True)
            ]
        write_at_risk(axes, time[own], moments, name=name, row=len(said))
        said.append(label)
    write_below(axes, "number at risk", 0.0, shift=(-16, -36), to="left")
    axes.legend(
        frameon=False, title="thin, without a band: other events", loc="lower right", bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.2,
    )  # fmt: skip
    axes.set_xticks(moments, [time_text(moment) for moment in moments])
    axes.set_xlim(0, end * 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("share with the event")
    axes.set_xlabel(time_label(run.facts.time_unit))
    return Picture(
        figure=figure, names=["group", "event", "time", "share", "low", "high"], rows=rows,
        title="Cumulative incidence by risk group",
        description=f"Share with the end point's event and with another one first, over time: {'; '.join(said)}.",
    )  # fmt: skip


def _draw(axes: Axes, curve: Incidence, end: float, style: Style, label: str | None) -> None:
    """Draw a curve as steps to the end of follow-up; with a label its band, without one thin."""
    times, share = np.append(curve.times, end), np.append(curve.share, curve.share[-1])
    if label is not None:
        low, high = (np.append(limit, limit[-1]) for limit in curve.limits())
        axes.fill_between(times, low, high, step="post", color=style.colour, alpha=0.15, linewidth=0)
    width = 0.8 if label is None else 1.6
    axes.step(
        times, share, where="post", color=style.colour, linestyle=style.dashes, linewidth=width, label=label or "_"
    )
